//! Compacted topics.

use std::time::Duration;

use bytes::Bytes;
use fpaas_core::{Offset, TopicPartition};

use super::Backend;
use super::kit::{append, appender, at, fetch, keyed, levers, make, read, value};
use crate::{Record, Stored, TopicSpec};

async fn compacted(backend: &dyn Backend) -> TopicPartition {
    TopicPartition::new(make(backend, &TopicSpec::compacted(1)).await, 0)
}

fn pairs(records: &[Stored]) -> Vec<(String, String)> {
    let key = |stored: &Stored| String::from_utf8(stored.record.key.clone().unwrap().to_vec()).unwrap();
    records.iter().map(|stored| (key(stored), value(stored))).collect()
}

/// In its place and with its offset: readers see gaps.
pub async fn only_the_last_record_of_a_key_stays(backend: &dyn Backend) {
    let Some(levers) = levers(backend) else { return };
    let (place, writer, log) = (compacted(backend).await, appender(backend).await, backend.log());
    let record = |n: u32| at(backend.now(), keyed(&format!("key {}", n % 7), &n.to_string()));
    let mut offsets = append(&*writer, &place, (0..100).map(record)).await;
    levers.run();
    let expected =
        |range: std::ops::Range<u32>| -> Vec<_> { range.map(|n| (format!("key {}", n % 7), n.to_string())).collect() };
    let records = read(&*log, &place).await;
    assert_eq!(pairs(&records), expected(93..100));
    assert_eq!(records[0].offset, offsets[93]);
    offsets.extend(append(&*writer, &place, (100..103).map(record)).await);
    levers.run();
    let records = read(&*log, &place).await;
    assert_eq!(pairs(&records), expected(96..103));
    let fetched = fetch(&*log, &place, Offset::ZERO).await;
    assert_eq!((fetched.lost_until, fetched.records[0].offset), (None, offsets[96]));
    assert_eq!(fetched.next, fetched.end);
}

/// It stays long enough for a reader on its way to see it.
pub async fn a_tombstone_removes_its_key_and_then_itself(backend: &dyn Backend) {
    let Some(levers) = levers(backend) else { return };
    let (place, writer, log) = (compacted(backend).await, appender(backend).await, backend.log());
    let tombstone = Record { key: Some(Bytes::from_static(b"a")), timestamp: backend.now(), ..Record::default() };
    let records = [at(backend.now(), keyed("a", "1")), at(backend.now(), keyed("b", "2")), tombstone];
    append(&*writer, &place, records).await;
    levers.run();
    let found = read(&*log, &place).await;
    assert_eq!(pairs(&found), [("b".into(), "2".into()), ("a".into(), String::new())]);
    assert_eq!(found[1].record.value, None);
    levers.pass(Duration::from_secs(7 * 24 * 3600));
    levers.run();
    assert_eq!(pairs(&read(&*log, &place).await), [("b".into(), "2".into())]);
    let end = log.watermarks(&place).await.unwrap().end;
    let offsets = append(&*writer, &place, [at(backend.now(), keyed("a", "3"))]).await;
    assert!(offsets[0] >= end);
}
