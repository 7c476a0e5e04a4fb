//! What stops ingest. Whatever an upstream does is not in here: that is waited out or dropped and counted.

use std::path::PathBuf;

/// Everything in this crate answers with it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Classified by what the caller does: it ends the program with the message, except for [`Error::Upstream`] and
/// [`Error::Authorities`], which it says before anything starts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log failed for good, or lost a topic of ours.
    #[error("ingest cannot write: {0}")]
    Log(#[from] fpaas_log::Error),
    /// A cursor in the log cannot be read. Invariant: crash-on-corruption.
    #[error("the cursor of {upstream} is broken: {why}")]
    Cursor {
        /// The record's key.
        upstream: String,
        /// What is wrong with its value.
        why: String,
    },
    /// Another process has joined under this node's name.
    #[error("another process has taken over ingest under the same name")]
    Replaced,
    /// An upstream's text is not one.
    #[error("{text:?} is no upstream: {why}")]
    Upstream {
        /// As it was given.
        text: String,
        /// What would be right.
        why: String,
    },
    /// A recording cannot be opened.
    #[error("cannot open the recording {}: {source}", path.display())]
    Recording {
        /// Its absolute path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file of authorities cannot be read or has none.
    #[error("cannot take certificate authorities from {}: {why}", path.display())]
    Authorities {
        /// As it was given.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A task of ours ended by itself, which none does.
    #[error("a task of ingest ended: {0}")]
    Task(String),
}
