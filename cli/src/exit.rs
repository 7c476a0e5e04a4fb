//! How the program ends: a sentence on standard error that says what to do, and a code (sysexits.h where one fits).

use std::process::ExitCode;

/// Why the program ends without having done what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// 64: what was typed or given is wrong.
    #[error("{0}")]
    Usage(String),
    /// 66: there is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// 69: the server cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// 73: the data folder cannot be used.
    #[error("{0}")]
    Folder(String),
    /// 77: the key is wrong.
    #[error("{0}")]
    Key(String),
    /// 78: the Kafka cluster is not as it must be.
    #[error("{0}")]
    Cluster(String),
    /// 1: everything else.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::NotFound(_) => 66,
            Self::Unreachable(_) => 69,
            Self::Folder(_) => 73,
            Self::Key(_) => 77,
            Self::Cluster(_) => 78,
            Self::Failed(_) => 1,
        }
    }

    /// Says it and gives the code to exit with.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("fpaas: {self}");
        ExitCode::from(self.code())
    }
}

/// What clap has to say: help and version are what was asked for, the rest is wrong usage.
pub(crate) fn usage(said: &clap::Error) -> ExitCode {
    // A reader that is gone has seen enough.
    let _unread = said.print();
    if said.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS }
}

macro_rules! failed {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Failed(error.to_string())
            }
        }
    )*};
}

failed!(
    std::io::Error,
    fpaas_log::Error,
    fpaas_state::Error,
    fpaas_ingest::Error,
    fpaas_router::Error,
    fpaas_dispatcher::Error,
    fpaas_api::Error
);
