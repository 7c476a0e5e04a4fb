//! One partition as it comes from the brokers: a window of records that readers take from, each at its own offset.
//!
//! ```text
//!            start            taken                 next
//!              │                │                    │
//!   ───────────┼────────────────┼────────────────────┼─────────▶ offsets
//!              │ for slower     │ read ahead,        │ comes in here
//!              │ readers        │ bounded            │
//! ```
//!
//! What is read ahead of the furthest reader is bounded: at the bound the partition is paused. What is behind it stays
//! for a moment, so that several readers at one tail share one fetch. Invariant: bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fpaas_core::{Offset, TopicPartition};
use tokio::sync::Notify;

use crate::{Error, FetchBounds, Fetched, Stored};

/// A reader that comes back within this time is taken to follow the stream.
const RECENT: Duration = Duration::from_secs(3);
/// What may wait behind the furthest reader, for slower ones.
const BEHIND_BYTES_MAX: usize = 256 * 1024;

/// See the module's head. Filled by the layer's thread, read by anybody.
#[derive(Debug)]
pub(super) struct Stream {
    at: TopicPartition,
    state: Mutex<State>,
    /// Records came, or it ended.
    changed: Notify,
    /// The end was heard of: nothing to whoever waits for records.
    reached: Notify,
}

#[derive(Debug)]
struct State {
    window: VecDeque<Stored>,
    /// Every record at or above it and below `next` is in the window.
    start: Offset,
    /// How far the furthest reader has come.
    taken: Offset,
    /// What was taken by the time of the last look, for the next one to drop.
    behind: Offset,
    next: Offset,
    /// The brokers said that nothing readable is at or above `next`.
    at_end: bool,
    /// The furthest end that was heard of.
    end: Offset,
    ahead_bytes: usize,
    behind_bytes: usize,
    paused: bool,
    /// What may wait ahead of the furthest reader.
    ahead_max: usize,
    ended: Option<Ended>,
    readers: usize,
    used: Instant,
}

/// Why a stream gives nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The reader asks for another place, or the partition's records there are gone: look again.
    Moved,
    /// It cannot be read.
    Failed(Error),
}

/// What the layer's thread does about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    Pause,
}

impl Stream {
    /// From `from` on, where the brokers read next; the partition ended at `end` a moment ago.
    pub(super) fn new(at: TopicPartition, from: Offset, end: Offset) -> Self {
        let state = State {
            window: VecDeque::new(),
            start: from,
            taken: from,
            behind: from,
            next: from,
            at_end: from == end,
            end,
            ahead_bytes: 0,
            behind_bytes: 0,
            paused: false,
            ahead_max: usize::MAX,
            ended: None,
            readers: 0,
            used: Instant::now(),
        };
        Self { at, state: Mutex::new(state), changed: Notify::new(), reached: Notify::new() }
    }

    pub(super) const fn at(&self) -> &TopicPartition {
        &self.at
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the brokers read next.
    pub(super) fn next(&self) -> Offset {
        self.state().next
    }

    /// True where a reader at `from` misses nothing.
    pub(super) fn covers(&self, from: Offset) -> bool {
        let state = self.state();
        state.ended.is_none() && state.start <= from && from <= state.next
    }

    /// True where records at or above `from` are in the window.
    pub(super) fn has(&self, from: Offset) -> bool {
        let state = self.state();
        state.ended.is_some() || state.window.back().is_some_and(|last| last.offset >= from)
    }

    /// True while it takes what comes: it has not ended, and its readers do not hold it back.
    pub(super) fn is_open(&self) -> bool {
        let state = self.state();
        state.ended.is_none() && !state.paused
    }

    /// True while somebody follows it.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        state.ended.is_none() && (state.readers > 0 || state.used.elapsed() < RECENT)
    }

    /// True when nobody has read from it for `time`.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        let state = self.state();
        state.ended.is_some() || (state.readers == 0 && state.used.elapsed() >= time)
    }

    /// These came, in order. Answers whether more may come, where `ahead_max` bytes may wait for readers.
    pub(super) fn push(&self, records: impl Iterator<Item = Stored>, ahead_max: usize) -> Flow {
        let mut state = self.state();
        if state.ended.is_some() {
            return Flow::Go;
        }
        let before = state.next;
        for stored in records.filter(|stored| stored.offset >= before) {
            state.next = stored.offset.next();
            state.ahead_bytes += stored.record.bytes();
            state.window.push_back(stored);
        }
        if state.next == before {
            return Flow::Go;
        }
        state.at_end = false;
        state.end = state.end.max(state.next);
        state.ahead_max = ahead_max;
        state.paused = state.ahead_bytes >= ahead_max;
        let flow = if state.paused { Flow::Pause } else { Flow::Go };
        drop(state);
        self.changed.notify_waiters();
        flow
    }

    /// Nothing readable is at or above `end`.
    pub(super) fn reach_end(&self, end: Offset) {
        let mut state = self.state();
        if end < state.next || (end == state.next && state.at_end) {
            return;
        }
        state.next = end;
        state.at_end = true;
        state.end = state.end.max(end);
        if state.window.is_empty() {
            state.taken = state.taken.max(end);
        }
        drop(state);
        self.reached.notify_waiters();
    }

    /// Nothing more comes: whoever waits is told why.
    pub(super) fn end(&self, why: Ended) {
        self.state().ended.get_or_insert(why);
        self.changed.notify_waiters();
    }

    /// Records below `before` are removed from the partition. True where it was paused and may go on.
    pub(super) fn trim(&self, before: Offset) -> bool {
        let mut state = self.state();
        let before = before.min(state.next);
        state.taken = state.taken.max(before);
        state.drop_below(before);
        state.start = state.start.max(before);
        state.recount();
        state.may_resume()
    }

    /// Drops what readers had passed at the last look; to be called now and then.
    pub(super) fn look(&self) {
        let mut state = self.state();
        let before = state.behind;
        state.drop_below(before);
        state.behind = state.taken;
    }

    /// The next records at or above `from`, at most for `bounds`; waits for them until `deadline`. With `until`, an
    /// empty answer is given as soon as the brokers have nothing below it. The second value says that the partition
    /// was paused and may go on.
    pub(super) async fn read(
        &self,
        from: Offset,
        bounds: &FetchBounds,
        deadline: tokio::time::Instant,
        until: Option<Offset>,
    ) -> Result<(Option<Fetched>, bool), Ended> {
        let _reader = Reader::of(self);
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let mut reached = std::pin::pin!(self.reached.notified());
            reached.as_mut().enable();
            if let Some(found) = self.state().take(from, bounds, until)? {
                return Ok(found);
            }
            let changed = async {
                tokio::select! {
                    () = changed => {}
                    () = reached, if until.is_some() => {}
                }
            };
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                // Something may have come in between: what is said to be nothing is looked at under the same lock.
                let mut state = self.state();
                return Ok(state.take(from, bounds, until)?.unwrap_or_else(|| (state.nothing(from), false)));
            }
        }
    }
}

