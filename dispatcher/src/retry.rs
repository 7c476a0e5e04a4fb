//! When a failed batch is sent again, and when it is given up on. Pure: time and jitter are arguments (design §7,
//! Retry).

use std::time::Duration;

use fpaas_core::limits;
use fpaas_core::subscription::{OnExhausted, Retry};

use crate::response::{Failure, Reason};

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt after this long.
    Again(Duration),
    /// None: the subscription's `onExhausted` says what becomes of the batch.
    GiveUp,
}

/// After attempt `attempt` (from 1) of a batch that was frozen `elapsed` ago failed. `jitter` is uniform in 0..1.
///
/// The first attempt is always made, and a wait that has begun ends with one: `maxElapsedMs` is looked at when an
/// attempt fails. `onExhausted: block` gives up on nothing.
pub(crate) fn next(policy: &Retry, failure: &Failure, attempt: u32, elapsed: Duration, jitter: f64) -> Next {
    let exhausted = !failure.retryable || elapsed >= policy.max_elapsed();
    if exhausted && policy.on_exhausted != OnExhausted::Block {
        return Next::GiveUp;
    }
    Next::Again(delay(policy, failure, attempt, jitter))
}

/// `Retry-After` where the endpoint gave one, else the backoff; at least a minute after 429 or a timeout, or
/// `maxBackoffMs` where a subscription sets that lower.
fn delay(policy: &Retry, failure: &Failure, attempt: u32, jitter: f64) -> Duration {
    if let Some(told) = failure.retry_after {
        // Not below the first backoff: `Retry-After: 0` would make a busy loop.
        return told.min(limits::RETRY_AFTER_MAX).max(policy.initial_backoff());
    }
    let overloaded = failure.reason == Reason::Timeout || failure.status == Some(429);
    let least = if overloaded { limits::OVERLOAD_WAIT_MIN.min(policy.max_backoff()) } else { Duration::ZERO };
    backoff(policy, attempt, jitter).max(least)
}

/// Doubles from `initialBackoffMs` to `maxBackoffMs`, ±20 %.
fn backoff(policy: &Retry, attempt: u32, jitter: f64) -> Duration {
    let doubled = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let base = policy.initial_backoff().saturating_mul(doubled).min(policy.max_backoff());
    base.mul_f64(jitter.clamp(0.0, 1.0).mul_add(0.4, 0.8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpaas_core::Message;
    use proptest::prelude::*;

    fn failed(reason: Reason, status: Option<u16>, retryable: bool, retry_after: Option<u64>) -> Failure {
        let retry_after = retry_after.map(Duration::from_secs);
        Failure { reason, status, retryable, retry_after, message: Message::default() }
    }

    #[test]
    fn waits_follow_the_table_of_design_7() {
        let policy = Retry::default();
        let unavailable = |attempt| (failed(Reason::Status, Some(503), true, None), attempt);
        let cases = [
            (unavailable(1), 1_000),
            (unavailable(2), 2_000),
            (unavailable(6), 32_000),
            (unavailable(7), 60_000),
            (unavailable(32), 60_000),
            (unavailable(33), 60_000),
            (unavailable(u32::MAX), 60_000),
            ((failed(Reason::Status, Some(429), true, None), 1), 60_000),
            ((failed(Reason::Timeout, None, true, None), 1), 60_000),
            ((failed(Reason::Status, Some(429), true, Some(5)), 1), 5_000),
            ((failed(Reason::Status, Some(503), true, Some(120)), 1), 120_000),
            ((failed(Reason::Status, Some(503), true, Some(86_400)), 1), 3_600_000),
            ((failed(Reason::Status, Some(503), true, Some(0)), 1), 1_000),
        ];
        for ((failure, attempt), millis) in cases {
            let found = next(&policy, &failure, attempt, Duration::ZERO, 0.5);
            assert_eq!(found, Next::Again(Duration::from_millis(millis)), "{failure:?} {attempt}");
        }
    }

    #[test]
    fn a_low_max_backoff_holds_after_an_overload_too() {
        let policy = Retry { initial_backoff_ms: 10, max_backoff_ms: 50, ..Retry::default() };
        let failure = failed(Reason::Timeout, None, true, None);
        assert_eq!(next(&policy, &failure, 1, Duration::ZERO, 0.5), Next::Again(Duration::from_millis(50)));
    }

    #[test]
    fn a_batch_is_given_up_on_when_time_is_up_or_trying_is_useless_unless_it_blocks() {
        let unavailable = failed(Reason::Status, Some(503), true, None);
        let wrong = failed(Reason::Status, Some(400), false, None);
        let policy = |on_exhausted| Retry { max_elapsed_ms: 1000, on_exhausted, ..Retry::default() };
        let second = Duration::from_secs(1);
        for on_exhausted in [OnExhausted::DeadLetter, OnExhausted::Drop] {
            let policy = policy(on_exhausted);
            assert_eq!(next(&policy, &unavailable, 3, second, 0.5), Next::GiveUp);
            assert_eq!(next(&policy, &wrong, 1, Duration::ZERO, 0.5), Next::GiveUp);
            assert!(matches!(next(&policy, &unavailable, 3, second / 2, 0.5), Next::Again(_)));
        }
        assert!(matches!(next(&policy(OnExhausted::Block), &unavailable, 3, second, 0.5), Next::Again(_)));
        assert!(matches!(next(&policy(OnExhausted::Block), &wrong, 3, second, 0.5), Next::Again(_)));
    }

    proptest! {
        #[test]
        fn every_wait_is_bounded_and_within_its_jitter(
            attempt in 1u32..200, jitter in 0.0f64..1.0, initial in 10u64..1000, more in 0u64..100_000,
        ) {
            let policy = Retry { initial_backoff_ms: initial, max_backoff_ms: initial + more, ..Retry::default() };
            let wait = backoff(&policy, attempt, jitter);
            prop_assert!(wait >= policy.initial_backoff().mul_f64(0.799));
            prop_assert!(wait <= policy.max_backoff().mul_f64(1.201));
        }
    }
}
