//! Reading a lane's deliveries, and how old its position is.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::{Offset, TopicPartition, limits};
use fpaas_log::{FetchBounds, Log};
use fpaas_state::Counters;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::body::Delivery;
use crate::error::Step;
use crate::site::ask;

/// The deliveries of one lane. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Deliveries {
    log: Arc<dyn Log>,
    at: TopicPartition,
    stop: CancellationToken,
    counters: Arc<Counters>,
}

/// What a fetch found.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) events: Vec<Delivery>,
    /// Where to go on.
    pub(crate) next: Offset,
    /// The partition's end.
    pub(crate) end: Offset,
}

impl Deliveries {
    /// Those of the lane `at`.
    pub(crate) fn new(log: Arc<dyn Log>, at: TopicPartition, stop: CancellationToken, counters: Arc<Counters>) -> Self {
        Self { log, at, stop, counters }
    }

    /// What is there from `next` on; waits for it so long.
    pub(crate) async fn fetch(self, next: Offset, wait: Duration) -> Step<Read> {
        let (log, at) = (&self.log, &self.at);
        let fetched = ask(&self.stop, || log.fetch(at, next, FetchBounds::waiting(wait))).await?;
        if let Some(until) = fetched.lost_until {
            self.counters.lost.add(until.0.saturating_sub(next.0));
            error!(lane = %self.at, from = %next, %until, "deliveries were removed before they were read");
        }
        let events = fetched.records.into_iter().map(|stored| Delivery::new(at, stored)).collect();
        Ok(Read { events, next: fetched.next, end: fetched.end })
    }
}

/// The lane's position as it was committed; none before it is known.
#[derive(Debug, Default)]
pub(crate) struct Age(Option<Committed>);

/// A position, and when it is to be committed again so that it is not forgotten.
#[derive(Clone, Copy, Debug)]
struct Committed {
    position: Offset,
    when: Instant,
    renew: Instant,
}

impl Age {
    /// The lane's position is committed.
    pub(crate) fn committed(&mut self, position: Offset) {
        let when = Instant::now();
        self.0 = Some(Committed { position, when, renew: when + limits::POSITION_RENEW });
    }

    /// The lane's position was found: nobody knows how old it is, so it is committed again soon. `jitter` is uniform in
    /// 0..1: not all lanes of a start do so at once.
    pub(crate) fn found_at(&mut self, position: Offset, jitter: f64) {
        let when = Instant::now();
        self.0 = Some(Committed { position, when, renew: when + limits::POSITION_RENEW_FOUND.mul_f64(jitter) });
    }

    /// The position is lost, or not known.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// The lane's position, where it is so old that it is to be committed again.
    pub(crate) fn renewable(&self) -> Option<Offset> {
        self.0.filter(|of| Instant::now() >= of.renew).map(|of| of.position)
    }

    /// When that is; never for a position that is lost or not known.
    pub(crate) fn renew_at(&self) -> Option<Instant> {
        self.0.map(|of| of.renew)
    }

    /// When a lane whose position would be `position` commits it though it has nothing else to write: past control
    /// records soon, and so that it is not forgotten.
    pub(crate) fn due(&self, position: Offset) -> Option<Instant> {
        let of = self.0?;
        Some(if of.position == position { of.renew } else { of.renew.min(of.when + limits::IDLE_LANE_COMMIT) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_position_is_renewed_once_it_is_known_and_old() {
        let mut age = Age::default();
        tokio::time::advance(limits::POSITION_RENEW * 2).await;
        assert_eq!((age.renewable(), age.renew_at()), (None, None), "it may be lost");
        age.committed(Offset(7));
        let now = Instant::now();
        assert_eq!((age.renewable(), age.renew_at()), (None, Some(now + limits::POSITION_RENEW)));
        assert_eq!(age.due(Offset(7)), age.renew_at());
        assert_eq!(age.due(Offset(8)), Some(now + limits::IDLE_LANE_COMMIT), "it has moved");
        tokio::time::advance(limits::POSITION_RENEW).await;
        assert_eq!(age.renewable(), Some(Offset(7)));
        age.found_at(Offset(7), 0.5);
        assert_eq!(age.renew_at(), Some(Instant::now() + limits::POSITION_RENEW_FOUND / 2));
        age.forget();
        assert_eq!(age.due(Offset(9)), None);
    }
}
