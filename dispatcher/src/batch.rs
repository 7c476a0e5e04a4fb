//! The collector: how deliveries become batches. Pure.
//!
//! The first bound reached wins; the timer starts at the first event; a batch is never empty. An event that would
//! overflow starts the next batch, one larger than the bound goes alone.

use std::collections::VecDeque;
use std::time::Duration;

use fpaas_core::limits;
use fpaas_core::subscription::Collector;
use tokio::time::Instant;

use crate::body::Delivery;

/// A batch that is being collected.
#[derive(Debug)]
pub(crate) struct Batcher {
    policy: Collector,
    events: Vec<Delivery>,
    body_bytes: usize,
    record_bytes: usize,
    first: Option<Instant>,
    full: bool,
}

impl Batcher {
    /// An empty one.
    pub(crate) const fn new(policy: Collector) -> Self {
        Self { policy, events: Vec::new(), body_bytes: 0, record_bytes: 0, first: None, full: false }
    }

    /// Other bounds from here on; what was collected stays, and may be full by them.
    pub(crate) fn set_policy(&mut self, policy: Collector) {
        self.policy = policy;
        self.full = !self.events.is_empty() && self.reached();
    }

    fn reached(&self) -> bool {
        self.events.len() >= self.policy.max_events as usize || self.body_bytes >= self.policy.max_bytes as usize
    }

    /// Takes from the front of `waiting` what fits; what would overflow stays there.
    pub(crate) fn fill(&mut self, waiting: &mut VecDeque<Delivery>, now: Instant) {
        while !self.full
            && let Some(event) = waiting.pop_front()
        {
            if self.overflows(&event) {
                self.full = true;
                waiting.push_front(event);
            } else {
                self.take(event, now);
            }
        }
    }

    /// True once a bound of number or size is reached.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }

    /// How long it may still wait for more; `None` while it is empty, since nothing waits then.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let most = Duration::from_millis(self.policy.max_wait_ms);
        self.first.map(|first| most.saturating_sub(now.saturating_duration_since(first)))
    }

    /// What was collected.
    pub(crate) fn into_events(self) -> Vec<Delivery> {
        self.events
    }

    fn overflows(&self, event: &Delivery) -> bool {
        let body = self.body_bytes + event.body_bytes() > self.policy.max_bytes as usize;
        let memory = self.record_bytes + event.record.bytes() > limits::BATCH_RECORD_BYTES_MAX;
        !self.events.is_empty() && (body || memory)
    }

    fn take(&mut self, event: Delivery, now: Instant) {
        self.first.get_or_insert(now);
        self.body_bytes += event.body_bytes();
        self.record_bytes += event.record.bytes();
        self.events.push(event);
        self.full = self.reached();
    }
}

#[cfg(test)]
mod tests;
