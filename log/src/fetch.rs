//! Reading a partition.

use std::time::Duration;

use fpaas_core::{Offset, limits};

use crate::Stored;

/// How much one fetch may return and how long it may wait. At least one record is returned if there is one, however
/// large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchBounds {
    /// The most records.
    pub records: usize,
    /// The most bytes ([`crate::Record::bytes`]).
    pub bytes: usize,
    /// How long to wait where there is nothing yet.
    pub wait: Duration,
    /// For somebody outside, who may be slow, or many: none of our own work waits for them.
    pub guest: bool,
}

impl FetchBounds {
    /// What the limits allow, waiting for `wait` (capped by `limits::FETCH_WAIT_MAX`).
    pub fn waiting(wait: Duration) -> Self {
        Self {
            records: limits::FETCH_RECORDS_MAX,
            bytes: limits::FETCH_BYTES_MAX,
            wait: wait.min(limits::FETCH_WAIT_MAX),
            guest: false,
        }
    }

    /// The same without waiting.
    pub fn now() -> Self {
        Self::waiting(Duration::ZERO)
    }

    /// The same for somebody outside.
    #[must_use]
    pub const fn of_guest(self) -> Self {
        Self { guest: true, ..self }
    }
}

/// What a fetch found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Committed records in order of their offsets.
    pub records: Vec<Stored>,
    /// Where to go on: past the last record and past every gap behind it that is known to hold nothing.
    pub next: Offset,
    /// The last stable offset at the time of the fetch: `next == end` means nothing readable is left.
    pub end: Offset,
    /// Where reading began, when `from` was below the low watermark: the records in between were removed before they
    /// were read.
    pub lost_until: Option<Offset>,
}

/// Keeps retention away from what a reader has not passed. Dropping it lets go.
#[derive(Debug, Default)]
pub struct Hold(Option<Box<dyn HoldGuard>>);

/// What a backend gives to make a hold; dropped with it.
pub trait HoldGuard: Send + Sync + std::fmt::Debug {
    /// Records below `from` may go.
    fn advance(&self, from: Offset);
}

impl Hold {
    /// Around what the backend keeps.
    pub fn new(guard: impl HoldGuard + 'static) -> Self {
        Self(Some(Box::new(guard)))
    }

    /// Where the backend's retention is not ours.
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// The reader has passed everything below `from`.
    pub fn advance(&self, from: Offset) {
        if let Some(guard) = &self.0 {
            guard.advance(from);
        }
    }
}
