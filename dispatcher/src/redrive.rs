//! Dead letters that are delivered again: a lane reads those of its own partition, and appends them to its deliveries.
//!
//! ```text
//!   dead letters ─▶ portion ─▶ plan: deliveries, and the row that says how far it is ─▶ commit
//! ```
//!
//! A portion is written in one transaction with its row, under the lane's lease and mark: each letter once, whoever
//! owns the lane when. One portion is on its way at a time, and the next is read when the lane has read the one before
//! and has room: what the endpoint does not take is not piled up. Does not own which letters are asked for (the view).
//! Invariants: offsets-with-effects, one-owner, bounded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::{Offset, TopicPartition, limits};
use fpaas_log::{FetchBounds, Fetched, Record};
use fpaas_state::rows::{self, RedriveRow};
use fpaas_state::{Letter, SubscriptionEntry};
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::commit::REFUSED_AGAIN;
use crate::error::{Halt, Step};
use crate::plan::Plan;
use crate::site::{Site, ask};
use crate::throttle::Throttle;
use crate::window::Window;

/// How soon it is read again where there was nothing though there should be.
const SOON: Duration = Duration::from_secs(1);

/// See the module's head.
pub(crate) struct Redrive {
    site: Arc<Site>,
    current: Option<Current>,
    fetch: Option<BoxFuture<'static, Step<Fetched>>>,
    /// Read, and to be written next.
    ready: Option<Portion>,
    /// A portion is on its way into the log.
    written: bool,
    /// What was written is in the deliveries, and not all of it is read.
    ahead: Ahead,
    throttle: Throttle,
    /// Nothing is read before.
    again: Option<Instant>,
}

/// What of a redrive is this lane's.
#[derive(Debug)]
struct Current {
    since: u64,
    to: Offset,
    reasons: BTreeSet<String>,
    rate: Option<u32>,
    lanes: u32,
    /// How far it is.
    row: RedriveRow,
}

/// How far the lane has to read before more is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    Nothing,
    /// Up to the end that the next fetch finds.
    Unknown,
    UpTo(Offset),
}

/// Letters that are written in one transaction.
#[derive(Clone, Debug)]
pub(crate) struct Portion {
    since: u64,
    /// How far it was before.
    before: RedriveRow,
    letters: Vec<(Offset, Sorted)>,
    /// Where it goes on.
    next: Offset,
}

/// What becomes of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sorted {
    Again(Record),
    Result,
    Cut,
    Refused,
    Other,
}

impl Redrive {
    /// Nothing is known of it yet.
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            current: None,
            fetch: None,
            ready: None,
            written: false,
            ahead: Ahead::Nothing,
            throttle: Throttle::default(),
            again: None,
        }
    }

    /// What `entry` says is to be delivered again.
    pub(crate) fn follow(&mut self, entry: &SubscriptionEntry) -> Step<()> {
        let wanted = entry.redrive.as_ref().filter(|redrive| redrive.cancelled.is_none());
        if wanted.map(|redrive| redrive.since) == self.current.as_ref().map(|current| current.since) {
            return Ok(());
        }
        (self.current, self.fetch, self.ready, self.again) = (None, None, None, None);
        let Some(redrive) = wanted else { return Ok(()) };
        let lane = self.site.at.partition.0 as usize;
        let (Some(from), Some(to)) = (redrive.from.get(lane), redrive.to.get(lane)) else { return Ok(()) };
        let key = rows::redrive_key(&self.site.at, redrive.since);
        if self.site.rows(rows::REDRIVE).iter().any(|(other, _)| *other > key) {
            // The lane has begun a later one: what is known of that here is on its way.
            return Ok(());
        }
        let row = self.site.shared.tables.get(self.site.lease.slot, &key)?;
        self.current = Some(Current {
            since: redrive.since,
            to: *to,
            reasons: redrive.reasons.clone(),
            rate: redrive.events_per_second,
            lanes: entry.config.lanes,
            row: row.unwrap_or_else(|| RedriveRow { position: *from, ..RedriveRow::default() }),
        });
        Ok(())
    }

    /// Reads on where there is something left, it is time to, and the lane has room for it.
    pub(crate) fn read_on(&mut self, window: &Window, now: Instant) {
        let Some(current) = self.current.as_ref().filter(|current| current.row.position < current.to) else { return };
        let busy = self.fetch.is_some() || self.ready.is_some() || self.written || self.site.shared.draining;
        if busy || self.due(now).is_some() || !window.has_room_to_read() || !self.ahead.is_read(window.next()) {
            return;
        }
        // The end may stand behind the last letter: control records are waited for.
        let bounds = FetchBounds { records: current.most(), ..FetchBounds::waiting(limits::IDLE_LANE_COMMIT) };
        let (site, from, at) = (Arc::clone(&self.site), current.row.position, self.site.letters());
        let log = Arc::clone(&self.site.shared.context.log);
        self.fetch = Some(Box::pin(async move { ask(&site.stop, || log.fetch(&at, from, bounds)).await }));
    }

    /// What was read. Waits for ever where nothing is. Cancel-safe.
    pub(crate) async fn fetched(&mut self) -> Step<Fetched> {
        match &mut self.fetch {
            Some(fetch) => fetch.await,
            None => std::future::pending().await,
        }
    }

    /// Sorts it.
    pub(crate) fn read(&mut self, read: Step<Fetched>, now: Instant) -> Step<()> {
        self.fetch = None;
        let Some(current) = &self.current else { return Ok(()) };
        let fetched = match read {
            Ok(fetched) => fetched,
            Err(Halt::Stopped) => return Ok(()),
            Err(halt @ (Halt::Gone | Halt::Stuck(_) | Halt::Refused(_))) => {
                warn!(lane = %self.site.at, ?halt, "dead letters are not delivered again now");
                self.again = Some(now + REFUSED_AGAIN);
                return Ok(());
            }
            Err(halt) => return Err(halt),
        };
        if let Some(until) = fetched.lost_until {
            let from = current.row.position;
            self.site.counters.lost.add(until.0.saturating_sub(from.0));
            error!(lane = %self.site.at, %from, %until, "dead letters were removed before they were delivered again");
        }
        let portion = current.portion(fetched);
        if portion.next <= current.row.position {
            self.again = Some(now + SOON);
        } else {
            self.ready = Some(portion);
        }
        Ok(())
    }

    /// Puts what was read into `plan`, where it fits.
    pub(crate) fn write(&mut self, plan: &mut Plan, now: Instant) {
        let Some(current) = &self.current else { return };
        let bytes = self.ready.as_ref().map_or(0, Portion::bytes);
        let Some(portion) = self.ready.take_if(|_| !plan.is_full_with(bytes)) else { return };
        self.throttle.note(now, portion.again().count(), current.rate, current.lanes);
        plan.note_bytes(bytes);
        // From here on: the lane may have read them before it hears that they are committed.
        self.ahead = if bytes > 0 { Ahead::Unknown } else { Ahead::Nothing };
        plan.redrive = Some(portion);
        self.written = true;
    }

    /// A plan is committed, with this of what was put into it.
    pub(crate) fn committed(&mut self, portion: Option<&Portion>, now: Instant) {
        if !std::mem::take(&mut self.written) {
            return;
        }
        let Some(portion) = portion else {
            // It was refused, and taken out.
            (self.ahead, self.again) = (Ahead::Nothing, Some(now + REFUSED_AGAIN));
            return;
        };
        if portion.again().next().is_none() {
            self.ahead = Ahead::Nothing;
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.since == portion.since) {
            current.row = portion.row();
        }
    }

    /// The lane has read its deliveries, up to `end` at the most.
    pub(crate) fn lane_read(&mut self, end: Offset) {
        if self.ahead == Ahead::Unknown {
            self.ahead = Ahead::UpTo(end);
        }
    }

    /// When more may be read, where that is later than now.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let current = self.current.as_ref().filter(|current| current.row.position < current.to)?;
        let paid = current.rate.and_then(|_| self.throttle.wait(now));
        paid.max(self.again.filter(|again| *again > now))
    }
}

