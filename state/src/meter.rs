//! Counters, and those that know how fast they grew in the last minute.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Part of the minute that is counted together.
const SPAN: Duration = Duration::from_secs(10);
const SPANS: usize = 6;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// As it stands.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter that knows its rate.
#[derive(Debug)]
pub struct Meter {
    total: Counter,
    begun: Instant,
    recent: Mutex<Recent>,
}

/// What was added in the latest spans; the place of a span is its number modulo theirs.
#[derive(Debug, Default)]
struct Recent {
    /// The span of the last change.
    number: u64,
    counts: [u64; SPANS],
}

impl Default for Meter {
    fn default() -> Self {
        Self { total: Counter::default(), begun: Instant::now(), recent: Mutex::default() }
    }
}

impl Deref for Meter {
    type Target = Counter;

    fn deref(&self) -> &Counter {
        &self.total
    }
}

impl Meter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.total.add(n);
        self.with(|recent, place| {
            if let Some(count) = recent.counts.get_mut(place) {
                *count += n;
            }
        });
    }

    /// Per second, over the last minute, or since it was made.
    pub fn rate(&self) -> f64 {
        let sum = self.with(|recent, _| recent.counts.iter().sum::<u64>());
        let since = self.begun.elapsed();
        // The span that is going on counts as far as it has come.
        let whole = SPAN * (SPANS as u32 - 1);
        let going_on = Duration::from_secs_f64(since.as_secs_f64() % SPAN.as_secs_f64());
        let over = (whole + going_on).min(since).max(Duration::from_secs(1));
        sum as f64 / over.as_secs_f64()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Recent, usize) -> T) -> T {
        let now = self.begun.elapsed().as_secs() / SPAN.as_secs();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_sub(recent.number).min(SPANS as u64);
        for number in now + 1 - passed..=now {
            if let Some(count) = recent.counts.get_mut(place(number)) {
                *count = 0;
            }
        }
        recent.number = now.max(recent.number);
        act(&mut recent, place(now))
    }
}

fn place(number: u64) -> usize {
    (number % SPANS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_that_of_the_last_minute_and_falls_to_nothing() {
        let meter = Meter::default();
        assert_eq!(meter.rate(), 0.0);
        meter.add(100);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(meter.rate(), 20.0);
        for _ in 0..60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            meter.add(7);
        }
        assert!((6.5..7.6).contains(&meter.rate()), "{}", meter.rate());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!((2.0..5.0).contains(&meter.rate()), "{}", meter.rate());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(meter.rate(), 0.0);
        assert_eq!(meter.get(), 520);
    }
}
