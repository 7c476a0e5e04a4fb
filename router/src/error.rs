//! What ends the router.

/// Everything in this crate answers with it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Each of these ends the process: it starts again from what is committed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot go on.
    #[error(transparent)]
    Log(#[from] fpaas_log::Error),
    /// A row or a position of ours cannot be read.
    #[error(transparent)]
    State(#[from] fpaas_state::Error),
    /// Somebody else joined the group under this node's name.
    #[error("another process took this node's place in the group {0}: give each node a name of its own")]
    Replaced(String),
}
