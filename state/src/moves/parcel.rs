//! What a slot has of a tenant, as records of a `moves` topic: in parts, where one record would be too large.
//!
//! A part is JSON; rows that are no text (parked events) stand behind it, one after the other, as long as it says.

use std::collections::BTreeMap;

use bytes::Bytes;
use fpaas_core::{Offset, TenantId, TopicPartition};
use fpaas_log::Stored;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const VERSION: u8 = 1;
/// Of the rows in one record, about: also where somebody else has made the topic, a broker takes it.
const PART_BYTES: usize = 256 * 1024;

/// Rows as their table holds them, and positions of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parcel {
    /// By their keys. Their bytes stay as they are: a batch's id is a hash of its row.
    pub rows: Vec<(String, Bytes)>,
    /// Of the lanes.
    pub positions: Vec<(TopicPartition, Offset)>,
}

/// One that was handed over, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Whose.
    pub tenant: TenantId,
    /// The revision that began the move.
    pub since: u64,
    /// Where its first part stands.
    pub first: Offset,
    /// It.
    pub parcel: Parcel,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Part {
    v: u8,
    tenant: TenantId,
    since: u64,
    part: usize,
    of: usize,
    rows: Vec<(String, String)>,
    positions: Vec<(String, u32, Offset)>,
    /// The rows behind it: their keys and their lengths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    raw: Vec<(String, usize)>,
}

/// Rows that go into one record.
#[derive(Debug, Default)]
struct Piece {
    rows: Vec<(String, String)>,
    raw: Vec<(String, usize)>,
    behind: Vec<u8>,
    bytes: usize,
}

/// The key of its records.
pub fn key(tenant: &TenantId, since: u64) -> String {
    format!("{tenant}/{since}")
}

impl Parcel {
    /// The values of its records, in order; one at least.
    pub(super) fn encode(&self, tenant: &TenantId, since: u64) -> Result<Vec<Bytes>> {
        let (mut parts, mut current) = (Vec::new(), Piece::default());
        for (key, value) in &self.rows {
            // A row goes into another record where it would make this one large.
            if current.bytes > 0 && current.bytes + value.len() > PART_BYTES {
                parts.push(std::mem::take(&mut current));
            }
            current.bytes += key.len() + value.len();
            match std::str::from_utf8(value) {
                Ok(text) => current.rows.push((key.clone(), text.to_owned())),
                Err(_) => {
                    current.raw.push((key.clone(), value.len()));
                    current.behind.extend_from_slice(value);
                }
            }
        }
        parts.push(current);
        let of = parts.len();
        let mut positions: Vec<_> =
            self.positions.iter().map(|(at, offset)| (at.topic.to_string(), at.partition.0, *offset)).collect();
        let parts = parts.into_iter().enumerate().map(|(part, Piece { rows, raw, behind, .. })| {
            // They are few and short: the first one takes them all.
            let positions = std::mem::take(&mut positions);
            let part = Part { v: VERSION, tenant: tenant.clone(), since, part, of, rows, positions, raw };
            let mut value =
                serde_json::to_vec(&part).map_err(|error| corrupt("what is handed over", &error.to_string()))?;
            value.extend_from_slice(&behind);
            Ok(value.into())
        });
        parts.collect()
    }
}

/// Parts, read in order, to parcels.
#[derive(Debug, Default)]
pub struct Reading {
    begun: BTreeMap<(TenantId, u64), (Arrived, usize, usize)>,
    whole: Vec<Arrived>,
}

impl Reading {
    /// The next record. A part whose first one was not read is of a parcel that was taken before: it is left out.
    pub fn add(&mut self, stored: &Stored) -> Result<()> {
        let value = stored.record.value.as_deref().unwrap_or_default();
        let wrong = |why: &str| corrupt(&format!("what was handed over at offset {}", stored.offset), why);
        let mut texts = serde_json::Deserializer::from_slice(value).into_iter::<Part>();
        let read = texts.next().ok_or_else(|| wrong("it is empty"))?.map_err(|error| wrong(&error.to_string()))?;
        let mut behind = value.get(texts.byte_offset()..).unwrap_or_default();
        if read.v != VERSION {
            return Err(wrong(&format!("its version is {}, and this program knows {VERSION}", read.v)));
        }
        let name = (read.tenant, read.since);
        if read.part == 0 {
            let (tenant, since) = name.clone();
            let arrived = Arrived { tenant, since, first: stored.offset, parcel: Parcel::default() };
            self.begun.insert(name.clone(), (arrived, 0, read.of));
        }
        let Some((arrived, next, _)) = self.begun.get_mut(&name) else { return Ok(()) };
        if *next != read.part {
            return Err(wrong("a part before it is missing"));
        }
        *next += 1;
        arrived.parcel.rows.extend(read.rows.into_iter().map(|(key, row)| (key, Bytes::from(row))));
        for (key, length) in read.raw {
            let (row, rest) = behind.split_at_checked(length).ok_or_else(|| wrong("a row behind it is cut"))?;
            arrived.parcel.rows.push((key, Bytes::copy_from_slice(row)));
            behind = rest;
        }
        if !behind.is_empty() {
            return Err(wrong("something stands behind it"));
        }
        let positions = read.positions.into_iter();
        arrived
            .parcel
            .positions
            .extend(positions.map(|(topic, partition, offset)| (TopicPartition::new(topic, partition), offset)));
        let whole = self.begun.get(&name).is_some_and(|(_, next, of)| next == of);
        self.whole.extend(whole.then(|| self.begun.remove(&name)).flatten().map(|(arrived, ..)| arrived));
        Ok(())
    }

