//! How the program ends: a sentence on standard error that says what to do, and a code (sysexits.h where one fits).

use std::process::ExitCode;

/// Why the program ends without having done what was asked. `docs/cli.md` has the codes as a table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// 2: it was asked for by `--diff-exit-code`, and something would change.
    #[error("{0}")]
    Differs(String),
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
    /// 75: not now: the same may be tried again.
    #[error("{0}")]
    NotNow(String),
    /// 76: the receiver that was verified is not as it must be.
    #[error("{0}")]
    Receiver(String),
    /// 77: the key is wrong, or may not do it.
    #[error("{0}")]
    Key(String),
    /// 78: the Kafka cluster is not as it must be.
    #[error("{0}")]
    Cluster(String),
    /// 79: it cannot be so beside what is there, or there may be no more of them.
    #[error("{0}")]
    Conflict(String),
    /// 79: it has changed since it was read.
    #[error("{0}")]
    Changed(String),
    /// 1: everything else.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Differs(_) => 2,
            Self::Usage(_) => 64,
            Self::NotFound(_) => 66,
            Self::Unreachable(_) => 69,
            Self::Folder(_) => 73,
            Self::NotNow(_) => 75,
            Self::Receiver(_) => 76,
            Self::Key(_) => 77,
            Self::Cluster(_) => 78,
            Self::Conflict(_) | Self::Changed(_) => 79,
        }
    }

    /// The same kind of failure, with another sentence.
    #[must_use]
    pub(crate) fn saying(&self, text: String) -> Self {
        match self {
            Self::Failed(_) => Self::Failed(text),
            Self::Differs(_) => Self::Differs(text),
            Self::Usage(_) => Self::Usage(text),
            Self::NotFound(_) => Self::NotFound(text),
            Self::Unreachable(_) => Self::Unreachable(text),
            Self::Folder(_) => Self::Folder(text),
            Self::NotNow(_) => Self::NotNow(text),
            Self::Receiver(_) => Self::Receiver(text),
            Self::Key(_) => Self::Key(text),
            Self::Cluster(_) => Self::Cluster(text),
            Self::Conflict(_) => Self::Conflict(text),
            Self::Changed(_) => Self::Changed(text),
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// Of every kind of failure, and of a success.
    fn codes() -> Vec<u8> {
        let all: [fn(String) -> Failure; 12] = [
            Failure::Failed,
            Failure::Differs,
            Failure::Usage,
            Failure::NotFound,
            Failure::Unreachable,
            Failure::Folder,
            Failure::NotNow,
            Failure::Receiver,
            Failure::Key,
            Failure::Cluster,
            Failure::Conflict,
            Failure::Changed,
        ];
        let mut codes: Vec<_> = all.iter().map(|failure| failure(String::new()).code()).chain([0]).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    #[test]
    fn the_table_of_codes_and_the_help_list_exactly_what_the_program_ends_with() {
        let page = include_str!("../../docs/cli.md");
        let table = page.lines().skip_while(|line| *line != "## Exit codes").take_while(|line| *line != "## Output");
        let row = |line: &str| line.strip_prefix("| ")?.split_once(' ')?.0.parse::<u8>().ok();
        assert_eq!(table.filter_map(row).collect::<Vec<_>>(), codes());
        let help = crate::args::Args::command().render_help().to_string();
        let said = help.split_once("Exit codes:").unwrap().1;
        let numbers = said.split(|of: char| !of.is_ascii_digit()).filter_map(|number| number.parse::<u8>().ok());
        assert_eq!(numbers.collect::<Vec<_>>(), codes());
    }

    #[test]
    fn another_sentence_is_the_same_kind_of_failure() {
        let other = Failure::Conflict(String::new()).saying("two".to_owned());
        assert_eq!((other.code(), other.to_string()), (79, "two".to_owned()));
    }
}
