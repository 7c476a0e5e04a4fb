//! Fetch by offset and by time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::headers::HeadersBuilder;
use fpaas_core::{Offset, TopicPartition};
use tokio::task::JoinSet;

use super::Backend;
use super::kit::{
    append, append_numbers, appender, at, fetch, keyed, millis, numbers, partition, read, read_from, text, value,
};
use crate::{Error, FetchBounds, Record};

/// Guests go on for longer.
const OWN: Duration = Duration::from_secs(10);

/// Also at one that lies in a gap: then with the next record.
pub async fn a_fetch_begins_at_any_offset(backend: &dyn Backend) {
    let (place, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    let offsets = append_numbers(&*writer, &place, 0..30).await;
    for from in 0..=offsets[29].0 {
        let expected: Vec<_> = offsets.iter().filter(|offset| offset.0 >= from).collect();
        let found = read_from(&*log, &place, Offset(from)).await;
        assert_eq!(found.iter().map(|record| &record.offset).collect::<Vec<_>>(), expected);
    }
}

/// One record at a time: each comes once, `next` rises, and it meets the end.
pub async fn following_next_reaches_the_end_through_all_gaps(backend: &dyn Backend) {
    let (place, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    append_numbers(&*writer, &place, 0..25).await;
    let one = FetchBounds { records: 1, ..FetchBounds::now() };
    let (mut from, mut seen) = (Offset::ZERO, Vec::new());
    let end = loop {
        let fetched = log.fetch(&place, from, one).await.unwrap();
        assert!(fetched.records.len() <= 1 && fetched.lost_until.is_none());
        seen.extend(fetched.records.iter().map(value));
        if fetched.next == fetched.end {
            break fetched.end;
        }
        assert!(fetched.next > from && fetched.next < fetched.end);
        from = fetched.next;
    };
    assert_eq!(seen, numbers(0..25));
    let last = fetch(&*log, &place, end).await;
    assert!(last.records.is_empty());
    assert_eq!((last.next, last.end), (end, end));
    assert_eq!(log.watermarks(&place).await.unwrap().end, end);
}

/// Never more records or bytes than asked for, except the one record that always comes.
pub async fn bounds_are_kept_and_one_record_always_comes(backend: &dyn Backend) {
    let (place, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    append(&*writer, &place, (0..10).map(|_| text("x".repeat(1000)))).await;
    append(&*writer, &place, [text("y".repeat(100_000)), text("z")]).await;
    let count = |records, bytes, from| {
        let (log, place) = (std::sync::Arc::clone(&log), place.clone());
        let bounds = FetchBounds { records, bytes, ..FetchBounds::now() };
        async move { log.fetch(&place, from, bounds).await.unwrap().records.len() }
    };
    assert_eq!(count(4, usize::MAX, Offset::ZERO).await, 4);
    assert_eq!(count(100, 3500, Offset::ZERO).await, 3);
    assert_eq!(count(100, 3000, Offset::ZERO).await, 3);
    assert_eq!(count(100, 1, Offset::ZERO).await, 1);
    let large = read(&*log, &place).await[10].offset;
    assert_eq!(count(100, 1000, large).await, 1);
}

/// Key, value, headers and timestamp, absent and empty ones told apart.
pub async fn every_part_of_a_record_comes_back(backend: &dyn Backend) {
    let (place, writer) = (partition(backend).await, appender(backend).await);
    let headers = HeadersBuilder::new().with("kind", "commit").with("empty", "").with("kind", [0, 255]).build();
    let records = [
        Record { headers, timestamp: millis(1_700_000_000_123), ..keyed("did:plc:a", "{}") },
        Record { key: Some(Bytes::new()), value: Some(Bytes::new()), timestamp: millis(1), ..Record::default() },
        Record { key: Some(Bytes::from_static(b"only a key")), timestamp: millis(2), ..Record::default() },
        Record { timestamp: millis(3), ..text("only a value") },
    ];
    append(&*writer, &place, records.clone()).await;
    let found: Vec<_> = read(&*backend.log(), &place).await.into_iter().map(|stored| stored.record).collect();
    assert_eq!(found, records);
}

/// Before the first one the first, between two the later, after the last one the end.
pub async fn a_time_is_the_first_offset_at_or_after_it(backend: &dyn Backend) {
    let (place, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    let base = backend.now().as_millis() - 100_000;
    let records = (0..50).map(|n| at(millis(base + n * 10), text(n.to_string())));
    let offsets = append(&*writer, &place, records).await;
    let found = |time| log.offset_at(&place, millis(time));
    assert_eq!(found(base - 1).await.unwrap(), offsets[0]);
    assert_eq!(found(base).await.unwrap(), offsets[0]);
    assert_eq!(found(base + 1).await.unwrap(), offsets[1]);
    assert_eq!(found(base + 490).await.unwrap(), offsets[49]);
    let end = log.watermarks(&place).await.unwrap().end;
    assert_eq!(found(base + 491).await.unwrap(), end);
}

/// The first offset whose own timestamp is late enough, whatever stands before or after it. Enough records that a
/// backend's index has several entries.
pub async fn timestamps_out_of_order_are_found_at_their_first_match(backend: &dyn Backend) {
    let (place, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    let base = backend.now().as_millis() - 10_000_000;
    let times: Vec<i64> = (0..5000).map(|n| base + (n * 7919) % 4001 * 100 + n).collect();
    let mut offsets = Vec::new();
    for part in times.chunks(500) {
        offsets.extend(append(&*writer, &place, part.iter().map(|time| at(millis(*time), text("x")))).await);
    }
    let end = log.watermarks(&place).await.unwrap().end;
    for wanted in (base..base + 420_000).step_by(9973) {
        let first = times.iter().position(|time| *time >= wanted).map_or(end, |n| offsets[n]);
        assert_eq!(log.offset_at(&place, millis(wanted)).await.unwrap(), first, "{}", wanted - base);
    }
}

/// However many places of a partition they read at.
pub async fn guests_keep_nobody_else_waiting(backend: &dyn Backend) {
    let (place, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    let offsets = append_numbers(&*writer, &place, 0..12).await;
    let mut guests = JoinSet::new();
    // Each below all others: nobody reads there yet.
    for from in offsets.iter().skip(1).rev().copied() {
        let (log, place) = (Arc::clone(&log), place.clone());
        guests.spawn(async move {
            let one = FetchBounds { records: 1, ..FetchBounds::now() }.of_guest();
            loop {
                match log.fetch(&place, from, one).await {
                    Ok(fetched) => assert_eq!(fetched.records[0].offset, from),
                    Err(error) => assert!(error.may_pass(), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let own = tokio::time::timeout(OWN, log.fetch(&place, offsets[0], FetchBounds::now())).await;
    assert_eq!(own.unwrap().unwrap().records[0].offset, offsets[0]);
    guests.abort_all();
    while let Some(ended) = guests.join_next().await {
        assert!(ended.unwrap_err().is_cancelled());
    }
}

/// For a topic and for a partition of a topic, by every call that names one.
pub async fn a_partition_that_is_not_there_is_said_so(backend: &dyn Backend) {
    let (place, log) = (partition(backend).await, backend.log());
    let no_topic = TopicPartition::new(backend.fresh("nowhere"), 0);
    let no_partition = TopicPartition::new(Arc::clone(&place.topic), 1);
    for at in [no_topic, no_partition] {
        let missing = |error| matches!(error, Error::NoSuchTopic(_));
        assert!(missing(log.fetch(&at, Offset::ZERO, FetchBounds::now()).await.unwrap_err()));
        assert!(missing(log.watermarks(&at).await.unwrap_err()));
        let ends = log.ends(&[place.clone(), at.clone()]).await;
        assert!(ends[0].is_ok() && missing(ends[1].clone().unwrap_err()), "{ends:?}");
        assert!(missing(log.offset_at(&at, millis(0)).await.unwrap_err()));
        assert!(missing(log.trim(&at, Offset(1)).await.unwrap_err()));
    }
}
