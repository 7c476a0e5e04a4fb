//! The named rules of the system (docs/invariants.md) and what happens when one is found broken.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The rules by name. Code and tests cite these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvariantId {
    /// An input offset advances only in the transaction that carries everything it caused.
    OffsetsWithEffects,
    /// RocksDB never holds what the log does not; a store may be deleted at any time.
    LogBeforeStore,
    /// A slot has one live owner; a revoked one commits nothing more.
    OneOwner,
    /// For one key and one subscription, deliveries leave in the order the events arrived.
    KeyOrder,
    /// A batch's content, bytes and id never change once it was frozen; no attempt before the freeze is committed.
    FrozenBatch,
    /// A batch, a request, a breaker, a quota and a budget belong to one tenant.
    OneTenant,
    /// Bad upstream data never stops us; it is dropped under a named reason.
    DropAndCount,
    /// Our own broken data stops the process; it is never skipped.
    CrashOnCorruption,
    /// Every queue, batch, body, retry and wait has a limit, in one file.
    Bounded,
    /// Decisions take time and randomness as arguments and do no I/O.
    PureDecisions,
}

impl fmt::Display for InvariantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::OffsetsWithEffects => "offsets-with-effects",
            Self::LogBeforeStore => "log-before-store",
            Self::OneOwner => "one-owner",
            Self::KeyOrder => "key-order",
            Self::FrozenBatch => "frozen-batch",
            Self::OneTenant => "one-tenant",
            Self::DropAndCount => "drop-and-count",
            Self::CrashOnCorruption => "crash-on-corruption",
            Self::Bounded => "bounded",
            Self::PureDecisions => "pure-decisions",
        };
        f.write_str(name)
    }
}

/// What to do with a broken invariant, which is counted anyhow; the program installs one that logs.
pub type Report = fn(InvariantId, &str);

static REPORT: OnceLock<Report> = OnceLock::new();
static BROKEN: AtomicU64 = AtomicU64::new(0);

/// Installs the report; the first one stays.
pub fn on_broken(report: Report) {
    REPORT.get_or_init(|| report);
}

/// Asks whether an invariant holds; `what` says what does not.
#[inline]
pub fn check(id: InvariantId, holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        broken(id, &what());
    }
}

/// How often one was found broken since the process started.
pub fn count() -> u64 {
    BROKEN.load(Ordering::Relaxed)
}

/// Says that an invariant does not hold. Without an installed report, as in tests, it panics.
pub fn broken(id: InvariantId, what: &str) {
    BROKEN.fetch_add(1, Ordering::Relaxed);
    match REPORT.get() {
        Some(report) => report(id, what),
        #[expect(clippy::panic, reason = "a test must fail where an invariant breaks")]
        None => panic!("invariant {id} broken: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "invariant one-owner broken: slot 3")]
    fn a_check_that_fails_stops_a_test() {
        check(InvariantId::KeyOrder, true, || unreachable!());
        check(InvariantId::OneOwner, false, || "slot 3".to_owned());
    }
}
