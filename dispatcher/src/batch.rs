//! The collector's bounds of number and size: how many events a batch takes. Pure.
//!
//! The first bound reached wins; a batch is never empty. An event that would overflow starts the next batch, one larger
//! than the bound goes alone. Does not own the timer ([`crate::lane`]).

use fpaas_core::limits;
use fpaas_core::subscription::Collector;

use crate::body::Delivery;

/// A batch that is being collected.
#[derive(Debug)]
pub(crate) struct Batcher {
    policy: Collector,
    events: usize,
    body_bytes: usize,
    record_bytes: usize,
    full: bool,
}

impl Batcher {
    /// An empty one.
    pub(crate) const fn new(policy: Collector) -> Self {
        Self { policy, events: 0, body_bytes: 0, record_bytes: 0, full: false }
    }

    /// Takes an event, or is full without it.
    pub(crate) fn offer(&mut self, event: &Delivery) -> bool {
        if self.full || self.overflows(event) {
            self.full = true;
            return false;
        }
        self.events += 1;
        self.body_bytes += event.body_bytes();
        self.record_bytes += event.record.bytes();
        self.full = self.events >= self.policy.max_events as usize || self.body_bytes >= self.policy.max_bytes as usize;
        true
    }

    /// True once a bound of number or size is reached.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }

    fn overflows(&self, event: &Delivery) -> bool {
        let body = self.body_bytes + event.body_bytes() > self.policy.max_bytes as usize;
        let memory = self.record_bytes + event.record.bytes() > limits::BATCH_RECORD_BYTES_MAX;
        self.events > 0 && (body || memory)
    }
}

#[cfg(test)]
mod tests;
