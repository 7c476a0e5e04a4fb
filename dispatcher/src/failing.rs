//! Since when a lane's calls do nothing but fail: after days of that its endpoint is called no more. Pure.
//!
//! The first failure after a success is written down, and the success that ends it: a new owner goes on counting.

use fpaas_core::{Message, Timestamp, limits, rfc3339};
use fpaas_state::rows::FailingRow;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    since: Option<Timestamp>,
    /// How many calls have failed since, as far as is known here.
    failures: u32,
    /// It has changed since it was last written.
    unwritten: bool,
}

impl Failing {
    /// As it was written.
    pub(crate) fn of(row: Option<FailingRow>) -> Self {
        Self { since: row.map(|row| row.since), failures: 0, unwritten: false }
    }

    /// Calls are made otherwise from here on: what failed before counts no more.
    pub(crate) fn begin_anew(&mut self) {
        self.unwritten |= self.since.take().is_some();
        self.failures = 0;
    }

    /// A call ended, of a subscription that has been active since `active`. Why the endpoint is to be disabled, where
    /// it has failed for too long.
    pub(crate) fn note(&mut self, good: bool, active: Timestamp, now: Timestamp) -> Option<Message> {
        if self.since.is_some_and(|since| since < active) {
            self.begin_anew();
        }
        if good {
            self.unwritten |= self.since.take().is_some();
            self.failures = 0;
            return None;
        }
        self.unwritten |= self.since.is_none();
        let since = *self.since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        let long = now.since(since) >= limits::DISABLE_AFTER && self.failures >= limits::BREAKER_CALLS_MIN;
        long.then(|| {
            Message::new(format_args!("its endpoint has done nothing but fail since {}", rfc3339::format(since)))
        })
    }

    /// What is to be written, where that is something: a row, or that there is none.
    pub(crate) fn take_news(&mut self) -> Option<Option<FailingRow>> {
        let row = self.since.map(|since| FailingRow { since });
        std::mem::take(&mut self.unwritten).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_of_nothing_but_failures_are_too_long_and_one_success_ends_them() {
        let (mut failing, start) = (Failing::default(), Timestamp::from_millis(1_700_000_000_000));
        let after = |hours: u64| start.plus(Duration::from_secs(hours * 3600));
        for hour in 0..120 {
            assert_eq!(failing.note(false, start, after(hour)), None);
        }
        assert_eq!(failing.take_news(), Some(Some(FailingRow { since: start })));
        assert_eq!(failing.take_news(), None);
        let why = failing.note(false, start, after(120)).unwrap();
        assert_eq!(&*why, "its endpoint has done nothing but fail since 2023-11-14T22:13:20.000Z");
        // A new owner knows since when, and makes sure for itself.
        let mut new = Failing::of(Some(FailingRow { since: start }));
        assert!((1..limits::BREAKER_CALLS_MIN).all(|_| new.note(false, start, after(130)).is_none()));
        assert!(new.note(false, start, after(130)).is_some());
        assert_eq!(new.note(true, start, after(130)), None);
        assert_eq!(new.take_news(), Some(None));
        assert!((0..100).all(|_| new.note(false, start, after(131)).is_none()));
    }

    #[test]
    fn what_failed_before_a_pause_or_at_another_url_counts_no_more() {
        let start = Timestamp::from_millis(1_700_000_000_000);
        let after = |hours: u64| start.plus(Duration::from_secs(hours * 3600));
        let mut failing = Failing::of(Some(FailingRow { since: start }));
        assert!((0..100).all(|_| failing.note(false, after(121), after(121)).is_none()), "it was resumed");
        assert_eq!(failing.take_news(), Some(Some(FailingRow { since: after(121) })));
        assert!(failing.note(false, after(121), after(242)).is_some());
        failing.begin_anew();
        assert!((0..100).all(|_| failing.note(false, after(121), after(243)).is_none()), "its URL is another");
    }
}
