//! What of a lane is where: read and in no batch, frozen, parked, done; and with that its position. Pure.
//!
//! ```text
//!   position                                             next: read up to here
//!      ▼                                                  ▼
//!  ────┬────┬────┬────┬────┬────┬────┬────┬────┬────┬────┐
//!  park│ set│done│ set│defr│done│park│ set│defr│pend│pend│ …
//!  ────┴────┴────┴────┴────┴────┴────┴────┴────┴────┴────┘
//! ```
//!
//! A *set* is a frozen batch. An event whose key is in a set is *deferred*: it goes into a later batch. One whose key
//! is parked is parked behind it. The position is the lowest offset that is neither done nor parked. Does not own
//! when a batch is called, nor what is written. Invariants: key-order, bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use fpaas_core::subscription::{Collector, Ordering};
use fpaas_core::{Offset, limits};
use tokio::time::Instant;

use crate::batch::{Batcher, Bounds};
use crate::body::Delivery;
use crate::set::{Phase, Set};

/// Inclusive ranges of offsets in order.
pub(crate) type Ranges = Vec<(Offset, Offset)>;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Where reading goes on.
    next: Offset,
    /// Read, in no set, not parked; in order.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// By their first offset.
    sets: BTreeMap<Offset, Set>,
    /// Which sets hold a key: the first of them goes first.
    holders: HashMap<Bytes, BTreeSet<Offset>>,
    /// Parked behind a key, in no set.
    followers: BTreeMap<Offset, Follower>,
    /// How many of what is parked have this key: sets and followers.
    parked_keys: HashMap<Bytes, usize>,
    parked_events: usize,
    parked_bytes: usize,
    /// Done above the position, by the first offset of each row.
    done: BTreeMap<Offset, Ranges>,
    /// Something may have to follow a key that is parked.
    unsorted: bool,
    /// What was in the log when the batch that is collected now began.
    backlog: Option<Offset>,
}

#[derive(Debug)]
struct Pending {
    event: Delivery,
    read: Instant,
}

/// A parked event that waits behind its key.
#[derive(Debug)]
struct Follower {
    key: Option<Bytes>,
    bytes: usize,
}

/// What the pending events make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Collected {
    /// How many of the first ones were looked at: those that are not deferred are taken.
    upto: usize,
    /// A bound of number or size is reached.
    pub(crate) full: bool,
    /// When the first of them was read; none where there is none.
    pub(crate) since: Option<Instant>,
    /// Of their records.
    pub(crate) bytes: usize,
}

impl Window {
    /// Nothing of it is known but where reading begins.
    pub(crate) fn at(next: Offset) -> Self {
        Self { next, ..Self::default() }
    }

    /// Where reading goes on.
    pub(crate) const fn next(&self) -> Offset {
        self.next
    }

    /// The lowest offset that is neither done nor parked.
    pub(crate) fn position(&self) -> Offset {
        let pending = self.pending.front().map(|pending| pending.event.offset);
        let held = self.sets.iter().find(|(_, set)| !set.parked).map(|(first, _)| *first);
        pending.into_iter().chain(held).min().unwrap_or(self.next).min(self.next)
    }

    /// These were read, the log's end being `end` then; `next` is where to go on.
    pub(crate) fn read(&mut self, events: Vec<Delivery>, next: Offset, end: Offset, now: Instant) {
        if !events.is_empty() {
            self.unsorted = true;
            self.backlog.get_or_insert(end);
        }
        for event in events {
            self.pending_bytes += event.record.bytes();
            self.pending.push_back(Pending { event, read: now });
        }
        self.next = self.next.max(next);
    }

    /// Forgets what was read and is in no set: it is read again from where the first of it stands.
    pub(crate) fn unread(&mut self) {
        if let Some(first) = self.pending.front() {
            self.next = first.event.offset;
            self.pending.clear();
            self.pending_bytes = 0;
            self.backlog = None;
        }
    }

    /// The same of what is behind `last` alone.
    pub(crate) fn unread_after(&mut self, last: Offset) {
        let keep = self.pending.partition_point(|pending| pending.event.offset <= last);
        let behind = self.pending.split_off(keep);
        self.pending_bytes -= behind.iter().map(|pending| pending.event.record.bytes()).sum::<usize>();
        if let Some(first) = behind.front() {
            self.next = first.event.offset;
        }
    }