impl Site {
    /// Where its dead letters are.
    fn letters(&self) -> TopicPartition {
        let entry = self.current();
        let topic = self.shared.context.topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation);
        TopicPartition::new(topic, self.at.partition.0)
    }
}

impl Current {
    /// How many are read at a time: what a second may have.
    fn most(&self) -> usize {
        let share = self.rate.map_or(usize::MAX, |rate| (rate / self.lanes.max(1)) as usize);
        share.clamp(1, limits::FETCH_RECORDS_MAX)
    }

    fn portion(&self, fetched: Fetched) -> Portion {
        let letters = fetched.records.into_iter().take_while(|stored| stored.offset < self.to);
        let letters = letters.map(|stored| (stored.offset, self.sort(stored.record))).collect();
        Portion { since: self.since, before: self.row.clone(), letters, next: fetched.next.min(self.to) }
    }

    fn sort(&self, record: Record) -> Sorted {
        match Letter::read(record) {
            Letter::Event(record, reason) if self.reasons.is_empty() || self.reasons.contains(&reason) => {
                Sorted::Again(record)
            }
            Letter::Event(..) => Sorted::Other,
            Letter::Result => Sorted::Result,
            Letter::Cut => Sorted::Cut,
        }
    }
}

impl Portion {
    /// Which redrive it is of.
    pub(crate) const fn since(&self) -> u64 {
        self.since
    }

    /// What is delivered again.
    pub(crate) fn again(&self) -> impl Iterator<Item = &Record> {
        self.letters.iter().filter_map(|(_, letter)| match letter {
            Sorted::Again(record) => Some(record),
            _ => None,
        })
    }

    /// How far it is with it.
    pub(crate) fn row(&self) -> RedriveRow {
        let mut row = RedriveRow { position: self.next, ..self.before.clone() };
        for (_, letter) in &self.letters {
            let count = match letter {
                Sorted::Again(_) => &mut row.redriven,
                Sorted::Result => &mut row.results,
                Sorted::Cut => &mut row.cut,
                Sorted::Refused => &mut row.refused,
                Sorted::Other => &mut row.others,
            };
            *count += 1;
        }
        row
    }

    /// The log does not take all of it: less of it, or without the last one that is left. False where there is none.
    pub(crate) fn shrink(&mut self) -> bool {
        let half = self.letters.len() / 2;
        if self.again().next().is_none() {
            return false;
        }
        match (self.letters.get(half).map(|(offset, _)| *offset), self.letters.as_mut_slice()) {
            (_, [(_, only)]) => *only = Sorted::Refused,
            (Some(next), _) => {
                self.letters.truncate(half);
                self.next = next;
            }
            (None, _) => return false,
        }
        true
    }

    fn bytes(&self) -> usize {
        self.again().map(Record::bytes).sum()
    }
}

impl Ahead {
    /// True where the lane, which reads on from `next`, has read it.
    fn is_read(self, next: Offset) -> bool {
        match self {
            Self::Nothing => true,
            Self::Unknown => false,
            Self::UpTo(end) => next >= end,
        }
    }
}

#[cfg(test)]
mod tests;
