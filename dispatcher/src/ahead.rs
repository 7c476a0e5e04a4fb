//! How many batches a lane freezes beyond those that are called, so that calls go on while a transaction is under way.
//! Pure.
//!
//! On a slow log a transaction takes as long as many calls: batches that are frozen only when a call may be made would
//! wait for the log each time. The number doubles when all of them were called before the transaction was over, and
//! falls by one when half of them were left: a slow endpoint has none.

use fpaas_core::limits;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    batches: usize,
    /// More could have been frozen when the transaction was made.
    pub(crate) capped: bool,
}

impl Ahead {
    /// So many.
    pub(crate) const fn batches(&self) -> usize {
        self.batches
    }

    /// A transaction is over. `ready` batches are there to be called still; `starved` where some were done before it
    /// and more calls could have been made meanwhile.
    pub(crate) fn note(&mut self, ready: usize, starved: bool) {
        let capped = std::mem::take(&mut self.capped);
        if ready == 0 && starved && capped {
            self.batches = (self.batches * 2).clamp(1, limits::LANE_CALLS_MAX);
        } else if ready * 2 > self.batches {
            self.batches = self.batches.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it comes to where `called` batches are called in one transaction, and what is left at its end.
    fn check(called: usize, more: bool) -> (usize, usize) {
        let (mut ahead, mut left) = (Ahead::default(), 0);
        for _ in 0..100 {
            let frozen = ahead.batches() + 1;
            ahead.capped = more;
            left = frozen.saturating_sub(called);
            ahead.note(left, frozen <= called);
        }
        (ahead.batches(), left)
    }

    #[test]
    fn there_are_as_many_as_a_transaction_takes_time_for() {
        assert!(check(1, true).0 <= 1, "a log that is as fast as its endpoint");
        let (batches, left) = check(12, true);
        assert!((12..=20).contains(&batches) && left <= 8, "{batches} {left}");
        assert_eq!(check(1000, true).0, limits::LANE_CALLS_MAX);
    }

    #[test]
    fn who_calls_nothing_or_has_no_more_freezes_nothing_ahead() {
        assert_eq!(check(1000, false), (0, 0));
        let mut ahead = Ahead { batches: 64, capped: true };
        (0..64).for_each(|_| ahead.note(64, false));
        assert_eq!(ahead.batches(), 0);
    }
}
