//! How a receiver answers: from a list, from a seed, or from a function.

use std::fmt;
use std::time::Duration;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with one record per event.
    Records,
    /// 204: acknowledged, no output.
    NoContent,
    /// That status with an empty body.
    Status(u16),
    /// 200 with a body that is not JSON.
    Garbage,
    /// The records, after a while.
    Slow(Duration),
    /// Nothing for so long, then the connection is closed.
    Hang(Duration),
    /// The connection is closed before the request was read.
    CutRequest,
    /// The connection is closed in the middle of the answer.
    CutAnswer,
}

impl Answer {
    /// Whether the caller has an answer with which it may go on.
    pub const fn acknowledges(self) -> bool {
        matches!(self, Self::Records | Self::NoContent | Self::Slow(_))
    }
}

/// What a receiver answers to its n-th call, counted from 0.
pub struct Script(Box<dyn FnMut(u64) -> Answer + Send>);

impl Script {
    /// Records, always.
    pub fn ok() -> Self {
        Self::new(|_| Answer::Records)
    }

    /// Those, one call each; then records.
    pub fn list(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers = answers.into_iter().collect::<Vec<_>>().into_iter();
        Self::new(move |_| answers.next().unwrap_or(Answer::Records))
    }

    /// Every kind of fault from a seed, so often in a hundred calls; the rest get records.
    pub fn seeded(seed: u64, faults_percent: u64) -> Self {
        Self::new(move |call| {
            let random = scramble(seed ^ scramble(call));
            if random % 100 < faults_percent { fault(random >> 32) } else { Answer::Records }
        })
    }

    /// The same, but every so many calls, from the `first` on, `answer`.
    #[must_use]
    pub fn but(mut self, first: u64, every: u64, answer: Answer) -> Self {
        let due = move |call: u64| call.checked_sub(first).is_some_and(|since| since.is_multiple_of(every));
        Self::new(move |call| if due(call) { answer } else { self.next(call) })
    }

    /// Whatever the function says.
    pub fn new(answer: impl FnMut(u64) -> Answer + Send + 'static) -> Self {
        Self(Box::new(answer))
    }

    pub(super) fn next(&mut self, call: u64) -> Answer {
        (self.0)(call)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script(…)")
    }
}

/// Short waits, so that a test with many faults is still a short test.
fn fault(random: u64) -> Answer {
    let wait = Duration::from_millis(5 + random / 8 % 60);
    match random % 8 {
        0 => Answer::Status(500),
        1 => Answer::Status(503),
        2 => Answer::Garbage,
        3 => Answer::Slow(wait),
        4 => Answer::Hang(wait),
        5 => Answer::CutRequest,
        6 => Answer::CutAnswer,
        _ => Answer::Status(408),
    }
}

/// SplitMix64's output function (Steele, Lea, Flood 2014).
fn scramble(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_the_place_of_every_so_many() {
        let hang = Answer::Hang(Duration::from_secs(1));
        let mut script = Script::ok().but(1, 3, hang);
        let drawn: Vec<_> = (0..6).map(|call| script.next(call)).collect();
        assert_eq!(drawn, [Answer::Records, hang, Answer::Records, Answer::Records, hang, Answer::Records]);
    }

    #[test]
    fn a_seed_gives_every_kind_of_fault_and_the_same_ones_again() {
        let draw = || {
            let mut script = Script::seeded(7, 40);
            (0..500).map(move |call| script.next(call)).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
        let kinds: std::collections::HashSet<_> = draw().iter().map(std::mem::discriminant).collect();
        // Records, Status, Garbage, Slow, Hang, CutRequest, CutAnswer.
        assert_eq!(kinds.len(), 7);
        let faults = draw().iter().filter(|answer| **answer != Answer::Records).count();
        assert!((150..250).contains(&faults), "{faults}");
    }
}
