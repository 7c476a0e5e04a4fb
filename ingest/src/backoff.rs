//! How long to wait before dialling again. Pure: randomness is an argument.

use std::time::Duration;

use fpaas_core::limits;

/// Doubles from `limits::RECONNECT_WAIT_MIN` to `limits::RECONNECT_WAIT_MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked: the next wait is the shortest again.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait: half of it fixed, half of it by `random`, so that those cut off together do not return together.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let doubled = limits::RECONNECT_WAIT_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let half = doubled.min(limits::RECONNECT_WAIT_MAX) / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_their_limit_and_jitter_covers_the_upper_half() {
        let waits = |random| {
            let mut backoff = Backoff::default();
            [(); 20].map(|()| backoff.next(random))
        };
        let (low, high) = (waits(0), waits(u32::MAX));
        assert_eq!(high[0], limits::RECONNECT_WAIT_MIN);
        assert_eq!(high[1], limits::RECONNECT_WAIT_MIN * 2);
        assert_eq!(high[19], limits::RECONNECT_WAIT_MAX);
        assert!(low.iter().zip(&high).all(|(low, high)| *low * 2 == *high));
    }

    #[test]
    fn a_success_starts_from_the_shortest_wait_again() {
        let mut backoff = Backoff::default();
        backoff.next(0);
        backoff.next(0);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), limits::RECONNECT_WAIT_MIN);
    }
}
