//! Records as librdkafka holds them, to ours: a run of them copied into one piece of memory, then shared slices of it.

use std::ops::Range;

use bytes::Bytes;
use fpaas_core::{Headers, HeadersBuilder, Offset, Timestamp};
use rdkafka::message::{Header, OwnedHeaders};

use super::ffi::Raw;
use crate::{Record, Stored};

/// Records of one partition that came one after the other.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    records: Vec<Parts>,
}

#[derive(Debug)]
struct Parts {
    offset: Offset,
    timestamp: Timestamp,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

impl Run {
    pub(super) fn push(&mut self, offset: Offset, raw: &Raw<'_>) {
        let key = raw.key().map(|key| self.copy(key));
        let value = raw.value().map(|value| self.copy(value));
        let headers = self.headers(raw);
        let timestamp = Timestamp::from_millis(raw.timestamp_ms());
        self.records.push(Parts { offset, timestamp, key, value, headers });
    }

    fn copy(&mut self, part: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(part);
        from..self.bytes.len()
    }

    fn headers(&mut self, raw: &Raw<'_>) -> Range<usize> {
        let mut headers = HeadersBuilder::new();
        raw.each_header(|name, value| headers.push(name, value));
        self.copy(headers.build().as_bytes())
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, which share one piece of memory.
    pub(super) fn into_records(self) -> impl Iterator<Item = Stored> {
        let bytes = Bytes::from(self.bytes);
        self.records.into_iter().map(move |parts| {
            // What has no bytes keeps none.
            let slice = |range: Range<usize>| if range.is_empty() { Bytes::new() } else { bytes.slice(range) };
            let record = Record {
                key: parts.key.map(slice),
                value: parts.value.map(slice),
                // Written by the builder a moment ago.
                headers: Headers::from_bytes(slice(parts.headers)).unwrap_or_default(),
                timestamp: parts.timestamp,
            };
            Stored { offset: parts.offset, record }
        })
    }
}

/// A record's headers as librdkafka takes them; `None` where it has none.
pub(super) fn headers(record: &Record) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let none = OwnedHeaders::new_with_capacity(record.headers.iter().count());
    Some(record.headers.iter().fold(none, |headers, (key, value)| headers.insert(Header { key, value: Some(value) })))
}
