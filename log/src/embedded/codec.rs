//! The bytes of rows: records, chunks, positions, topics. Each starts with a version, compared strictly.
//!
//! A record, version 1, little-endian:
//! `[1][flags][timestamp i64][key length u32][headers length u32] key, headers, value`.

use std::ops::Range;

use bytes::Bytes;
use fpaas_core::{Headers, Offset, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Position, Record, Stored, TopicSpec};

const VERSION: u8 = 1;
const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
const HEAD: usize = 18;

/// How many bytes a record takes on the disk, its key included and before compression.
pub(super) fn stored_bytes(record: &Record) -> usize {
    16 + HEAD + record.bytes()
}

/// The same of a row that was read.
pub(super) fn row_bytes(row: &[u8]) -> u64 {
    encoded_bytes(row.len())
}

/// The same of a record that was encoded to `length` bytes.
pub(super) fn encoded_bytes(length: usize) -> u64 {
    16 + length as u64
}

/// Appends a record's bytes to `out`. Its parts are below 4 GiB: `limits::RECORD_BYTES_MAX` was checked.
pub(super) fn encode(record: &Record, out: &mut Vec<u8>) {
    let part = |part: &Option<Bytes>, flag| if part.is_some() { flag } else { 0 };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let key = record.key.as_deref().unwrap_or_default();
    out.extend_from_slice(&[VERSION, part(&record.key, HAS_KEY) | part(&record.value, HAS_VALUE)]);
    out.extend_from_slice(&record.timestamp.as_millis().to_le_bytes());
    out.extend_from_slice(&length(key));
    out.extend_from_slice(&length(record.headers.as_bytes()));
    out.extend_from_slice(key);
    out.extend_from_slice(record.headers.as_bytes());
    out.extend_from_slice(record.value.as_deref().unwrap_or_default());
}

/// Where the parts of an encoded record are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) timestamp: Timestamp,
    key: Option<Range<usize>>,
    headers: Range<usize>,
    value: Option<Range<usize>>,
}

impl Parts {
    /// What an encoded record has in front of its parts.
    pub(super) const HEAD: usize = HEAD;

    /// Finds them, or says that these bytes are not a record.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let [VERSION, flags, head @ ..] = head else { return None };
        let (timestamp, lengths) = head.split_first_chunk::<8>()?;
        let (key, lengths) = lengths.split_first_chunk::<4>()?;
        let headers = u32::from_le_bytes(*lengths.first_chunk::<4>()?) as usize;
        let key = u32::from_le_bytes(*key) as usize;
        let value_at = HEAD + key.checked_add(headers).filter(|length| *length <= rest.len())?;
        let (has_key, has_value) = (flags & HAS_KEY != 0, flags & HAS_VALUE != 0);
        let empty_if_absent = (has_key || key == 0) && (has_value || value_at == bytes.len());
        (*flags <= HAS_KEY | HAS_VALUE && empty_if_absent).then(|| Self {
            timestamp: Timestamp::from_millis(i64::from_le_bytes(*timestamp)),
            key: has_key.then_some(HEAD..HEAD + key),
            headers: HEAD + key..value_at,
            value: has_value.then_some(value_at..bytes.len()),
        })
    }

    /// The bytes [`Record::bytes`] counts, of a record encoded as `encoded` bytes.
    pub(super) fn payload(encoded: &[u8]) -> usize {
        encoded.len().saturating_sub(HEAD)
    }

    /// The key's bytes.
    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.key.clone().and_then(|range| bytes.get(range))
    }

    /// True of a record without a value.
    pub(super) fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// The record, as slices of `buffer`, in which its bytes start at `base`.
    pub(super) fn record(self, offset: u64, buffer: &Bytes, base: usize) -> Option<Stored> {
        let slice = |range: Range<usize>| buffer.slice(base + range.start..base + range.end);
        let record = Record {
            key: self.key.map(slice),
            value: self.value.map(slice),
            headers: Headers::from_bytes(slice(self.headers))?,
            timestamp: self.timestamp,
        };
        Some(Stored { offset: Offset(offset), record })
    }
}

/// A run of a partition's records: what retention and fetch by time need to know without reading them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The offset after its last record; it starts where the one before ends.
    pub(super) end: u64,
    /// How many records it had.
    pub(super) records: u64,
    /// How many bytes they had ([`stored_bytes`]).
    pub(super) bytes: u64,
    /// Their greatest timestamp.
    pub(super) newest: Timestamp,
}

impl Chunk {
    /// The row of a closed chunk; its end is in the key.
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = [self.records, self.bytes, self.newest.as_millis().cast_unsigned()];
        std::iter::once(VERSION).chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect()
    }

    /// Reads it back.
    pub(super) fn decode(end: u64, bytes: &[u8]) -> Option<Self> {
        let numbers: &[u8; 24] = bytes.strip_prefix(&[VERSION])?.try_into().ok()?;
        let ([records, bytes, newest], []) = numbers.as_chunks::<8>() else { return None };
        let newest = Timestamp::from_millis(i64::from_le_bytes(*newest));
        Some(Self { end, records: u64::from_le_bytes(*records), bytes: u64::from_le_bytes(*bytes), newest })
    }
}

