//! Decoded events on their way into one transaction: all their bytes in one buffer, cut into records without copying.
//!
//! ```text
//!  buffer  │ headers of event 1 │ {"did":"did:plc:…","time_us":…} │ headers of event 2 │ {"did":… │ …
//!  span 1  │◀─────headers──────▶│◀───────────────value───────────▶│
//!                                        ◀───key───▶  the DID, where the JSON says it
//! ```

use std::ops::Range;

use bytes::Bytes;
use fpaas_core::{Headers, Timestamp, limits};
use fpaas_log::Record;

use crate::gate::{DropReason, Drops};

/// Where every event's JSON has its DID.
const BEFORE_DID: &[u8] = b"{\"did\":\"";

/// Events in the order in which they came, and what was dropped on the way.
#[derive(Debug, Default)]
pub struct Events {
    buffer: Vec<u8>,
    spans: Vec<Span>,
    drops: Drops,
    work: usize,
}

/// A moment in the life of [`Events`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    events: usize,
    drops: u64,
}

#[derive(Clone, Debug)]
struct Span {
    headers: Range<usize>,
    value: Range<usize>,
    did_length: usize,
    time_us: i64,
}

impl Events {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True without events, whatever was dropped.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes of their headers and values.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// What was dropped.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Counts something dropped.
    pub fn drop_one(&mut self, reason: DropReason) {
        self.drops.count(reason);
    }

    /// The bytes of records that were hashed, read and written for all this, for what was dropped too: the bulk of what
    /// decoding costs.
    pub fn work(&self) -> usize {
        self.work
    }

    pub(crate) fn note_work(&mut self, bytes: usize) {
        self.work += bytes;
    }

    /// What there is so far.
    pub(crate) fn mark(&self) -> Mark {
        Mark { events: self.spans.len(), drops: self.drops.total() }
    }

    /// Whether something was dropped since.
    pub(crate) fn dropped_since(&self, mark: Mark) -> bool {
        self.drops.total() > mark.drops
    }

    /// The headers of each event since: what they say is the same whichever upstream brought it.
    pub(crate) fn headers_since(&self, mark: Mark) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().skip(mark.events).map(|span| self.buffer.get(span.headers.clone()).unwrap_or_default())
    }

    /// Takes back those since whose headers are not kept. Their bytes stay until all are given away.
    pub(crate) fn retain_since(&mut self, mark: Mark, mut keep: impl FnMut(&[u8]) -> bool) {
        let (buffer, mut at) = (&self.buffer, 0);
        self.spans.retain(|span| {
            at += 1;
            at <= mark.events || keep(buffer.get(span.headers.clone()).unwrap_or_default())
        });
    }

    /// The JSON of each event.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|span| self.buffer.get(span.value.clone()).unwrap_or_default())
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.spans.clear();
        self.drops = Drops::default();
        self.work = 0;
    }

    /// As records of the log: slices of one allocation.
    pub fn into_records(self) -> impl Iterator<Item = Record> {
        let buffer = Bytes::from(self.buffer);
        self.spans.into_iter().map(move |span| {
            let did = span.value.start + BEFORE_DID.len();
            Record {
                key: Some(buffer.slice(did..did + span.did_length)),
                value: Some(buffer.slice(span.value)),
                headers: Headers::from_bytes(buffer.slice(span.headers)).unwrap_or_default(),
                timestamp: Timestamp::from_micros(span.time_us),
            }
        })
    }

    /// Adds an event of `did`: `headers` first, then the JSON, whose beginning is written here and its rest by `body`.
    /// Where `body` fails, or the record gets too large, nothing is added.
    pub(crate) fn push(
        &mut self,
        did: &str,
        time_us: i64,
        headers: impl FnOnce(&mut HeaderWriter<'_>),
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        let start = self.buffer.len();
        headers(&mut HeaderWriter(&mut self.buffer));
        let value = self.buffer.len();
        let written = self.value(did, time_us, body);
        let end = self.buffer.len();
        if written.is_ok() && end - start + did.len() <= limits::SOURCE_RECORD_BYTES_MAX {
            self.spans.push(Span { headers: start..value, value: value..end, did_length: did.len(), time_us });
            return Ok(());
        }
        self.buffer.truncate(start);
        written.and(Err(DropReason::OpTooLarge))
    }

    fn value(
        &mut self,
        did: &str,
        time_us: i64,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        let out = &mut self.buffer;
        out.extend_from_slice(BEFORE_DID);
        out.extend_from_slice(did.as_bytes());
        out.extend_from_slice(b"\",\"time_us\":");
        crate::json::integer(out, time_us);
        body(out)?;
        out.push(b'}');
        Ok(())
    }
}

/// Writes headers as `core::headers` lays them out, without a buffer of their own.
pub(crate) struct HeaderWriter<'a>(&'a mut Vec<u8>);

impl HeaderWriter<'_> {
    /// One header, its value in parts. Names and values are ours or checked, and far below their limits of length.
    pub(crate) fn add(&mut self, name: &str, parts: &[&str]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.0.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }
}
