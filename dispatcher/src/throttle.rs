//! `throttle.eventsPerSecond`: when the next batch may be called. Pure: time is an argument.
//!
//! Each lane has an even share of a subscription's rate. A batch is never split: it runs up a debt, and the next one
//! waits until that is paid. What was not used is kept for a second.

use std::time::Duration;

use tokio::time::Instant;

/// What is kept of time in which nothing was called.
const KEPT: Duration = Duration::from_secs(1);

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Everything that was called so far is paid for by then.
    paid: Option<Instant>,
}

impl Throttle {
    /// When the next call may be made, where that is later than now.
    pub(crate) fn wait(&self, now: Instant) -> Option<Instant> {
        self.paid.filter(|paid| *paid > now)
    }

    /// So many events are called with, at `rate` a second in `lanes` lanes; without a rate nothing is owed.
    pub(crate) fn note(&mut self, now: Instant, events: usize, rate: Option<u32>, lanes: u32) {
        let Some(rate) = rate else {
            self.paid = None;
            return;
        };
        let share = f64::from(rate.max(1)) / f64::from(lanes.max(1));
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let cost = Duration::try_from_secs_f64(f64::from(events) / share).unwrap_or(Duration::MAX);
        // A new one may begin with a second's worth.
        let from = self.paid.unwrap_or(now).max(now.checked_sub(KEPT).unwrap_or(now));
        self.paid = from.checked_add(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When batches of these sizes are called, in milliseconds, each as soon as it may be.
    fn check(rate: u32, lanes: u32, sizes: &[usize]) -> Vec<u128> {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let (mut now, mut called) = (start, Vec::new());
        for size in sizes {
            now = throttle.wait(now).unwrap_or(now);
            called.push(now.duration_since(start).as_millis());
            throttle.note(now, *size, Some(rate), lanes);
        }
        called
    }

    #[test]
    fn calls_follow_the_rate_whatever_the_size_of_batches() {
        assert_eq!(check(100, 1, &[50, 50, 50]), [0, 500, 1000]);
        assert_eq!(check(100, 2, &[50, 50, 50]), [0, 1000, 2000]);
        assert_eq!(check(10, 1, &[100, 1, 1]), [0, 10_000, 10_100]);
        assert_eq!(check(1_000_000, 1, &[1000; 3]), [0, 1, 2]);
    }

    #[test]
    fn a_second_of_silence_is_kept_and_no_more() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        throttle.note(start, 10, Some(10), 1);
        let later = start + Duration::from_secs(60);
        assert_eq!(throttle.wait(later), None);
        throttle.note(later, 10, Some(10), 1);
        assert_eq!(throttle.wait(later), None, "ten are free after a second");
        throttle.note(later, 10, Some(10), 1);
        assert_eq!(throttle.wait(later), Some(later + Duration::from_secs(1)));
        throttle.note(later, 10, None, 1);
        assert_eq!(throttle.wait(later), None);
    }
}
