//! `time_us`: our receipt time, strictly increasing, one for each event, also across restarts.
//!
//! Does not read a clock: the time is an argument, and a clock that stands still or goes back only makes the next
//! stamps follow each other by one microsecond.

/// The last stamp given; the next one is above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    last_us: i64,
}

impl Stamps {
    /// Goes on above `last_us`, as the cursor remembers it.
    pub const fn after(last_us: i64) -> Self {
        Self { last_us }
    }

    /// The last one given.
    pub const fn last_us(&self) -> i64 {
        self.last_us
    }

    /// The next one: `now_us`, or one above the last.
    pub fn next(&mut self, now_us: i64) -> i64 {
        self.last_us = now_us.max(self.last_us.saturating_add(1));
        self.last_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_while_the_clock_stands_or_goes_back() {
        let mut stamps = Stamps::after(100);
        let given: Vec<_> = [50, 100, 200, 200, 150].map(|now| stamps.next(now)).to_vec();
        assert_eq!(given, [101, 102, 200, 201, 202]);
    }
}
