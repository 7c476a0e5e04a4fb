//! A parked event as the changelog holds it: its record, whole, since its lane's position has passed it and the
//! deliveries are removed up to there.
//!
//! Layout, integers little-endian: `u8 version (1), i64 timestamp in ms, part key, part value, headers`, where a part
//! is `u32 length + 1, bytes` and length 0 means that there is none; headers fill the rest, in their own layout
//! ([`fpaas_core::Headers`]). Reading copies nothing.

use bytes::{Bytes, BytesMut};
use fpaas_core::{Headers, Timestamp};
use fpaas_log::Record;

use crate::{Error, Result};

const VERSION: u8 = 1;

/// How much larger than its record a row is at most.
pub const OVERHEAD: usize = 1 + 8 + 4 + 4;

/// A record as a row.
pub fn encode(record: &Record) -> Bytes {
    let mut bytes = BytesMut::with_capacity(record.bytes() + OVERHEAD);
    bytes.extend_from_slice(&[VERSION]);
    bytes.extend_from_slice(&record.timestamp.as_millis().to_le_bytes());
    for part in [&record.key, &record.value] {
        let length = part.as_ref().map_or(0, |part| part.len() + 1);
        // A record is far below 4 GiB.
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(part.as_deref().unwrap_or_default());
    }
    bytes.extend_from_slice(record.headers.as_bytes());
    bytes.freeze()
}

/// A row from the changelog. Invariant: crash-on-corruption.
pub fn decode(key: &str, row: &Bytes) -> Result<Record> {
    read(row).ok_or_else(|| Error::Corrupt {
        what: format!("the row {key}"),
        why: "it is no parked event of version 1".to_owned(),
    })
}

fn read(row: &Bytes) -> Option<Record> {
    let (version, rest) = row.split_first()?;
    let (time, mut rest) = rest.split_first_chunk::<8>()?;
    if *version != VERSION {
        return None;
    }
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let Some(length) = (u32::from_le_bytes(*length) as usize).checked_sub(1) else {
            rest = after;
            return Some(None);
        };
        let (bytes, after) = after.split_at_checked(length)?;
        rest = after;
        Some(Some(row.slice_ref(bytes)))
    };
    let (key, value) = (part()?, part()?);
    let headers = Headers::from_bytes(row.slice_ref(rest))?;
    let timestamp = Timestamp::from_millis(i64::from_le_bytes(*time));
    Some(Record { key, value, headers, timestamp })
}

#[cfg(test)]
mod tests {
    use fpaas_core::HeadersBuilder;
    use proptest::prelude::*;

    use super::*;

    fn part() -> impl Strategy<Value = Option<Bytes>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from))
    }

    proptest! {
        #[test]
        fn an_event_is_read_as_it_was_parked(key in part(), value in part(), millis: i64, name in "[a-z]{0,9}") {
            let headers = HeadersBuilder::new().with(&name, b"x").build();
            let record = Record { key, value, headers, timestamp: Timestamp::from_millis(millis) };
            let row = encode(&record);
            prop_assert!(row.len() <= record.bytes() + OVERHEAD);
            prop_assert_eq!(decode("k", &row).unwrap(), record);
            for cut in 0..row.len() {
                // Shorter by a header or a part it may still be a record, and never the same.
                if let Some(other) = read(&row.slice(..cut)) {
                    prop_assert_ne!(encode(&other), row.clone());
                }
            }
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut row = encode(&Record::default()).to_vec();
        assert!(decode("k", &row.clone().into()).is_ok());
        row[0] = 2;
        assert!(decode("k", &row.into()).is_err());
        assert!(decode("k", &Bytes::new()).is_err());
    }
}
