//! Where each upstream was left: one record per upstream of the compacted topic `fpaas.ingest`, written in the
//! transaction of the events it stands for. Invariant: offsets-with-effects.

use std::collections::HashMap;

use fpaas_core::{Headers, Offset, Timestamp, TopicPartition};
use fpaas_log::{Log, Record, Stored, replay};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::upstream::Upstream;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The value of a cursor record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    v: u32,
    /// Everything up to it is in the firehose topic, or was dropped under a reason.
    pub seq: u64,
    /// The last `time_us` that was given by then: later ones are above it.
    pub time_us: i64,
    /// The end of each partition of the firehose topic before this cursor's own transaction: what others brought later
    /// is at or above it.
    #[serde(default)]
    pub firehose_ends: Vec<Offset>,
}

impl Cursor {
    /// All frames up to `seq` are taken.
    pub const fn new(seq: u64, time_us: i64, firehose_ends: Vec<Offset>) -> Self {
        Self { v: VERSION, seq, time_us, firehose_ends }
    }

    /// As the record of `upstream`.
    pub(crate) fn to_record(&self, upstream: &str) -> Record {
        // Numbers always make JSON.
        let value = serde_json::to_vec(self).unwrap_or_default();
        Record {
            key: Some(upstream.to_owned().into()),
            value: Some(value.into()),
            headers: Headers::default(),
            timestamp: Timestamp::from_micros(self.time_us),
        }
    }

    fn from_record(record: &Record) -> Result<(String, Self)> {
        let text =
            |part: &Option<bytes::Bytes>| String::from_utf8_lossy(part.as_deref().unwrap_or_default()).into_owned();
        let upstream = text(&record.key);
        match serde_json::from_slice::<Self>(record.value.as_deref().unwrap_or_default()) {
            Ok(cursor) if cursor.v == VERSION => Ok((upstream, cursor)),
            Ok(cursor) => Err(Error::Cursor { upstream, why: format!("its version {} is not {VERSION}", cursor.v) }),
            Err(error) => Err(Error::Cursor { upstream, why: error.to_string() }),
        }
    }
}

/// The latest cursor of every upstream that ever had one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursors(HashMap<String, Cursor>);

impl Cursors {
    /// Reads the topic past its end: what the last owner has committed is in it.
    pub(crate) async fn read(log: &dyn Log, at: &TopicPartition) -> Result<Self> {
        let mut cursors = Self::default();
        let each = |stored: Stored| {
            let (upstream, cursor) = Cursor::from_record(&stored.record)?;
            cursors.0.insert(upstream, cursor);
            Ok::<_, Error>(())
        };
        replay(log, at, Offset::ZERO, each).await?;
        Ok(cursors)
    }

    /// Where this upstream was left.
    pub(crate) fn seq(&self, upstream: &str) -> Option<u64> {
        self.0.get(upstream).map(|cursor| cursor.seq)
    }

    /// The last stamp of all of them: they share one source of time.
    pub(crate) fn last_time_us(&self) -> i64 {
        self.0.values().map(|cursor| cursor.time_us).max().unwrap_or_default()
    }

    /// When that of `upstreams` was left that was left first; the last stamp where none has a cursor.
    pub(crate) fn left_time_us(&self, upstreams: &[Upstream]) -> i64 {
        self.of(upstreams).map(|cursor| cursor.time_us).min().unwrap_or_else(|| self.last_time_us())
    }

    /// Where a partition of the firehose topic ended then, if it is known.
    pub(crate) fn firehose_end(&self, upstreams: &[Upstream], partition: u32) -> Option<Offset> {
        self.of(upstreams).filter_map(|cursor| cursor.firehose_ends.get(partition as usize)).min().copied()
    }

    fn of(&self, upstreams: &[Upstream]) -> impl Iterator<Item = &Cursor> {
        upstreams.iter().filter_map(|upstream| self.0.get(upstream.id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_another_version_or_garbage_is_refused() {
        let cursor = Cursor::new(7, 1_000_001, vec![Offset(3), Offset(0)]);
        let record = cursor.to_record("wss://a");
        assert_eq!(record.value.as_deref(), Some(&br#"{"v":1,"seq":7,"timeUs":1000001,"firehoseEnds":[3,0]}"#[..]));
        assert_eq!(Cursor::from_record(&record).unwrap(), ("wss://a".to_owned(), cursor));
        let before = Record { value: Some(br#"{"v":1,"seq":7,"timeUs":1}"#.to_vec().into()), ..record.clone() };
        assert_eq!(Cursor::from_record(&before).unwrap().1, Cursor::new(7, 1, vec![]));
        for bad in [&br#"{"v":2,"seq":7,"timeUs":1}"#[..], b"{}", b""] {
            let record = Record { value: Some(bad.to_vec().into()), ..record.clone() };
            assert!(matches!(Cursor::from_record(&record), Err(Error::Cursor { .. })));
        }
    }
}
