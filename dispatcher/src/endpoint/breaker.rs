//! An endpoint that does nothing but fail is let rest. Pure: time is an argument (design §7).
//!
//! Closed, it counts; at ten calls of which seven in ten failed within five minutes it opens for half a minute; then
//! one call is let through, and decides.

use std::collections::VecDeque;

use fpaas_core::limits;
use tokio::time::Instant;

/// Counts are kept in so many parts of the window, so that old ones go by and by.
const PARTS: usize = 10;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: State,
    /// Of the window, the current one last.
    parts: VecDeque<Part>,
    /// When the current one began.
    began: Option<Instant>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open(Instant),
    /// A call is on its way that decides.
    Probing,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    calls: u32,
    failures: u32,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Yes,
    /// As the one that decides.
    Probe,
    /// Not before.
    At(Instant),
    /// Not before the one that decides is over.
    AfterProbe,
}

/// What became of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened,
    /// It stays open for as long again.
    StaysOpen,
    Closed,
}

impl Breaker {
    /// Whether a call may be made now.
    pub(crate) fn admit(&self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Yes,
            State::Open(until) if now >= until => Admission::Probe,
            State::Open(until) => Admission::At(until),
            State::Probing => Admission::AfterProbe,
        }
    }

    /// The one that decides is on its way.
    pub(crate) fn begin_probe(&mut self) {
        self.state = State::Probing;
    }

    /// It is not made after all: the next one decides.
    pub(crate) fn drop_probe(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.state = State::Open(now);
        }
    }

    /// True unless every call may be made.
    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// A call ended.
    pub(crate) fn note(&mut self, now: Instant, good: bool, probe: bool) -> Option<Change> {
        match (probe, good) {
            (true, true) => {
                *self = Self::default();
                return Some(Change::Closed);
            }
            (true, false) => {
                self.state = State::Open(now + limits::BREAKER_OPEN);
                return Some(Change::StaysOpen);
            }
            (false, _) => {}
        }
        self.move_to(now);
        if let Some(part) = self.parts.back_mut() {
            part.calls += 1;
            part.failures += u32::from(!good);
        }
        let (calls, failures) = self.parts.iter().fold((0, 0), |sum, part| (sum.0 + part.calls, sum.1 + part.failures));
        let bad = calls >= limits::BREAKER_CALLS_MIN && failures * 100 >= calls * limits::BREAKER_FAILURES_PERCENT;
        if self.state != State::Closed || good || !bad {
            return None;
        }
        *self = Self { state: State::Open(now + limits::BREAKER_OPEN), ..Self::default() };
        Some(Change::Opened)
    }

    /// What is older than the window is forgotten.
    fn move_to(&mut self, now: Instant) {
        let length = limits::BREAKER_WINDOW / u32::try_from(PARTS).unwrap_or(1);
        let mut began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) >= limits::BREAKER_WINDOW {
            self.parts.clear();
            began = now;
        }
        while now.saturating_duration_since(began) >= length {
            began += length;
            self.parts.push_back(Part::default());
        }
        if self.parts.is_empty() {
            self.parts.push_back(Part::default());
        }
        while self.parts.len() > PARTS {
            self.parts.pop_front();
        }
        self.began = Some(began);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn ten_calls_of_which_seven_in_ten_failed_open_it_and_a_probe_decides() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for call in 0..9 {
            assert_eq!(breaker.note(start, call >= 7, false), None, "nine calls are too few");
            assert_eq!(breaker.admit(start), Admission::Yes);
        }
        // Seven of ten, and the last one was good: it opens with a failure.
        assert_eq!(breaker.note(start, true, false), None);
        assert_eq!(breaker.note(start, false, false), Some(Change::Opened));
        let until = start + limits::BREAKER_OPEN;
        assert_eq!(breaker.admit(start), Admission::At(until));
        // What was on its way changes nothing.
        assert_eq!(breaker.note(start, true, false), None);
        assert_eq!(breaker.admit(until), Admission::Probe);
        breaker.begin_probe();
        assert_eq!(breaker.admit(until), Admission::AfterProbe);
        breaker.drop_probe(until);
        assert_eq!(breaker.admit(until), Admission::Probe);
        breaker.begin_probe();
        assert_eq!(breaker.note(until, false, true), Some(Change::StaysOpen));
        assert_eq!(breaker.admit(until), Admission::At(until + limits::BREAKER_OPEN));
        breaker.begin_probe();
        assert_eq!(breaker.note(until, true, true), Some(Change::Closed));
        assert_eq!(breaker.admit(until), Admission::Yes);
        assert_eq!(breaker.note(until, false, false), None, "what was counted before is forgotten");
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for second in 0..9 {
            assert_eq!(breaker.note(after(start, second), false, false), None);
        }
        assert_eq!(breaker.note(start + limits::BREAKER_WINDOW, false, false), None);
        for second in 0..6 {
            assert_eq!(breaker.note(start + limits::BREAKER_WINDOW + Duration::from_secs(second), true, false), None);
        }
        // Five of eleven within the window.
        for _ in 0..3 {
            assert_eq!(breaker.note(start + limits::BREAKER_WINDOW * 2, false, false), None);
        }
    }

    #[test]
    fn many_good_calls_outweigh_failures() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for call in 0..333 {
            assert_eq!(breaker.note(start, call < 100, false), None);
        }
        assert_eq!(breaker.note(start, false, false), Some(Change::Opened), "234 of 334");
    }
}
