//! Removes deliveries that the position has passed, now and then. They go by position, never by time.
//!
//! Crash-safe because it has no state: a new owner trims up to the position it finds.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::invariant::{self, InvariantId};
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{Error, Log};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::error::Step;

/// At the latest after so many offsets, so that they take little room.
const OFFSETS: u64 = 5_000;
/// Or when so much time has passed.
const PAUSE: Duration = Duration::from_secs(5);

/// Remembers how far a lane was trimmed.
#[derive(Debug)]
pub(crate) struct Trimmer {
    log: Arc<dyn Log>,
    at: TopicPartition,
    done: Offset,
    last: Option<Instant>,
}

impl Trimmer {
    /// Of the lane `at`.
    pub(crate) fn new(log: Arc<dyn Log>, at: TopicPartition) -> Self {
        Self { log, at, done: Offset::ZERO, last: None }
    }

    /// True where it is time to trim up to `position`.
    pub(crate) fn is_due(&self, position: Offset) -> bool {
        let many = position.0.saturating_sub(self.done.0) >= OFFSETS;
        position != self.done && (many || self.last.is_none_or(|last| last.elapsed() >= PAUSE))
    }

    /// The committed position is `position`: trims if it is time to.
    pub(crate) async fn passed(&mut self, position: Offset) -> Step<()> {
        invariant::check(InvariantId::OffsetsWithEffects, position >= self.done, || {
            format!("the position of {} falls from {} to {position}", self.at, self.done)
        });
        if !self.is_due(position) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        match self.log.trim(&self.at, position).await {
            Ok(()) => self.done = position,
            // What is not trimmed takes room, and nothing else.
            Err(error @ Error::Refused(_)) => warn!(lane = %self.at, %error, "deliveries that are done with stay"),
            Err(error @ Error::Retry(_)) => debug!(lane = %self.at, %error, "trimming is put off"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
