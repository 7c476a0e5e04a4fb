//! One step of a scan or a lane: what it changes, and what the log made of it.

use fpaas_core::TopicPartition;
use fpaas_log::{Backoff, Culprit, Error as LogError, Lease, Refusal, Rejected, Transaction};
use fpaas_state::Mutations;
use tokio_util::sync::CancellationToken;

use crate::own::Shared;
use crate::undeliverable::Refused;
use crate::{Result, delivery};

/// What a step changes: in the log, and then in the tables that follow it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) transaction: Transaction,
    pub(crate) mutations: Mutations,
}

/// What a commit came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is durable, and the tables have it.
    Committed,
    /// One subscription's record cannot be written: it is left out of the redo, or the subscription is.
    Refused(Refused),
    /// Nothing more can be done here.
    Ended(Ended),
}

/// Why a scan or a lane came to its end without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to.
    Stopped,
    /// There is nothing left to do: no subscription, or the scan carries this one now.
    Done,
    /// It cannot go on by itself; the board says why.
    Halted,
    /// The log does not let it go on with its source; the board says why, and it is tried again now and then.
    Refused,
    /// The slot is another's.
    Fenced,
    /// Nobody knows what became of a transaction: everything starts again from what the log holds.
    Unknown,
}

impl Step {
    /// An empty one.
    pub(crate) fn under(lease: &Lease) -> Self {
        Self { transaction: Transaction::under(lease), mutations: Mutations::default() }
    }
}

impl Shared {
    /// Commits `step`, waiting as long as the log is not available.
    pub(crate) async fn commit(&self, step: Step, stop: &CancellationToken) -> Result<Outcome> {
        let Step { mut transaction, mutations } = step;
        let mut backoff = Backoff::default();
        loop {
            let Rejected { error, transaction: again } = match self.writer.commit(transaction).await {
                Ok(_) => break self.tables.apply(mutations),
                Err(rejected) => rejected,
            };
            match error {
                LogError::Retry(why) if backoff.wait(&why, stop).await.is_continue() => transaction = *again,
                LogError::Retry(_) => return Ok(Outcome::Ended(Ended::Stopped)),
                LogError::Abort(Culprit::Fenced) => return Ok(Outcome::Ended(Ended::Fenced)),
                LogError::Abort(Culprit::Append { at, refusal }) => {
                    return Ok(Outcome::Refused(refused(at, refusal, &again)));
                }
                LogError::Unknown => return Ok(Outcome::Ended(Ended::Unknown)),
                // The source was deleted in this moment: what is left of it is looked at again.
                LogError::NoSuchTopic(_) => return Ok(Outcome::Ended(Ended::Unknown)),
                LogError::Refused(_) | LogError::Fatal(_) => return Err(error.into()),
            }
        }
        Ok(Outcome::Committed)
    }
}

/// Of the appends to `at` the largest one is to blame: where it is not, the redo blames the next.
fn refused(at: TopicPartition, refusal: Refusal, transaction: &Transaction) -> Refused {
    let there = transaction.appends.iter().filter(|append| append.at == at);
    let largest = there.max_by_key(|append| append.record.bytes());
    Refused { source: largest.and_then(|append| delivery::source_offset(&append.record)), at, refusal }
}
