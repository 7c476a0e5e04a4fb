//! What can go wrong here: for the caller of the stage, and within a lane.

use std::borrow::Cow;

use fpaas_log::Culprit;

/// Everything public in this crate answers with it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What ends the stage. Whoever runs it stops the process: nothing here is mended by going on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log said so; see [`fpaas_log::Error`].
    #[error(transparent)]
    Log(#[from] fpaas_log::Error),
    /// A table or the view said so; a row that cannot be read is here.
    #[error(transparent)]
    State(#[from] fpaas_state::Error),
    /// No HTTP client could be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[source] reqwest::Error),
    /// TLS cannot be had as it is asked for.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// A frozen batch cannot be made again as it was. Invariants: frozen-batch, crash-on-corruption.
    #[error("the frozen batch {key} cannot be made again: {why}")]
    Frozen {
        /// The row.
        key: String,
        /// What is missing or unknown.
        why: String,
    },
    /// Another process joined the group under this node's name.
    #[error("another process took this node's place in the dispatcher's group")]
    Fenced,
    /// A lane panicked: a bug, and its work is not done.
    #[error("a lane failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Why a lane does not go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It was asked to stop.
    Stopped,
    /// Its slot is another's.
    Fenced,
    /// Its topics are not there: its subscription was deleted, and the view that says so is on its way.
    Gone,
    /// It stands still until somebody does something about it; a sentence for `/status`.
    Stuck(Cow<'static, str>),
    /// The log refuses what it does: it tries again now and then. A sentence for `/status`.
    Refused(Cow<'static, str>),
    /// The stage ends with it.
    Failed(Error),
}

/// What the steps of a lane answer with.
pub(crate) type Step<T> = std::result::Result<T, Halt>;

impl From<fpaas_log::Error> for Halt {
    fn from(error: fpaas_log::Error) -> Self {
        match error {
            fpaas_log::Error::Abort(Culprit::Fenced) => Self::Fenced,
            fpaas_log::Error::Abort(culprit @ Culprit::Append { .. }) => Self::Refused(culprit.to_string().into()),
            fpaas_log::Error::NoSuchTopic(_) => Self::Gone,
            fpaas_log::Error::Refused(why) => Self::Refused(why.into()),
            error => Self::Failed(error.into()),
        }
    }
}

impl From<fpaas_state::Error> for Halt {
    fn from(error: fpaas_state::Error) -> Self {
        match error {
            fpaas_state::Error::Log(error) => error.into(),
            error => Self::Failed(error.into()),
        }
    }
}
