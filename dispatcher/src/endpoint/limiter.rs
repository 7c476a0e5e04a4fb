//! How many calls at a time an endpoint takes, beyond one a lane: learned from how long its answers take. Pure: time is
//! an argument.
//!
//! It begins with none. While answers come as fast as the fastest ones did and the calls that are allowed are made,
//! each good one adds one (so that they double with every round); after the first sign of too much, a whole round
//! adds one. Signs are an average latency well above the least, `429`, `503` and timeouts: each takes a tenth away,
//! once a round (additive increase, multiplicative decrease; the latency rule is that of TCP Vegas, Brakmo and
//! Peterson 1994).

use std::time::Duration;

use fpaas_core::limits;
use tokio::time::Instant;

use super::Health;

/// How much a latency counts in the average.
const SHARE: f64 = 0.2;
/// The average may be so many times the least, and so much more, before it counts as a sign.
const RISE: f64 = 2.0;
const RISE_LEAST: Duration = Duration::from_millis(5);
/// The least latency is found anew after so long: an endpoint may have become slower for good.
const FORGET: Duration = Duration::from_secs(60);
/// What a sign leaves.
const BACK_OFF: f64 = 0.9;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    extra: f64,
    average: Option<Duration>,
    least: Option<(Instant, Duration)>,
    /// There was a sign: from here on it grows slowly.
    careful: bool,
    /// When the last sign was heeded.
    heeded: Option<Instant>,
}

impl Limiter {
    /// So many calls beyond one a lane.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a small limit")]
    pub(crate) fn extra(&self) -> usize {
        self.extra as usize
    }

    /// A call took so long; `calls` were under way, this one included.
    pub(crate) fn note(&mut self, now: Instant, took: Duration, health: Health, calls: usize) {
        match health {
            Health::Good => self.note_good(now, took, calls),
            Health::Overloaded => self.back_off(now, took),
            Health::Failed => {}
        }
    }

    fn note_good(&mut self, now: Instant, took: Duration, calls: usize) {
        let average = self.average.map_or(took, |average| average.mul_f64(1.0 - SHARE) + took.mul_f64(SHARE));
        self.average = Some(average);
        let least = match self.least {
            Some((since, least)) if took >= least && now.saturating_duration_since(since) < FORGET => least,
            _ => {
                self.least = Some((now, took));
                took
            }
        };
        if average > least.mul_f64(RISE) + RISE_LEAST {
            self.back_off(now, average);
        } else if calls * 2 > self.extra() {
            // Half of what is allowed is made use of: otherwise nothing is learned.
            let step = if self.careful { 1.0 / (self.extra + 1.0) } else { 1.0 };
            self.extra = (self.extra + step).min(LIMIT);
        }
    }

    fn back_off(&mut self, now: Instant, round: Duration) {
        if self.heeded.is_some_and(|heeded| now.saturating_duration_since(heeded) < round) {
            return;
        }
        self.heeded = Some(now);
        self.careful = true;
        self.extra = ((self.extra + 1.0) * BACK_OFF - 1.0).max(0.0);
    }
}

/// One a lane is beside it.
#[expect(clippy::cast_precision_loss, reason = "a small limit")]
const LIMIT: f64 = (limits::LANE_CALLS_MAX - 1) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    /// An endpoint that takes `workers` calls at a time, each for `latency`: where the limit ends up after a while, as
    /// the least and the most over the last rounds.
    fn check(workers: usize, latency: Duration, rounds: usize) -> (usize, usize) {
        let (mut limiter, mut now, mut seen) = (Limiter::default(), Instant::now(), Vec::new());
        for round in 0..rounds {
            let calls = limiter.extra() + 1;
            let waits = u32::try_from(calls.div_ceil(workers)).unwrap();
            now += latency * waits;
            (0..calls).for_each(|call| {
                let turn = u32::try_from(call / workers + 1).unwrap();
                limiter.note(now, latency * turn, Health::Good, calls);
            });
            if round >= rounds / 2 {
                seen.push(calls);
            }
        }
        (*seen.iter().min().unwrap(), *seen.iter().max().unwrap())
    }

    #[test]
    fn it_finds_about_what_an_endpoint_takes() {
        let latency = Duration::from_millis(20);
        assert_eq!(check(1000, latency, 40), (limits::LANE_CALLS_MAX, limits::LANE_CALLS_MAX), "no sign, all of it");
        for workers in [4, 10, 25] {
            let (least, most) = check(workers, latency, 400);
            assert!(least >= workers / 2 && most <= workers * 5, "{workers}: {least} to {most}");
        }
    }

    #[test]
    fn calls_double_with_every_round_until_the_first_sign() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let mut rounds = Vec::new();
        for _ in 0..6 {
            let calls = limiter.extra() + 1;
            rounds.push(calls);
            (0..calls).for_each(|_| limiter.note(now, Duration::from_millis(20), Health::Good, calls));
        }
        assert_eq!(rounds, [1, 2, 4, 8, 16, 32]);
        limiter.note(now, Duration::from_millis(1), Health::Overloaded, 64);
        assert_eq!(limiter.extra(), 56);
        limiter.note(now, Duration::from_millis(1), Health::Overloaded, 64);
        assert_eq!(limiter.extra(), 56, "one sign a round");
        (0..57).for_each(|_| limiter.note(now, Duration::from_millis(20), Health::Good, 57));
        assert_eq!(limiter.extra(), 57);
    }

    #[test]
    fn who_makes_no_use_of_what_is_allowed_is_allowed_no_more() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        (0..100).for_each(|_| limiter.note(now, Duration::from_millis(20), Health::Good, 1));
        assert_eq!(limiter.extra(), 2);
    }

    #[test]
    fn overload_takes_all_of_it_away_in_time_and_failures_nothing() {
        let (mut limiter, mut now) = (Limiter::default(), Instant::now());
        (0..40).for_each(|_| limiter.note(now, Duration::from_millis(20), Health::Good, 40));
        assert_eq!(limiter.extra(), 40);
        limiter.note(now, Duration::from_millis(20), Health::Failed, 40);
        assert_eq!(limiter.extra(), 40);
        for _ in 0..60 {
            now += Duration::from_secs(1);
            limiter.note(now, Duration::from_millis(20), Health::Overloaded, 40);
        }
        assert_eq!(limiter.extra(), 0);
    }
}
