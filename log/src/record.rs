//! A record: key, value, headers, timestamp.

use bytes::Bytes;
use fpaas_core::{Headers, Offset, Timestamp};

/// A record to append or one that was read. All its bytes are shared slices: cloning copies nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition and, in a compacted topic, which record replaces which.
    pub key: Option<Bytes>,
    /// `None` is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// What filters and readers need without parsing the value.
    pub headers: Headers,
    /// By our receipt, never by the event's own time: retention, fetch by time and `startFrom` go by it.
    pub timestamp: Timestamp,
}

impl Record {
    /// How many bytes it takes in a batch or a fetch: key, value and headers.
    pub fn bytes(&self) -> usize {
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + self.headers.as_bytes().len()
    }
}

/// A record with the place it stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its offset in the partition it was fetched from.
    pub offset: Offset,
    /// The record.
    pub record: Record,
}
