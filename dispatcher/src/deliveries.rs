//! Reading a lane's deliveries: into new batches, and a frozen batch once more.
//!
//! Holds at most one fetch beyond the batch that is being collected; nothing is fetched twice. Invariant: bounded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::subscription::Collector;
use fpaas_core::{Offset, TopicPartition, limits};
use fpaas_log::{FetchBounds, Log};
use fpaas_state::rows::BatchRow;
use fpaas_state::{Counters, SubscriptionEntry};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::batch::Batcher;
use crate::body::Delivery;
use crate::error::{Halt, Step};
use crate::lane::ask;

/// The deliveries of one lane from a position on.
#[derive(Debug)]
pub(crate) struct Deliveries {
    log: Arc<dyn Log>,
    at: TopicPartition,
    next: Offset,
    /// Fetched and in no batch yet.
    waiting: VecDeque<Delivery>,
    /// The lane's position as it was committed; none before it is known.
    committed: Option<Committed>,
    /// The last fetch found nothing: what is behind the last record is known.
    at_tail: bool,
    stop: CancellationToken,
    counters: Arc<Counters>,
}

/// A position, and when it is to be committed again so that it is not forgotten.
#[derive(Clone, Copy, Debug)]
struct Committed {
    position: Offset,
    when: Instant,
    renew: Instant,
}

impl Deliveries {
    /// Those of the lane `at`, from its first one on until [`Deliveries::seek`].
    pub(crate) fn new(log: Arc<dyn Log>, at: TopicPartition, stop: CancellationToken, counters: Arc<Counters>) -> Self {
        Self { log, at, next: Offset::ZERO, waiting: VecDeque::new(), committed: None, at_tail: false, stop, counters }
    }

    /// Goes on at `next`.
    pub(crate) fn seek(&mut self, next: Offset) {
        self.next = next;
        self.waiting.clear();
    }

    /// Where the lane stands once everything that was taken is done: past every gap that is known to hold nothing.
    pub(crate) fn passed(&self) -> Offset {
        self.waiting.front().map_or(self.next, |event| event.offset)
    }

    /// The lane's position is committed.
    pub(crate) fn committed(&mut self, position: Offset) {
        let when = Instant::now();
        self.committed = Some(Committed { position, when, renew: when + limits::POSITION_RENEW });
    }

    /// The lane's position was found: nobody knows how old it is, so it is committed again soon. `jitter` is uniform in
    /// 0..1: not all lanes of a start do so at once.
    pub(crate) fn found_at(&mut self, position: Offset, jitter: f64) {
        let when = Instant::now();
        self.committed = Some(Committed { position, when, renew: when + limits::POSITION_RENEW_FOUND.mul_f64(jitter) });
    }

    /// The lane's position, where it is so old that it is to be committed again.
    pub(crate) fn renewable(&self) -> Option<Offset> {
        self.committed.filter(|of| Instant::now() >= of.renew).map(|of| of.position)
    }

    /// In how much time that is; never for a position that is lost or not known.
    pub(crate) fn renewable_in(&self) -> Option<Duration> {
        Some(self.committed?.renew.saturating_duration_since(Instant::now()))
    }

    /// How long the lane may have nothing to do until its position is to be committed all the same.
    fn idle(&self) -> Duration {
        match self.committed {
            Some(of) if of.position == self.next => of.renew.saturating_duration_since(Instant::now()),
            Some(of) => limits::IDLE_LANE_COMMIT.saturating_sub(of.when.elapsed()),
            None => limits::IDLE_LANE_COMMIT,
        }
    }

