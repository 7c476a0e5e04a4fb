//! One step after another: events and cursors in one transaction. Invariant: offsets-with-effects.
//!
//! The next step is decoded meanwhile, but only handed to the writer once this one is known to be committed: so no
//! later frame can be in the log without the earlier ones.

use std::ops::ControlFlow;
use std::sync::Arc;

use fpaas_core::TopicPartition;
use fpaas_core::crashpoint::{self, Point};
use fpaas_log::{Backoff, Culprit, Error as LogError, Lease, Receipt, Rejected, Transaction, Writer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cursor::Cursor;
use crate::decode::Step;
use crate::ends::Ends;
use crate::error::{Error, Result};
use crate::status::{State, Status};
use crate::upstream::Upstream;

/// Why committing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    Stopped,
    /// The lease is another's.
    Fenced,
    /// Nobody knows whether the last step is committed: the cursors in the log tell.
    Unknown,
}

/// What commits under one lease.
pub(crate) struct Committer<'a> {
    pub(crate) lease: Lease,
    pub(crate) writer: Arc<dyn Writer>,
    pub(crate) cursors: &'a TopicPartition,
    pub(crate) upstreams: &'a [Upstream],
    pub(crate) status: &'a Status,
    /// Of the firehose topic.
    pub(crate) ends: Ends,
}

impl Committer<'_> {
    /// Commits what comes until it is told to stop; a commit that was handed over is waited for.
    pub(crate) async fn run(mut self, steps: &mut mpsc::Receiver<Step>, stop: &CancellationToken) -> Result<Ended> {
        while let Some(received) = stop.run_until_cancelled(steps.recv()).await {
            let Some(mut step) = received else {
                // Every recording is finished and there is no relay: the lease is held until someone else wants it.
                stop.cancelled().await;
                break;
            };
            let transaction = self.transaction(&mut step);
            if !transaction.is_empty() {
                crashpoint::hit(Point::IngestBeforeCommit);
                let appends: Vec<_> = transaction.appends.iter().map(|append| append.at.clone()).collect();
                match self.commit(transaction, stop).await? {
                    ControlFlow::Continue(receipt) => self.ends.move_past(&appends, &receipt.offsets),
                    ControlFlow::Break(ended) => return Ok(ended),
                }
                crashpoint::hit(Point::IngestAfterCommit);
            }
            self.note(&step);
        }
        Ok(Ended::Stopped)
    }

    /// The step's events, under the lease, with the cursors that account for them.
    fn transaction(&self, step: &mut Step) -> Transaction {
        let mut transaction = std::mem::take(&mut step.transaction);
        transaction.leases.push(self.lease.clone());
        for (upstream, seq) in &step.reached {
            if let Some(upstream) = self.upstreams.get(*upstream) {
                let cursor = Cursor::new(*seq, step.time_us, self.ends.to_vec());
                transaction.append(self.cursors.clone(), cursor.to_record(upstream.id()));
            }
        }
        transaction
    }

    async fn commit(
        &self,
        mut transaction: Transaction,
        stop: &CancellationToken,
    ) -> Result<ControlFlow<Ended, Receipt>> {
        let mut backoff = Backoff::default();
        loop {
            let Rejected { error, transaction: same } = match self.writer.commit(transaction).await {
                Ok(receipt) => return Ok(ControlFlow::Continue(receipt)),
                Err(rejected) => rejected,
            };
            match error {
                error if error.may_pass() => {
                    if backoff.wait(&error.to_string(), stop).await.is_break() {
                        return Ok(ControlFlow::Break(Ended::Stopped));
                    }
                }
                LogError::Abort(Culprit::Fenced) => return Ok(ControlFlow::Break(Ended::Fenced)),
                LogError::Unknown => return Ok(ControlFlow::Break(Ended::Unknown)),
                error => return Err(Error::Log(error)),
            }
            transaction = *same;
        }
    }

    /// What may be said now that it is durable.
    fn note(&self, step: &Step) {
        self.status.add(&step.counts, &step.drops);
        for (upstream, seq) in &step.reached {
            self.status.reached(*upstream, *seq);
        }
        for upstream in &step.finished {
            self.status.set(*upstream, State::Finished);
        }
    }
}