    /// True where some were read and nothing is missing of any.
    pub fn is_whole(&self) -> bool {
        self.begun.is_empty() && !self.whole.is_empty()
    }

    /// Those that are whole, in the order in which they were.
    pub fn into_arrived(self) -> Vec<Arrived> {
        self.whole
    }
}

fn corrupt(what: &str, why: &str) -> Error {
    Error::Corrupt { what: what.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use fpaas_log::Record as Logged;

    use super::*;

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn stored(offset: u64, value: &Bytes) -> Stored {
        Stored { offset: Offset(offset), record: Logged { value: Some(value.clone()), ..Logged::default() } }
    }

    fn parcel(rows: usize, bytes: usize) -> Parcel {
        let value = Bytes::from(format!(r#"{{"v":1,"text":"{}"}}"#, "é\"".repeat(bytes / 3)));
        let position = (TopicPartition::new("fpaas.acme.d.likes.3", 1), Offset(7));
        Parcel { rows: (0..rows).map(|n| (format!("row/{n}"), value.clone())).collect(), positions: vec![position] }
    }

    #[test]
    fn a_parcel_is_read_byte_for_byte_as_it_was_written_however_large_it_is() {
        for (rows, parts) in [(0, 1), (1, 1), (100, 5)] {
            let parcel = parcel(rows, 12_000);
            let values = parcel.encode(&acme(), 7).unwrap();
            assert_eq!(values.len(), parts, "{rows}");
            let mut reading = Reading::default();
            for (offset, value) in (3..).zip(&values) {
                assert!(!reading.is_whole());
                reading.add(&stored(offset, value)).unwrap();
            }
            assert!(reading.is_whole());
            let arrived = Arrived { tenant: acme(), since: 7, first: Offset(3), parcel };
            assert_eq!(reading.into_arrived(), [arrived]);
        }
    }

    #[test]
    fn rows_that_are_no_text_arrive_as_they_were() {
        let rows = [("a", &b"\x01\xff"[..]), ("b", b"{}"), ("c", &[0x80; 300_000]), ("d", b""), ("e", b"\xfe")];
        let rows = rows.map(|(key, row)| (key.to_owned(), Bytes::copy_from_slice(row)));
        let parcel = Parcel { rows: rows.into(), positions: Vec::new() };
        let values = parcel.encode(&acme(), 7).unwrap();
        assert_eq!(values.len(), 3);
        let mut reading = Reading::default();
        for (offset, value) in (3..).zip(&values) {
            reading.add(&stored(offset, value)).unwrap();
        }
        let mut arrived = reading.into_arrived().remove(0).parcel.rows;
        arrived.sort();
        assert_eq!(arrived, parcel.rows);
        let cut = values[0].slice(..values[0].len() - 1);
        assert!(Reading::default().add(&stored(3, &cut)).is_err());
        let longer = Bytes::from([&values[0][..], b"x"].concat());
        assert!(Reading::default().add(&stored(3, &longer)).is_err());
    }

    /// As version 1 looks: once it is out there, it stays readable.
    #[test]
    fn a_record_of_version_1_is_read() {
        let known = r#"{"v":1,"tenant":"acme","since":7,"part":0,"of":1,"rows":[["started/fpaas.acme.d.likes.3/1","{\"v\":1}"]],"positions":[["fpaas.acme.d.likes.3",1,9]]}"#;
        let at = TopicPartition::new("fpaas.acme.d.likes.3", 1);
        let parcel = Parcel {
            rows: vec![(crate::rows::started_key(&at), Bytes::from_static(br#"{"v":1}"#))],
            positions: vec![(at, Offset(9))],
        };
        assert_eq!(parcel.encode(&acme(), 7).unwrap(), [Bytes::from_static(known.as_bytes())]);
        let mut reading = Reading::default();
        reading.add(&stored(0, &Bytes::from_static(known.as_bytes()))).unwrap();
        assert_eq!(reading.into_arrived().pop().unwrap().parcel, parcel);
        let newer = Bytes::from(known.replacen(r#""v":1"#, r#""v":2"#, 1));
        assert!(Reading::default().add(&stored(0, &newer)).is_err());
    }

    #[test]
    fn parts_of_others_may_stand_between_and_the_end_of_one_that_was_taken_says_nothing() {
        let (one, other) = (parcel(60, 12_000), parcel(1, 10));
        let ([ones, others], zed) = (
            [one.encode(&acme(), 7).unwrap(), other.encode(&TenantId::parse("zed").unwrap(), 8).unwrap()],
            TenantId::parse("zed").unwrap(),
        );
        let records = [&ones[0], &others[0], &ones[1], &ones[2]];
        let read = |from: usize| {
            let mut reading = Reading::default();
            for (offset, value) in (0..).zip(records).skip(from) {
                reading.add(&stored(offset, value)).unwrap();
            }
            reading.into_arrived().into_iter().map(|of| (of.tenant, of.first)).collect::<Vec<_>>()
        };
        assert_eq!(ones.len(), 3);
        assert_eq!(read(0), [(zed.clone(), Offset(1)), (acme(), Offset(0))]);
        assert_eq!(read(1), [(zed, Offset(1))]);
        let mut reading = Reading::default();
        reading.add(&stored(0, &ones[0])).unwrap();
        assert!(reading.add(&stored(1, &ones[2])).is_err(), "one is missing");
    }
}