    /// True where nothing that was read is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.is_drained()
    }

    /// True where nothing is frozen and nothing parked.
    pub(crate) fn is_drained(&self) -> bool {
        self.sets.is_empty() && self.followers.is_empty()
    }

    /// True where more may be read.
    pub(crate) fn has_room_to_read(&self) -> bool {
        self.pending.len() < limits::LANE_PENDING_MAX
            && self.pending_bytes < limits::LANE_PENDING_BYTES_MAX
            && self.next.0.saturating_sub(self.position().0) < limits::LANE_SPAN_MAX
    }

    /// True where what is pending may make less than a batch.
    pub(crate) fn is_short_of(&self, policy: Collector) -> bool {
        self.pending.len() < policy.max_events as usize
    }

    /// What was in the log when the batch that is collected now began is read.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.backlog.map_or_else(|| self.pending.is_empty(), |end| self.next >= end)
    }

    /// Nothing more is there.
    pub(crate) fn at_tail(&mut self) {
        self.backlog = (!self.pending.is_empty()).then_some(self.next);
    }

    /// What the next batch would be made of.
    pub(crate) fn collected(&self, bounds: impl Into<Bounds>, ordering: Ordering) -> Collected {
        let (mut batcher, mut since, mut upto, mut bytes) = (Batcher::new(bounds), None, 0, 0);
        for pending in &self.pending {
            if batcher.is_full() {
                break;
            }
            if self.is_free(&pending.event, ordering) {
                if !batcher.offer(&pending.event) {
                    break;
                }
                since.get_or_insert(pending.read);
                bytes += pending.event.record.bytes();
            }
            upto += 1;
        }
        Collected { upto, full: batcher.is_full(), since, bytes }
    }

    /// Takes it. Nothing was changed in between.
    pub(crate) fn take(&mut self, collected: &Collected, ordering: Ordering) -> Vec<Delivery> {
        let looked_at: Vec<_> = self.pending.drain(..collected.upto).collect();
        let (mut taken, mut deferred) = (Vec::with_capacity(looked_at.len()), Vec::new());
        for pending in looked_at {
            if self.is_free(&pending.event, ordering) {
                self.pending_bytes -= pending.event.record.bytes();
                taken.push(pending.event);
            } else {
                deferred.push(pending);
            }
        }
        deferred.into_iter().rev().for_each(|pending| self.pending.push_front(pending));
        self.backlog = None;
        taken
    }

    fn is_free(&self, event: &Delivery, ordering: Ordering) -> bool {
        match (&event.record.key, ordering) {
            (Some(key), Ordering::Key) => !self.holders.contains_key(key) && !self.parked_keys.contains_key(key),
            _ => true,
        }
    }

    /// Takes the pending events that are to be parked behind their key, as long as there is room for them here, and
    /// `room` bytes elsewhere.
    pub(crate) fn take_followers(&mut self, ordering: Ordering, mut room: usize) -> Vec<Delivery> {
        if !std::mem::take(&mut self.unsorted) || ordering != Ordering::Key || self.parked_keys.is_empty() {
            return Vec::new();
        }
        let mut followers = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            let bytes = pending.event.record.bytes();
            let key = pending.event.record.key.clone().filter(|key| self.parked_keys.contains_key(key));
            if key.is_none() || bytes > room || !self.has_room_to_park(1, bytes) {
                // A later one of its key would overtake it: no other is parked.
                room = if key.is_some() { 0 } else { room };
                self.pending.push_back(pending);
                continue;
            }
            room -= bytes;
            self.pending_bytes -= bytes;
            self.follow(pending.event.offset, key, bytes);
            followers.push(pending.event);
        }
        followers
    }

    /// Something that kept events from being parked is over.
    pub(crate) fn sort_again(&mut self) {
        self.unsorted = true;
    }

    /// A parked event that is in no set.
    pub(crate) fn follow(&mut self, offset: Offset, key: Option<Bytes>, bytes: usize) {
        self.note_parked(1, bytes, key.iter());
        self.followers.insert(offset, Follower { key, bytes });
    }

    /// The parked events that may go into the next batch, in order, `most` at most, without those that are `unwritten`.
    pub(crate) fn released(&self, most: usize, ordering: Ordering, unwritten: &BTreeSet<Offset>) -> Vec<Offset> {
        let held = |follower: &Follower| {
            ordering == Ordering::Key && follower.key.as_ref().is_some_and(|key| self.holders.contains_key(key))
        };
        let free = self.followers.iter().filter(|(_, follower)| !held(follower));
        free.map(|(offset, _)| *offset).filter(|offset| !unwritten.contains(offset)).take(most).collect()
    }

    /// They go into a set, which stays parked.
    pub(crate) fn take_released(&mut self, offsets: &[Offset]) {
        for offset in offsets {
            if let Some(Follower { key, bytes }) = self.followers.remove(offset) {
                self.note_unparked(1, bytes, key.iter());
            }
        }
    }

    /// True where so much more may be parked.
    pub(crate) const fn has_room_to_park(&self, events: usize, bytes: usize) -> bool {
        self.parked_events + events <= limits::PARKED_EVENTS_MAX
            && self.parked_bytes + bytes <= limits::PARKED_BYTES_MAX
    }

    /// The bytes of what is parked.
    pub(crate) const fn parked_bytes(&self) -> usize {
        self.parked_bytes
    }

    /// How many events are parked.
    pub(crate) const fn parked_events(&self) -> usize {
        self.parked_events
    }

    /// A set is frozen, or will be.
    pub(crate) fn insert(&mut self, set: Set) {
        for key in set.keys.iter() {
            self.holders.entry(key.clone()).or_default().insert(set.first);
        }
        if set.parked {
            self.note_parked(set.row.events as usize, set.bytes, set.keys.iter());
        }
        self.sets.insert(set.first, set);
    }

    /// A set is finished, or replaced by others. Its keys are free for others.
    pub(crate) fn remove(&mut self, first: Offset) -> Option<Set> {
        let set = self.sets.remove(&first)?;
        for key in set.keys.iter() {
            if let Some(holders) = self.holders.get_mut(key) {
                holders.remove(&first);
                if holders.is_empty() {
                    self.holders.remove(key);
                }
            }
        }
        if set.parked {
            self.note_unparked(set.row.events as usize, set.bytes, set.keys.iter());
        }
        Some(set)
    }

    /// The position may pass a set: its events are written beside it. What follows its keys is parked, too.
    pub(crate) fn park(&mut self, first: Offset) {
        let Some(set) = self.sets.get_mut(&first) else { return };
        if !std::mem::replace(&mut set.parked, true) {
            let (events, bytes, keys) = (set.row.events as usize, set.bytes, set.keys.clone());
            self.note_parked(events, bytes, keys.iter());
            self.unsorted = true;
        }
    }

    fn note_parked<'a>(&mut self, events: usize, bytes: usize, keys: impl Iterator<Item = &'a Bytes>) {
        self.parked_events += events;
        self.parked_bytes += bytes;
        keys.for_each(|key| *self.parked_keys.entry(key.clone()).or_default() += 1);
    }

    fn note_unparked<'a>(&mut self, events: usize, bytes: usize, keys: impl Iterator<Item = &'a Bytes>) {
        self.parked_events -= events;
        self.parked_bytes -= bytes;
        self.unsorted = true;
        for key in keys {
            if let Some(count) = self.parked_keys.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.parked_keys.remove(key);
                }
            }
        }
    }

    /// The sets, in order.
    pub(crate) fn sets(&self) -> impl DoubleEndedIterator<Item = &Set> {
        self.sets.values()
    }

    /// The same, to be changed; neither what they hold nor whether they are parked.
    pub(crate) fn sets_mut(&mut self) -> impl Iterator<Item = &mut Set> {
        self.sets.values_mut()
    }

    /// The set that begins there.
    pub(crate) fn set_mut(&mut self, first: Offset) -> Option<&mut Set> {
        self.sets.get_mut(&first)
    }

    /// The first set that may be called: none that holds one of its keys comes before it, and where the lane waits for
    /// each, none at all.
    pub(crate) fn callable(&self, ordering: Ordering) -> Option<Offset> {
        if ordering == Ordering::Partition {
            let first = self.sets.values().next();
            return first.filter(|set| set.phase == Phase::Ready).map(|set| set.first);
        }
        let goes_first = |set: &Set, key: &Bytes| {
            let holders = self.holders.get(key);
            holders.and_then(BTreeSet::first).is_none_or(|first| *first == set.first)
        };
        let ready = self.sets.values().filter(|set| set.phase == Phase::Ready);
        let mut free =
            ready.filter(|set| ordering == Ordering::None || set.keys.iter().all(|key| goes_first(set, key)));
        free.next().map(|set| set.first)
    }

    /// Offsets that are done and not passed yet: kept until the position has passed them.
    pub(crate) fn note_done(&mut self, ranges: Ranges) {
        if let Some((first, _)) = ranges.first() {
            self.done.insert(*first, ranges);
        }
    }

    /// The rows of done offsets that the position has passed: they are not needed any more.
    pub(crate) fn take_passed(&mut self) -> Vec<Offset> {
        let position = self.position();
        let passed = |ranges: &Ranges| ranges.last().is_none_or(|(_, last)| *last < position);
        let firsts: Vec<_> = self.done.iter().filter(|(_, ranges)| passed(ranges)).map(|(first, _)| *first).collect();
        firsts.iter().for_each(|first| drop(self.done.remove(first)));
        firsts
    }
}

/// The offsets of `events`, which are in order, as inclusive ranges.
pub(crate) fn ranges(offsets: impl IntoIterator<Item = Offset>) -> Ranges {
    let mut ranges = Ranges::new();
    for offset in offsets {
        match ranges.last_mut() {
            Some((_, last)) if last.next() == offset => *last = offset,
            _ => ranges.push((offset, offset)),
        }
    }
    ranges
}

/// Whether `offset` is in one of the ranges.
pub(crate) fn contains(ranges: &[(Offset, Offset)], offset: Offset) -> bool {
    let at = ranges.partition_point(|(_, last)| *last < offset);
    ranges.get(at).is_some_and(|(first, _)| *first <= offset)
}

#[cfg(test)]
mod tests;
