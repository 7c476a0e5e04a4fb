//! The collector's bounds of number and size: how many events a batch takes. Pure.
//!
//! The first bound reached wins; a batch is never empty. An event that would overflow starts the next batch, one larger
//! than the bound goes alone. Does not own the timer ([`crate::lane`]).

use fpaas_core::limits;
use fpaas_core::subscription::{Collector, Format, Subscription};

use crate::body::Delivery;

/// What a batch is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    collector: Collector,
    /// In which its bytes are counted.
    format: Format,
}

impl Bounds {
    /// Of batches that are collected now.
    pub(crate) fn of(config: &Subscription) -> Self {
        let format = config.webhook().map_or_else(Format::default, |webhook| webhook.format);
        Self { collector: config.collector, format }
    }
}

impl From<Collector> for Bounds {
    fn from(collector: Collector) -> Self {
        Self { collector, format: Format::default() }
    }
}

/// A batch that is being collected.
#[derive(Debug)]
pub(crate) struct Batcher {
    bounds: Bounds,
    events: usize,
    body_bytes: usize,
    record_bytes: usize,
    full: bool,
}

impl Batcher {
    /// An empty one.
    pub(crate) fn new(bounds: impl Into<Bounds>) -> Self {
        Self { bounds: bounds.into(), events: 0, body_bytes: 0, record_bytes: 0, full: false }
    }

    /// Takes an event, or is full without it.
    pub(crate) fn offer(&mut self, event: &Delivery) -> bool {
        let Bounds { collector, format } = self.bounds;
        let body_bytes = event.body_bytes(format);
        if self.full || self.overflows(event, body_bytes) {
            self.full = true;
            return false;
        }
        self.events += 1;
        self.body_bytes += body_bytes;
        self.record_bytes += event.record.bytes();
        self.full = self.events >= collector.max_events as usize || self.body_bytes >= collector.max_bytes as usize;
        true
    }

    /// True once a bound of number or size is reached.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }

    /// What it is held to.
    pub(crate) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The bytes of its events' records.
    pub(crate) const fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    fn overflows(&self, event: &Delivery, body_bytes: usize) -> bool {
        let body = self.body_bytes + body_bytes > self.bounds.collector.max_bytes as usize;
        let memory = self.record_bytes + event.record.bytes() > limits::BATCH_RECORD_BYTES_MAX;
        self.events > 0 && (body || memory)
    }
}

#[cfg(test)]
mod tests;
