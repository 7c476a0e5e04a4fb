//! What can go wrong with what follows the log.

/// Everything in this crate answers with it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Classified by what the caller does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log said so; see [`fpaas_log::Error`] for what to do.
    #[error(transparent)]
    Log(#[from] fpaas_log::Error),
    /// A record of ours cannot be read: the process stops. Invariant: crash-on-corruption.
    #[error("{what} cannot be read: {why}; it was written by a newer version of fpaas, or the data is damaged")]
    Corrupt {
        /// Which record.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A command was not applied in time; it may still be. The caller repeats it under the same id.
    #[error("the change was not applied in time: try it again")]
    NotApplied,
}
