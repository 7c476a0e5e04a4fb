//! One partition in memory: its watermarks, its index, who holds it back.
//!
//! Does not own its records: those are rows on the disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use fpaas_core::{Offset, Timestamp};
use tokio::sync::watch;

use super::codec::Chunk;
use super::index::Index;
use super::keys::PartitionId;
use super::sync::lock;
use crate::HoldGuard;

/// A partition. Its writer is whoever has the ledger; everyone reads.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) id: PartitionId,
    tail: watch::Sender<Tail>,
    low: AtomicU64,
    tally: Mutex<Tally>,
    holds: Mutex<BTreeMap<u64, u32>>,
    swept: AtomicU64,
    cleaned: Mutex<Cleaned>,
}

/// What those who wait at the end wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Everything below it is committed and visible.
    pub(super) end: u64,
    /// The topic was deleted.
    pub(super) gone: bool,
}

/// What was written, visible or just about to be.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The offset of the next record.
    pub(super) next: u64,
    /// Of what was written.
    pub(super) index: Index,
}

/// How far a partition was compacted since the start, and what was left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cleaned {
    pub(super) upto: u64,
    pub(super) live: u64,
    pub(super) oldest_tombstone: Option<Timestamp>,
}

impl Tally {
    /// Gives the next record its offset, leaving out one after every `gap_every`. A chunk it filled is to be stored.
    pub(super) fn assign(&mut self, bytes: u64, timestamp: Timestamp, gap_every: Option<u64>) -> (u64, Option<Chunk>) {
        let offset = self.next;
        let gap = gap_every.is_some_and(|every| (offset + 1).is_multiple_of(every.max(2)));
        self.next = offset + 1 + u64::from(gap);
        (offset, self.index.push(self.next, bytes, timestamp))
    }
}

impl Partition {
    /// As it was stored.
    pub(super) fn restored(id: PartitionId, low: u64, tally: Tally) -> Arc<Self> {
        let tail = watch::Sender::new(Tail { end: tally.next, gone: false });
        let (low, tally) = (AtomicU64::new(low), Mutex::new(tally));
        let (holds, swept, cleaned) = (Mutex::default(), AtomicU64::new(0), Mutex::default());
        Arc::new(Self { id, tail, low, tally, holds, swept, cleaned })
    }

    /// What is visible.
    pub(super) fn tail(&self) -> Tail {
        *self.tail.borrow()
    }

    /// Wakes when what is visible changes.
    pub(super) fn watch(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    /// Records below it are gone.
    pub(super) fn low(&self) -> u64 {
        self.low.load(Ordering::Acquire)
    }

    /// Nothing below `low` is read any more.
    pub(super) fn raise_low(&self, low: u64) {
        self.low.fetch_max(low, Ordering::AcqRel);
    }

    /// The writer's view.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Makes everything visible that was written.
    pub(super) fn publish(&self) {
        let end = self.tally().next;
        self.tail.send_modify(|tail| tail.end = end);
    }

    /// Nobody finds anything here again.
    pub(super) fn close(&self) {
        self.tail.send_modify(|tail| tail.gone = true);
    }

    /// Wakes whoever waits, to look again whether the log still works.
    pub(super) fn wake(&self) {
        self.tail.send_modify(|_| ());
    }

    /// Up to where records were removed from the disk since the start.
    pub(super) fn swept(&self) -> u64 {
        self.swept.load(Ordering::Acquire)
    }

    /// They were.
    pub(super) fn swept_to(&self, low: u64) {
        self.swept.store(low, Ordering::Release);
    }

    /// How far it was compacted since the start.
    pub(super) fn cleaned(&self) -> MutexGuard<'_, Cleaned> {
        lock(&self.cleaned)
    }

    /// The lowest offset that somebody holds.
    pub(super) fn held_from(&self) -> Option<u64> {
        lock(&self.holds).keys().next().copied()
    }

    /// Holds what is at or above `from`.
    pub(super) fn hold(self: &Arc<Self>, from: u64) -> HoldOn {
        self.change_holds(None, Some(from));
        HoldOn { partition: Arc::clone(self), from: Mutex::new(from) }
    }

    fn change_holds(&self, old: Option<u64>, new: Option<u64>) {
        let mut holds = lock(&self.holds);
        if let Some(new) = new {
            *holds.entry(new).or_default() += 1;
        }
        let Some(old) = old else { return };
        if let Some(count) = holds.get_mut(&old) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&old);
            }
        }
    }
}

/// One hold on one partition.
#[derive(Debug)]
pub(super) struct HoldOn {
    partition: Arc<Partition>,
    from: Mutex<u64>,
}

impl HoldGuard for HoldOn {
    fn advance(&self, from: Offset) {
        let mut at = lock(&self.from);
        if from.0 > *at {
            self.partition.change_holds(Some(*at), Some(from.0));
            *at = from.0;
        }
    }
}

impl Drop for HoldOn {
    fn drop(&mut self) {
        let from = *lock(&self.from);
        self.partition.change_holds(Some(from), None);
    }
}
