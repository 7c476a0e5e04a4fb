//! What can go wrong with the log, classified by what the caller does about it.

use fpaas_core::TopicPartition;

/// Everything in this crate answers with it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Classified by what the caller does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was done. The caller waits a little and does the same again.
    #[error("the log is not available for a moment: {0}")]
    Retry(String),
    /// The transaction was rolled back, and trying it again as it is leads nowhere: the culprit says who is left out
    /// of the redo.
    #[error("the transaction was rolled back: {0}")]
    Abort(Culprit),
    /// The outcome is not known. The caller discards its writer and reads what was committed before it goes on.
    #[error("the outcome of the transaction is not known")]
    Unknown,
    /// An operation on a topic, or a partition of it, that is not there.
    #[error("there is no topic {0}")]
    NoSuchTopic(String),
    /// The cluster does not let us do this with this one topic, by rights, by a policy or by its settings: nothing was
    /// done, and nothing changes until an operator does something. The caller notes the sentence where it concerns
    /// somebody, goes on with everything else, and tries again now and then. An embedded log never answers it.
    #[error("{0}")]
    Refused(String),
    /// Our own data is broken, or the disk is: the process stops with this message. Invariant: crash-on-corruption.
    #[error("{0}")]
    Fatal(String),
}

/// Who is to blame for an abort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Culprit {
    /// A lease of this transaction is no longer held: the work belongs to another owner. Drop it.
    #[error("the slot is no longer owned")]
    Fenced,
    /// A record could not be appended: its subscription is left out and stopped with the reason.
    #[error("{at}: {refusal}")]
    Append {
        /// Where it should have gone.
        at: TopicPartition,
        /// Why it did not.
        refusal: Refusal,
    },
}

/// Why a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such topic or partition.
    #[error("no such topic or partition")]
    NoSuchTopic,
    /// The record is above `limits::RECORD_BYTES_MAX`.
    #[error("the record is too large")]
    TooLarge,
    /// The broker does not let us.
    #[error("not authorised")]
    NotAuthorised,
    /// The topic takes no such record: a compacted one none without a key.
    #[error("the topic takes no such record: a compacted one takes none without a key")]
    Invalid,
    /// Its partition has no leader: it may go well later, and everything else goes well meanwhile.
    #[error("its partition has no leader now")]
    Unavailable,
}

impl Error {
    /// True of what may go well when the same is done again, with nothing changed: [`Error::Retry`], and a transaction
    /// that waits for one partition.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Retry(_) | Self::Abort(Culprit::Append { refusal: Refusal::Unavailable, .. }))
    }
}