/// The row of a position.
pub(super) fn encode_position(position: &Position) -> Vec<u8> {
    [&[VERSION][..], &position.offset.0.to_le_bytes(), &position.metadata].concat()
}

/// Reads it back.
pub(super) fn decode_position(bytes: &[u8]) -> Option<Position> {
    let (offset, metadata) = bytes.strip_prefix(&[VERSION])?.split_first_chunk::<8>()?;
    Some(Position { offset: Offset(u64::from_le_bytes(*offset)), metadata: Bytes::copy_from_slice(metadata) })
}

/// What is stored of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicRow {
    pub(super) id: u32,
    pub(super) spec: TopicSpec,
}

impl TopicRow {
    /// The row: the version, then JSON.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut row = vec![VERSION];
        serde_json::to_writer(&mut row, self).ok().map(|()| row)
    }

    /// Reads it back.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes.strip_prefix(&[VERSION])?).ok()
    }
}

/// The row of a plain number.
pub(super) fn encode_number(number: u64) -> [u8; 9] {
    let mut row = [VERSION; 9];
    if let Some(tail) = row.last_chunk_mut() {
        *tail = number.to_le_bytes();
    }
    row
}

/// Reads it back.
pub(super) fn decode_number(bytes: &[u8]) -> Option<u64> {
    bytes.strip_prefix(&[VERSION])?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use fpaas_core::headers::HeadersBuilder;
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Option<Bytes>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60).prop_map(Bytes::from))
    }

    fn record() -> impl Strategy<Value = Record> {
        let headers = proptest::collection::vec(("[a-z]{0,9}", proptest::collection::vec(any::<u8>(), 0..9)), 0..4);
        (bytes(), bytes(), headers, any::<i64>()).prop_map(|(key, value, list, millis)| {
            let mut headers = HeadersBuilder::new();
            list.iter().for_each(|(name, value)| headers.push(name, value));
            Record { key, value, headers: headers.build(), timestamp: Timestamp::from_millis(millis) }
        })
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was(record in record(), before in 0..20usize) {
            let mut buffer = vec![7; before];
            encode(&record, &mut buffer);
            prop_assert_eq!(row_bytes(&buffer[before..]), stored_bytes(&record) as u64);
            prop_assert_eq!(Parts::payload(&buffer[before..]), record.bytes());
            let parts = Parts::find(&buffer[before..]).unwrap();
            prop_assert_eq!(parts.key(&buffer[before..]), record.key.as_deref());
            prop_assert_eq!(parts.is_tombstone(), record.value.is_none());
            let read = parts.record(9, &buffer.into(), before).unwrap();
            prop_assert_eq!(read, Stored { offset: Offset(9), record });
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_never_panic(
            record in record(),
            cut in 0..200usize,
            flips in proptest::collection::vec((0..200usize, any::<u8>()), 0..4),
        ) {
            let mut buffer = Vec::new();
            encode(&record, &mut buffer);
            buffer.truncate(cut);
            for (at, byte) in flips {
                if let Some(place) = buffer.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(parts) = Parts::find(&buffer) {
                parts.key(&buffer);
                parts.record(0, &buffer.into(), 0);
            }
            Chunk::decode(0, &[1, 2, 3]);
            decode_position(&[1]);
            decode_number(&[2; 9]);
        }

        #[test]
        fn other_rows_come_back_as_they_were(a in any::<u64>(), b in any::<u64>(), millis in any::<i64>()) {
            let chunk = Chunk { end: a, records: b, bytes: a ^ b, newest: Timestamp::from_millis(millis) };
            prop_assert_eq!(Chunk::decode(a, &chunk.encode()), Some(chunk));
            let position = Position { offset: Offset(a), metadata: Bytes::from(b.to_string()) };
            prop_assert_eq!(decode_position(&encode_position(&position)), Some(position));
            prop_assert_eq!(decode_number(&encode_number(a)), Some(a));
        }
    }

    /// Rows written by version 1 are read for ever.
    #[test]
    fn a_row_of_version_1_is_read() {
        let row = [&[1, 3, 210, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, b'k'][..], b"\x01h\x01\0\0\0v", b"value"];
        let row = Bytes::from(row.concat());
        let record = Parts::find(&row).unwrap().record(0, &row, 0).unwrap().record;
        assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"k"[..]), Some(&b"value"[..])));
        assert_eq!((record.timestamp.as_millis(), record.headers.get_str("h")), (1234, Some("v")));
        let newer = [&[2], &row[1..]].concat();
        assert_eq!(Parts::find(&newer), None);
    }

    #[test]
    fn a_topic_comes_back_as_it_was() {
        let row = TopicRow { id: 7, spec: TopicSpec::compacted(64) };
        assert_eq!(TopicRow::decode(&row.encode().unwrap()), Some(row));
        assert_eq!(TopicRow::decode(b"\x01{\"id\":7}"), None);
    }
}