    /// The next batch's events; none where nothing came and the position is to be committed. A backlog fills batches up
    /// to their bounds whatever `maxWaitMs` says; at the tail the timer counts from the first event. A new collector
    /// holds at once.
    pub(crate) async fn collect(&mut self, mut entry: watch::Receiver<Arc<SubscriptionEntry>>) -> Step<Vec<Delivery>> {
        let mut batcher = Batcher::new(entry.borrow().config.collector);
        let mut backlog = None;
        loop {
            let (policy, paused) = {
                let now = entry.borrow_and_update();
                (now.config.collector, now.config.is_paused())
            };
            if paused {
                // What was collected is found again where the lane stands.
                return Err(Halt::Paused);
            }
            batcher.set_policy(policy);
            batcher.fill(&mut self.waiting, Instant::now());
            if batcher.is_full() {
                return Ok(batcher.into_events());
            }
            let wait = match batcher.wait(Instant::now()) {
                None if self.idle().is_zero() => return Ok(Vec::new()),
                // Control records may be on their way behind the last record: they are looked for once, soon.
                None if !self.at_tail => limits::IDLE_LANE_COMMIT,
                None => limits::FETCH_WAIT_MAX.min(self.idle()),
                Some(_) if backlog.is_none_or(|end| self.next < end) => Duration::ZERO,
                Some(Duration::ZERO) => return Ok(batcher.into_events()),
                Some(left) => left,
            };
            let (found, end) = tokio::select! {
                fetched = self.fetch(wait) => fetched?,
                Ok(()) = entry.changed() => continue,
            };
            if found {
                // What was there when the batch began; what comes later waits for the timer.
                backlog.get_or_insert(end);
            } else {
                backlog = batcher.wait(Instant::now()).map(|_| self.next);
            }
        }
    }

    /// The next batch's events, where a full one was fetched already.
    pub(crate) fn full(&mut self, policy: Collector) -> Option<Vec<Delivery>> {
        let mut batcher = Batcher::new(policy);
        batcher.fill(&mut self.waiting, Instant::now());
        let full = batcher.is_full();
        let events = batcher.into_events();
        if full {
            return Some(events);
        }
        events.into_iter().rev().for_each(|event| self.waiting.push_front(event));
        None
    }

    /// The events of a frozen batch, or `None` where the log does not hold exactly them any more.
    pub(crate) async fn again(&mut self, row: &BatchRow) -> Step<Option<Vec<Delivery>>> {
        let (Some((first, _)), Some((_, last))) = (row.offsets.first(), row.offsets.last()) else { return Ok(None) };
        let mut events = Vec::new();
        self.seek(*first);
        while self.next <= *last {
            let (found, end) = self.fetch(Duration::ZERO).await?;
            let batch = self.waiting.iter().take_while(|event| event.offset <= *last).count();
            events.extend(self.waiting.drain(..batch).filter(|event| contains(row, event.offset)));
            if !found && self.next >= end {
                break;
            }
        }
        Ok((events.len() == row.events as usize).then_some(events))
    }

    /// Whether anything was found, and the partition's end.
    async fn fetch(&mut self, wait: Duration) -> Step<(bool, Offset)> {
        let (log, at, next) = (&self.log, &self.at, self.next);
        let fetched = ask(&self.stop, || log.fetch(at, next, FetchBounds::waiting(wait))).await?;
        if let Some(until) = fetched.lost_until {
            self.counters.lost.add(until.0.saturating_sub(next.0));
            error!(lane = %at, from = %next, %until, "deliveries were removed before they were read");
        }
        let found = !fetched.records.is_empty();
        self.at_tail = !found;
        self.waiting.extend(fetched.records.into_iter().map(|stored| Delivery::new(at, stored)));
        self.next = fetched.next;
        Ok((found, fetched.end))
    }
}

/// The offsets of `events` as inclusive ranges in order.
pub(crate) fn ranges(events: &[Delivery]) -> Vec<(Offset, Offset)> {
    let mut ranges: Vec<(Offset, Offset)> = Vec::new();
    for event in events {
        match ranges.last_mut() {
            Some((_, last)) if last.next() == event.offset => *last = event.offset,
            _ => ranges.push((event.offset, event.offset)),
        }
    }
    ranges
}