type Found = (Option<Fetched>, bool);

impl State {
    /// Records, or nothing where `until` is reached; `None` where there is something to wait for.
    fn take(&mut self, from: Offset, bounds: &FetchBounds, until: Option<Offset>) -> Result<Option<Found>, Ended> {
        self.used = Instant::now();
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        if from < self.start || self.next < from {
            return Err(Ended::Moved);
        }
        let records = self.records(from, bounds);
        if !records.is_empty() {
            return Ok(Some(self.hand_out(records)));
        }
        let reached = until.is_some_and(|until| self.next >= until);
        Ok(reached.then(|| (Some(Fetched { next: self.next, end: self.next, ..Fetched::default() }), false)))
    }

    fn records(&self, from: Offset, bounds: &FetchBounds) -> Vec<Stored> {
        let first = self.window.partition_point(|stored| stored.offset < from);
        let mut bytes = 0usize;
        let fits = |stored: &&Stored| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(stored.record.bytes().max(1));
            first || bytes <= bounds.bytes
        };
        self.window.range(first..).take(bounds.records.max(1)).take_while(fits).cloned().collect()
    }

    fn hand_out(&mut self, records: Vec<Stored>) -> Found {
        let last = records.last().map_or(self.next, |stored| stored.offset);
        let all = self.window.back().is_none_or(|stored| stored.offset == last);
        let next = if all { self.next } else { last.next() };
        // Where the brokers have not said that this is all, there is more, or a control record at least.
        let end = if all && self.at_end { self.next } else { self.end.max(next.next()) };
        self.advance(next);
        let resume = self.may_resume();
        (Some(Fetched { records, next, end, lost_until: None }), resume)
    }

    /// True, once, where it was paused and there is room again.
    fn may_resume(&mut self) -> bool {
        let resume = self.paused && self.ahead_bytes <= self.ahead_max / 2;
        self.paused &= !resume;
        resume
    }

    /// What is said when the time is over.
    fn nothing(&self, from: Offset) -> Option<Fetched> {
        let next = self.next.max(from);
        let end = if self.at_end { next } else { self.end.max(next.next()) };
        Some(Fetched { next, end, ..Fetched::default() })
    }

    /// A reader has everything below `next`.
    fn advance(&mut self, next: Offset) {
        if next <= self.taken {
            return;
        }
        let (from, to) = (self.index(self.taken), self.index(next));
        let passed: usize = self.window.range(from..to).map(|stored| stored.record.bytes()).sum();
        self.taken = next;
        self.ahead_bytes -= passed.min(self.ahead_bytes);
        self.behind_bytes += passed;
        while self.behind_bytes > BEHIND_BYTES_MAX {
            let Some(first) = self.window.front().filter(|first| first.offset < next) else { break };
            let (bytes, after) = (first.record.bytes(), first.offset.next());
            self.behind_bytes -= bytes.min(self.behind_bytes);
            self.start = after;
            self.window.pop_front();
        }
    }

    fn index(&self, offset: Offset) -> usize {
        self.window.partition_point(|stored| stored.offset < offset)
    }

    fn drop_below(&mut self, before: Offset) {
        let count = self.index(before);
        let bytes: usize = self.window.drain(..count).map(|stored| stored.record.bytes()).sum();
        self.behind_bytes -= bytes.min(self.behind_bytes);
        if count > 0 {
            self.start = self.start.max(before);
        }
    }

    fn recount(&mut self) {
        let taken = self.index(self.taken);
        self.ahead_bytes = self.window.range(taken..).map(|stored| stored.record.bytes()).sum();
        self.behind_bytes = self.window.range(..taken).map(|stored| stored.record.bytes()).sum();
    }
}

/// Counts who reads; a read that is dropped is over.
struct Reader<'a>(&'a Stream);

impl<'a> Reader<'a> {
    fn of(stream: &'a Stream) -> Self {
        stream.state().readers += 1;
        Self(stream)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.readers -= 1;
        state.used = Instant::now();
    }
}
