//! What a lane has read and put into no batch: the batch that is collected, what waits for its key, and the rest. Pure.
//!
//! ```text
//!   read ─▶ fresh ─┬──────────────▶ open ─▶ a batch
//!                  └─▶ deferred ─▶──┘
//! ```
//!
//! Each event is looked at once when it leaves `fresh`, and once more where it has to wait for its key, however many
//! others wait. All that is in `open` stands before all that is in `fresh`. Invariants: key-order, bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use fpaas_core::Offset;
use fpaas_core::subscription::Ordering;
use tokio::time::Instant;

use super::queues::{Hold, Queues};
use crate::batch::{Batcher, Bounds};
use crate::body::Delivery;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Not looked at; in order.
    fresh: VecDeque<Waiting>,
    /// So many of the first of them have keys of which nothing is parked.
    unparked: usize,
    /// Behind a key that is held, or was when they were looked at.
    deferred: Queues<Waiting>,
    /// The batch that is collected; a key that was freed late may have brought what stands before others.
    open: Vec<Waiting>,
    /// The lowest of it.
    first: Option<(Offset, Instant)>,
    /// What it is held to.
    batcher: Option<Batcher>,
    ordering: Ordering,
    events: usize,
    bytes: usize,
}

/// An event, and when it was read.
#[derive(Debug)]
struct Waiting {
    event: Delivery,
    read: Instant,
}

/// The batch that is collected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Collected {
    pub(crate) events: usize,
    /// A bound of number or size is reached.
    pub(crate) full: bool,
    /// When the first of them was read; none where there is none.
    pub(crate) since: Option<Instant>,
    /// Of their records.
    pub(crate) bytes: usize,
}

impl Pending {
    pub(super) const fn len(&self) -> usize {
        self.events
    }

    /// The bytes of all records.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The lowest offset of all.
    pub(super) fn lowest(&self) -> Option<Offset> {
        let open = self.first.map(|(offset, _)| offset);
        let fresh = || self.fresh.front().map(|waiting| waiting.event.offset);
        open.or_else(fresh).into_iter().chain(self.deferred.lowest()).min()
    }

    /// It comes after all others.
    pub(super) fn push(&mut self, event: Delivery, read: Instant) {
        self.events += 1;
        self.bytes += event.record.bytes();
        self.fresh.push_back(Waiting { event, read });
    }

    /// Forgets all from `from` on. The lowest offset that is forgotten.
    pub(super) fn forget(&mut self, from: Offset) -> Option<Offset> {
        self.begin_anew();
        let keep = self.fresh.partition_point(|waiting| waiting.event.offset < from);
        let behind = self.fresh.split_off(keep);
        self.events -= behind.len();
        self.bytes -= behind.iter().map(|waiting| waiting.event.record.bytes()).sum::<usize>();
        behind.front().map(|waiting| waiting.event.offset)
    }

    /// What a key waits for from here on.
    pub(super) fn hold(&mut self, key: &Bytes, hold: Hold) {
        self.deferred.hold(key, hold);
    }

    /// Something of other keys is parked than before.
    pub(super) const fn note_parked(&mut self) {
        self.unparked = 0;
    }

    /// Takes into the open batch what goes into it, `hold` being what keys wait for.
    pub(super) fn collect(&mut self, bounds: Bounds, ordering: Ordering, hold: impl Fn(&Bytes) -> Hold) -> Collected {
        self.follow(ordering);
        if self.batcher.as_ref().is_some_and(|batcher| batcher.bounds() != bounds) {
            self.begin_anew();
        }
        let mut batcher = self.batcher.take().unwrap_or_else(|| Batcher::new(bounds));
        while !batcher.is_full() {
            let fresh = self.fresh.front();
            let free = self.deferred.first(Hold::Free);
            let waiting = match (fresh, free) {
                // A key that is free and waits all the same has its first one before that.
                (Some(fresh), free) if free.is_none_or(|(offset, _)| fresh.event.offset < offset) => {
                    let held = match &fresh.event.record.key {
                        Some(key) if ordering == Ordering::Key => hold(key),
                        _ => Hold::Free,
                    };
                    if held != Hold::Free {
                        self.defer(held);
                        continue;
                    }
                    if !batcher.offer(&fresh.event) {
                        break;
                    }
                    self.unparked = self.unparked.saturating_sub(1);
                    self.fresh.pop_front()
                }
                (_, Some((offset, waiting))) => {
                    if !batcher.offer(&waiting.event) {
                        break;
                    }
                    self.deferred.take(offset).map(|(_, waiting)| waiting)
                }
                _ => break,
            };
            if let Some(waiting) = waiting {
                let at = (waiting.event.offset, waiting.read);
                self.first = Some(self.first.map_or(at, |first| first.min(at)));
                self.open.push(waiting);
            }
        }
        let collected = Collected {
            events: self.open.len(),
            full: batcher.is_full(),
            since: self.first.map(|(_, read)| read),
            bytes: batcher.record_bytes(),
        };
        self.batcher = Some(batcher);
        collected
    }

    /// Takes the open batch, in order.
    pub(super) fn take(&mut self) -> Vec<Delivery> {
        self.events -= self.open.len();
        self.bytes -= self.batcher.take().map_or(0, |batcher| batcher.record_bytes());
        self.first = None;
        self.open.sort_by_key(|waiting| waiting.event.offset);
        self.open.drain(..).map(|waiting| waiting.event).collect()
    }

    /// Takes events of keys of which something is parked, `may_go` saying of each whether it goes; where it does not,
    /// neither do those behind it.
    pub(super) fn take_followers(
        &mut self,
        ordering: Ordering,
        hold: impl Fn(&Bytes) -> Hold,
        mut may_go: impl FnMut(&Delivery) -> bool,
    ) -> Vec<Delivery> {
        self.follow(ordering);
        for waiting in self.fresh.split_off(self.unparked.min(self.fresh.len())) {
            match &waiting.event.record.key {
                Some(key) if hold(key) == Hold::Parked => {
                    self.deferred.push(Some(key.clone()), Hold::Parked, waiting.event.offset, waiting);
                }
                _ => self.fresh.push_back(waiting),
            }
        }
        self.unparked = self.fresh.len();
        let mut followers = Vec::new();
        while let Some((offset, waiting)) = self.deferred.first(Hold::Parked) {
            if !may_go(&waiting.event) {
                break;
            }
            let Some((_, waiting)) = self.deferred.take(offset) else { break };
            self.events -= 1;
            self.bytes -= waiting.event.record.bytes();
            followers.push(waiting.event);
        }
        followers
    }

    /// The first of those that were not looked at waits for its key.
    fn defer(&mut self, hold: Hold) {
        if let Some(waiting) = self.fresh.pop_front() {
            self.unparked = self.unparked.saturating_sub(1);
            self.deferred.push(waiting.event.record.key.clone(), hold, waiting.event.offset, waiting);
        }
    }

    fn follow(&mut self, ordering: Ordering) {
        if self.ordering != ordering {
            self.ordering = ordering;
            self.begin_anew();
        }
    }

    /// Nothing was looked at.
    fn begin_anew(&mut self) {
        let mut looked_at: Vec<_> = self.open.drain(..).chain(self.deferred.drain()).collect();
        if !looked_at.is_empty() {
            // What was deferred may stand behind others that are fresh: followers are taken out of all.
            looked_at.extend(self.fresh.drain(..));
            looked_at.sort_unstable_by_key(|waiting| waiting.event.offset);
            self.fresh = looked_at.into();
        }
        (self.batcher, self.first, self.unparked) = (None, None, 0);
    }
}