fn contains(row: &BatchRow, offset: Offset) -> bool {
    let at = row.offsets.partition_point(|(_, last)| *last < offset);
    row.offsets.get(at).is_some_and(|(first, _)| *first <= offset)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fpaas_core::Timestamp;
    use fpaas_core::subscription::{Compression, Format};
    use proptest::prelude::*;

    use super::*;
    use crate::body::tests::delivery;

    fn row(offsets: &BTreeSet<u64>) -> BatchRow {
        let events: Vec<_> = offsets.iter().map(|offset| delivery(*offset, "id", None)).collect();
        BatchRow {
            offsets: ranges(&events),
            events: u32::try_from(events.len()).unwrap(),
            frozen_at: Timestamp::default(),
            format: Format::Json,
            compression: Compression::None,
            serialiser: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_is_renewed_once_it_is_known_and_old() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(fpaas_core::ManualClock::default());
        let log = fpaas_log::Embedded::open(folder.path(), fpaas_log::EmbeddedConfig::new(clock)).unwrap();
        let (at, stop) = (TopicPartition::new("deliveries", 0), CancellationToken::new());
        let mut deliveries = Deliveries::new(log, at, stop, Arc::new(Counters::default()));
        tokio::time::advance(limits::POSITION_RENEW * 2).await;
        assert_eq!((deliveries.renewable(), deliveries.renewable_in()), (None, None), "it may be lost");
        deliveries.committed(Offset(7));
        assert_eq!((deliveries.renewable(), deliveries.renewable_in()), (None, Some(limits::POSITION_RENEW)));
        tokio::time::advance(limits::POSITION_RENEW).await;
        assert_eq!((deliveries.renewable(), deliveries.renewable_in()), (Some(Offset(7)), Some(Duration::ZERO)));
        deliveries.found_at(Offset(7), 0.5);
        assert_eq!(deliveries.renewable_in(), Some(limits::POSITION_RENEW_FOUND / 2));
    }

    #[tokio::test]
    async fn a_full_batch_is_taken_ahead_and_what_fills_none_stays_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(fpaas_core::ManualClock::default());
        let log = fpaas_log::Embedded::open(folder.path(), fpaas_log::EmbeddedConfig::new(clock)).unwrap();
        let (at, stop) = (TopicPartition::new("deliveries", 0), CancellationToken::new());
        let mut deliveries = Deliveries::new(log, at, stop, Arc::new(Counters::default()));
        deliveries.next = Offset(9);
        deliveries.waiting.extend((3..8).map(|offset| delivery(offset, "id", None)));
        let policy = Collector { max_events: 3, ..Collector::default() };
        let offsets = |events: &[Delivery]| events.iter().map(|event| event.offset.0).collect::<Vec<_>>();
        assert_eq!(deliveries.full(policy).as_deref().map(offsets), Some(vec![3, 4, 5]));
        assert!(deliveries.full(policy).is_none());
        assert_eq!(offsets(deliveries.waiting.make_contiguous()), [6, 7]);
        assert_eq!(deliveries.passed(), Offset(6));
    }

    proptest! {
        /// Offsets have gaps, of one or of thousands, and the next batch may begin within one.
        #[test]
        fn ranges_hold_exactly_the_offsets_of_a_batch(
            first in prop_oneof![Just(0), Just(u64::MAX - 200_000), any::<u32>().prop_map(u64::from)],
            steps in proptest::collection::vec(prop_oneof![4 => Just(1u64), 2 => 2..4u64, 1 => 5..2000u64], 1..80),
        ) {
            let mut at = first;
            let offsets: BTreeSet<u64> = steps.iter().map(|step| { at += step; at }).collect();
            let row = row(&offsets);
            for offset in first..=at.saturating_add(3) {
                prop_assert_eq!(contains(&row, Offset(offset)), offsets.contains(&offset), "{} in {:?}", offset, row);
            }
            let span = |(from, to): &(Offset, Offset)| to.0 - from.0 + 1;
            prop_assert_eq!(row.offsets.iter().map(span).sum::<u64>(), u64::from(row.events));
            prop_assert!(row.offsets.windows(2).all(|pair| pair[0].1.next() < pair[1].0), "{:?}", row.offsets);
        }
    }
}
