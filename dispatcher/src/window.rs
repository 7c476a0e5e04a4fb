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

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use fpaas_core::subscription::{Collector, Ordering};
use fpaas_core::{Offset, limits};
use tokio::time::Instant;

use crate::batch::Bounds;
use crate::body::Delivery;
use crate::set::{Phase, Set};
pub(crate) use pending::Collected;
use pending::Pending;
use queues::{Hold, Queues};

mod pending;
mod queues;

/// Inclusive ranges of offsets in order.
pub(crate) type Ranges = Vec<(Offset, Offset)>;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Where reading goes on.
    next: Offset,
    /// Read, in no set, not parked.
    pending: Pending,
    /// By their first offset.
    sets: BTreeMap<Offset, Set>,
    /// Which sets hold a key: the first of them goes first.
    holders: HashMap<Bytes, BTreeSet<Offset>>,
    /// Parked behind a key, in no set: the bytes of each.
    followers: Queues<usize>,
    /// How many of what is parked have this key: sets and followers.
    parked_keys: HashMap<Bytes, usize>,
    parked_events: usize,
    parked_bytes: usize,
    /// Done above the position, by the first offset of each row.
    done: BTreeMap<Offset, Ranges>,
    /// Nothing from here on is done.
    done_end: Offset,
    /// Something may have to follow a key that is parked.
    unsorted: bool,
    /// What was in the log when the batch that is collected now began.
    backlog: Option<Offset>,
    /// What was in it when it was last read.
    end: Offset,
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
        let held = self.sets.iter().find(|(_, set)| !set.parked).map(|(first, _)| *first);
        self.pending.lowest().into_iter().chain(held).min().unwrap_or(self.next).min(self.next)
    }

    /// These were read, the log's end being `end` then; `next` is where to go on.
    pub(crate) fn read(&mut self, events: Vec<Delivery>, next: Offset, end: Offset, now: Instant) {
        if !events.is_empty() {
            self.unsorted = true;
            self.backlog.get_or_insert(end);
        }
        for event in events {
            // What was read once before may be done since.
            if event.offset >= self.done_end || !self.is_done(event.offset) {
                self.pending.push(event, now);
            }
        }
        self.next = self.next.max(next);
        self.end = self.end.max(end);
    }

    /// Forgets what was read and is in no set: it is read again from where the first of it stands.
    pub(crate) fn unread(&mut self) {
        if self.pending.len() > 0 {
            self.unread_from(Offset::ZERO);
            self.backlog = None;
        }
    }

    /// The same of what stands at `from` or behind it alone.
    pub(crate) fn unread_from(&mut self, from: Offset) {
        if let Some(first) = self.pending.forget(from) {
            self.next = first;
        }
    }

    /// True where nothing that was read is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.len() == 0 && self.is_drained()
    }

    /// True where nothing is frozen and nothing parked.
    pub(crate) fn is_drained(&self) -> bool {
        self.sets.is_empty() && self.followers.is_empty()
    }

    /// True where more may be read.
    pub(crate) fn has_room_to_read(&self) -> bool {
        self.pending.len() < limits::LANE_PENDING_MAX
            && self.pending.bytes() < limits::LANE_PENDING_BYTES_MAX
            && self.next.0.saturating_sub(self.position().0) < limits::LANE_SPAN_MAX
    }

    /// True where what is pending may make less than a batch.
    pub(crate) fn is_short_of(&self, policy: Collector) -> bool {
        self.pending.len() < policy.max_events as usize
    }

    /// What was in the log when the batch that is collected now began is read.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.backlog.map_or_else(|| self.pending.len() == 0, |end| self.next >= end)
    }

    /// Nothing more is there.
    pub(crate) fn at_tail(&mut self) {
        self.end = self.next;
        self.backlog = self.backlog_now();
    }

    /// Collects what the next batch is made of, as far as it is there.
    pub(crate) fn collect(&mut self, bounds: impl Into<Bounds>, ordering: Ordering) -> Collected {
        let Self { pending, holders, parked_keys, .. } = self;
        pending.collect(bounds.into(), ordering, |key| hold(holders, parked_keys, key))
    }

    /// Takes what is collected.
    pub(crate) fn take(&mut self) -> Vec<Delivery> {
        let taken = self.pending.take();
        // Whatever has come since then is brought by the fetch that waits for it.
        self.backlog = self.backlog_now();
        taken
    }

    fn backlog_now(&self) -> Option<Offset> {
        (self.pending.len() > 0).then_some(self.end)
    }

    /// Takes the pending events that are to be parked behind their key, as long as there is room for them here, and
    /// `room` bytes elsewhere.
    pub(crate) fn take_followers(&mut self, ordering: Ordering, mut room: usize) -> Vec<Delivery> {
        if !std::mem::take(&mut self.unsorted) || ordering != Ordering::Key || self.parked_keys.is_empty() {
            return Vec::new();
        }
        let (mut events, mut bytes) = (self.parked_events, self.parked_bytes);
        let may_go = |event: &Delivery| {
            (events, bytes) = (events + 1, bytes + event.record.bytes());
            let fits = event.record.bytes() <= room && has_room_to_park(events, bytes);
            room = room.saturating_sub(event.record.bytes());
            fits
        };
        let Self { pending, holders, parked_keys, .. } = self;
        let followers = pending.take_followers(ordering, |key| hold(holders, parked_keys, key), may_go);
        for event in &followers {
            self.follow(event.offset, event.record.key.clone(), event.record.bytes());
        }
        followers
    }

    /// Something that kept events from being parked is over.
    pub(crate) fn sort_again(&mut self) {
        self.unsorted = true;
    }

    /// A parked event that is in no set; later than all others of its key.
    pub(crate) fn follow(&mut self, offset: Offset, key: Option<Bytes>, bytes: usize) {
        self.note_parked(1, bytes, key.iter());
        let held = key.as_ref().is_some_and(|key| self.holders.contains_key(key));
        self.followers.push(key, if held { Hold::Set } else { Hold::Free }, offset, bytes);
    }

    /// The parked events that may go into the next batch, in order, `most` at most, without those that are `unwritten`.
    pub(crate) fn released(&self, most: usize, ordering: Ordering, unwritten: &BTreeSet<Offset>) -> Vec<Offset> {
        let free = self.followers.in_order(ordering != Ordering::Key);
        free.filter(|offset| !unwritten.contains(offset)).take(most).collect()
    }

    /// They go into a set, which stays parked: the first ones of what was released.
    pub(crate) fn take_released(&mut self, offsets: &[Offset]) {
        for offset in offsets {
            if let Some((key, bytes)) = self.followers.take(*offset) {
                self.note_unparked(1, bytes, key.iter());
            }
        }
    }

    /// True where so much more may be parked.
    pub(crate) const fn has_room_to_park(&self, events: usize, bytes: usize) -> bool {
        has_room_to_park(self.parked_events + events, self.parked_bytes + bytes)
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
    pub(crate) fn insert(&mut self, mut set: Set) {
        set.behind = 0;
        for key in set.keys.iter() {
            let holders = self.holders.entry(key.clone()).or_default();
            match holders.first() {
                Some(first) if *first < set.first => set.behind += 1,
                Some(first) => {
                    if let Some(later) = self.sets.get_mut(first) {
                        later.behind += 1;
                    }
                }
                None => {}
            }
            holders.insert(set.first);
        }
        if set.parked {
            self.note_parked(set.row.events as usize, set.bytes, set.keys.iter());
        }
        set.keys.iter().for_each(|key| self.follow_key(key));
        self.sets.insert(set.first, set);
    }

    /// A set is finished, or replaced by others. Its keys are free for others.
    pub(crate) fn remove(&mut self, first: Offset) -> Option<Set> {
        let set = self.sets.remove(&first)?;
        for key in set.keys.iter() {
            let Some(holders) = self.holders.get_mut(key) else { continue };
            let was_first = holders.first() == Some(&first);
            holders.remove(&first);
            match holders.first() {
                Some(next) if was_first => {
                    if let Some(next) = self.sets.get_mut(next) {
                        next.behind -= 1;
                    }
                }
                Some(_) => {}
                None => drop(self.holders.remove(key)),
            }
        }
        if set.parked {
            self.note_unparked(set.row.events as usize, set.bytes, set.keys.iter());
        }
        set.keys.iter().for_each(|key| self.follow_key(key));
        Some(set)
    }

    /// What waits for a key is told what it waits for now.
    fn follow_key(&mut self, key: &Bytes) {
        self.pending.hold(key, hold(&self.holders, &self.parked_keys, key));
        let held = self.holders.contains_key(key);
        self.followers.hold(key, if held { Hold::Set } else { Hold::Free });
    }

    /// The position may pass a set: its events are written beside it. What follows its keys is parked, too.
    pub(crate) fn park(&mut self, first: Offset) {
        let Some(set) = self.sets.get_mut(&first) else { return };
        if !std::mem::replace(&mut set.parked, true) {
            let (events, bytes, keys) = (set.row.events as usize, set.bytes, set.keys.clone());
            self.note_parked(events, bytes, keys.iter());
            keys.iter().for_each(|key| self.follow_key(key));
            self.unsorted = true;
        }
    }

    fn note_parked<'a>(&mut self, events: usize, bytes: usize, keys: impl Iterator<Item = &'a Bytes>) {
        self.parked_events += events;
        self.parked_bytes += bytes;
        for key in keys {
            let count = self.parked_keys.entry(key.clone()).or_default();
            *count += 1;
            if *count == 1 {
                self.pending.note_parked();
            }
        }
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
                    self.pending.hold(key, hold(&self.holders, &self.parked_keys, key));
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
        let mut ready = self.sets.values().filter(|set| set.phase == Phase::Ready);
        ready.find(|set| ordering == Ordering::None || set.behind == 0).map(|set| set.first)
    }

    /// Offsets that are done and not passed yet: kept until the position has passed them.
    pub(crate) fn note_done(&mut self, ranges: Ranges) {
        if let (Some((first, _)), Some((_, last))) = (ranges.first(), ranges.last()) {
            self.done_end = self.done_end.max(last.next());
            self.done.insert(*first, ranges);
        }
    }

    fn is_done(&self, offset: Offset) -> bool {
        self.done.range(..=offset).any(|(_, ranges)| contains(ranges, offset))
    }

    /// The rows of done offsets that the position has passed: they are not needed any more.
    pub(crate) fn take_passed(&mut self) -> Vec<Offset> {
        let position = self.position();
        let passed = |ranges: &Ranges| ranges.last().is_none_or(|(_, last)| *last < position);
        let below = self.done.range(..position);
        let firsts: Vec<_> = below.filter(|(_, ranges)| passed(ranges)).map(|(first, _)| *first).collect();
        firsts.iter().for_each(|first| drop(self.done.remove(first)));
        firsts
    }
}

fn hold(holders: &HashMap<Bytes, BTreeSet<Offset>>, parked: &HashMap<Bytes, usize>, key: &Bytes) -> Hold {
    if parked.contains_key(key) {
        Hold::Parked
    } else if holders.contains_key(key) {
        Hold::Set
    } else {
        Hold::Free
    }
}

const fn has_room_to_park(events: usize, bytes: usize) -> bool {
    events <= limits::PARKED_EVENTS_MAX && bytes <= limits::PARKED_BYTES_MAX
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
