//! A frozen batch on its way: what is known of it between its freeze and its end. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::{Offset, Timestamp};
use fpaas_state::rows::{BatchRow, RetryRow};
use tokio::time::Instant;

use crate::body::Delivery;
use crate::budget::Taken;
use crate::freeze::Batch;
use crate::settle::Settlement;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Set {
    /// Its first offset: what it is known by.
    pub(crate) first: Offset,
    pub(crate) row: BatchRow,
    /// The keys of its events.
    pub(crate) keys: Arc<[Bytes]>,
    /// How many of them are in a set that comes before it; the window knows.
    pub(crate) behind: usize,
    /// The bytes of its events' records.
    pub(crate) bytes: usize,
    /// None before its freeze is committed, and while it is parked and waits: it is made again when it is due.
    pub(crate) batch: Option<Arc<Batch>>,
    /// Its events are written beside it, and the position may pass it.
    pub(crate) parked: bool,
    /// How often it was called in vain.
    pub(crate) retries: Retries,
    /// They have changed since they were last written.
    pub(crate) unwritten: bool,
    pub(crate) phase: Phase,
    /// Its share of what all batches may hold.
    pub(crate) taken: Option<Taken>,
}

/// Where a set is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its row is on its way into the log. What it is then.
    Freezing(Box<Phase>),
    /// It is called as soon as it may be.
    Ready,
    /// It is being called.
    Calling,
    /// It is not called before.
    Waiting(Instant),
    /// What becomes of its events is known, and is to be written.
    Settled(Box<Settlement>),
}

/// How often a batch was called in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retries {
    /// Attempts made so far.
    pub(crate) attempts: u32,
    /// When the first one failed, where one did.
    pub(crate) first_failed: Option<Timestamp>,
}

impl Retries {
    /// As it is written, for a batch that was called in that revision and is due then.
    pub(crate) fn row(&self, due: Timestamp, revision: u64) -> RetryRow {
        let first_failed = self.first_failed.unwrap_or(due);
        RetryRow { attempts: self.attempts, first_failed, due, revision: Some(revision) }
    }

    /// As it was written.
    pub(crate) const fn of(row: &RetryRow) -> Self {
        Self { attempts: row.attempts, first_failed: Some(row.first_failed) }
    }
}

impl Set {
    /// True where it takes part in what is called now: neither waiting nor settled.
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Freezing(_) | Phase::Ready | Phase::Calling)
    }

    /// It is due now, where it waits or is to wait once it is frozen.
    pub(crate) fn hurry(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Waiting(due) => *due = now,
            Phase::Freezing(then) => {
                if let Phase::Waiting(due) = &mut **then {
                    *due = now;
                }
            }
            _ => {}
        }
    }

    /// When it is due, where it waits.
    pub(crate) const fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(due) => Some(due),
            _ => None,
        }
    }
}

/// The keys of `events`, each once.
pub(crate) fn keys(events: &[Delivery]) -> Arc<[Bytes]> {
    let keys: BTreeSet<&Bytes> = events.iter().filter_map(|event| event.record.key.as_ref()).collect();
    keys.into_iter().cloned().collect()
}

/// The bytes of their records.
pub(crate) fn bytes(events: &[Delivery]) -> usize {
    events.iter().map(|event| event.record.bytes()).sum()
}
