//! Retention, holds and trimming.

use std::time::Duration;

use fpaas_core::{Offset, TopicPartition};

use super::Backend;
use super::kit::{
    append, append_numbers, appender, at, fetch, levers, make, millis, numbers, partition, read, text, values,
};
use crate::{Fetched, Retention, TopicSpec};

const HOUR: Duration = Duration::from_secs(3600);

async fn kept_for(backend: &dyn Backend, retention: Retention) -> TopicPartition {
    let spec = TopicSpec { retention, ..TopicSpec::kept(1) };
    TopicPartition::new(make(backend, &spec).await, 0)
}

/// Appends `count` records stamped with the time it is.
async fn append_now(backend: &dyn Backend, place: &TopicPartition, from: u32, count: u32) -> Vec<Offset> {
    let writer = appender(backend).await;
    let records = (from..from + count).map(|n| at(backend.now(), text(n.to_string())));
    append(&*writer, place, records).await
}

/// Exactly those that are older than the topic keeps them.
pub async fn old_records_go_by_time(backend: &dyn Backend) {
    let Some(levers) = levers(backend) else { return };
    let place = kept_for(backend, Retention { time: Some(HOUR), bytes: None }).await;
    append_now(backend, &place, 0, 10).await;
    levers.pass(HOUR / 2);
    let young = append_now(backend, &place, 10, 10).await;
    levers.run();
    assert_eq!(values(&*backend.log(), &place).await, numbers(0..20));
    levers.pass(HOUR * 2 / 3);
    levers.run();
    assert_eq!(values(&*backend.log(), &place).await, numbers(10..20));
    let fetched = fetch(&*backend.log(), &place, Offset::ZERO).await;
    assert_eq!(fetched.lost_until, Some(backend.log().watermarks(&place).await.unwrap().low));
    assert_eq!(fetched.records[0].offset, young[0]);
    levers.pass(HOUR);
    levers.run();
    assert_eq!(empty_at_the_end(backend, &place).await.records, []);
}

async fn empty_at_the_end(backend: &dyn Backend, place: &TopicPartition) -> Fetched {
    let fetched = fetch(&*backend.log(), place, Offset::ZERO).await;
    assert_eq!(fetched.next, fetched.end);
    fetched
}

/// What stays is the newest, not much more than the limit and not much less.
pub async fn records_beyond_the_bytes_go_first_in_first_out(backend: &dyn Backend) {
    const LIMIT: u64 = 200_000;
    let Some(levers) = levers(backend) else { return };
    let place = kept_for(backend, Retention { time: None, bytes: Some(LIMIT) }).await;
    let writer = appender(backend).await;
    for round in 0..3 {
        for _ in 0..5 {
            append(&*writer, &place, (0..100).map(|_| at(backend.now(), text("x".repeat(1000))))).await;
        }
        levers.run();
        let records = read(&*backend.log(), &place).await;
        assert!((170..=200).contains(&records.len()), "round {round}: {} records", records.len());
        let end = backend.log().watermarks(&place).await.unwrap().end;
        assert!(records.last().unwrap().offset.0 + 2 >= end.0, "the newest stay");
    }
}

/// Nothing at or above a hold goes; what is released does.
pub async fn a_hold_keeps_what_was_not_passed(backend: &dyn Backend) {
    let Some(levers) = levers(backend) else { return };
    let place = kept_for(backend, Retention { time: Some(HOUR), bytes: None }).await;
    let offsets = append_now(backend, &place, 0, 20).await;
    let (hold, other) = (backend.log().hold(&place, offsets[5]), backend.log().hold(&place, offsets[12]));
    levers.pass(HOUR * 3 / 2);
    levers.run();
    assert_eq!(values(&*backend.log(), &place).await, numbers(5..20));
    hold.advance(offsets[15]);
    levers.run();
    assert_eq!(values(&*backend.log(), &place).await, numbers(12..20));
    drop(other);
    levers.run();
    assert_eq!(values(&*backend.log(), &place).await, numbers(15..20));
    drop(hold);
    levers.run();
    assert!(values(&*backend.log(), &place).await.is_empty());
    assert_eq!(levers.lost(), 0);
}

/// Twice the limit: then the disk comes first, and the reader is told what it lost.
pub async fn at_the_hard_limit_held_records_go_and_are_counted(backend: &dyn Backend) {
    let Some(levers) = levers(backend) else { return };
    let place = kept_for(backend, Retention { time: Some(HOUR), bytes: None }).await;
    let offsets = append_now(backend, &place, 0, 20).await;
    let hold = backend.log().hold(&place, offsets[5]);
    levers.pass(HOUR);
    let later = append_now(backend, &place, 20, 10).await;
    levers.pass(HOUR * 3 / 2);
    levers.run();
    assert_eq!(values(&*backend.log(), &place).await, numbers(20..30));
    assert_eq!(levers.lost(), 15);
    let fetched = fetch(&*backend.log(), &place, offsets[5]).await;
    let lost_until = fetched.lost_until.unwrap();
    assert!(lost_until > offsets[19] && lost_until <= later[0], "{lost_until}");
    assert_eq!(fetch(&*backend.log(), &place, fetched.next).await.lost_until, None);
    drop(hold);
}

/// Trimming obeys nobody but its caller, and ends at the end.
pub async fn trimmed_records_are_gone_and_the_low_watermark_never_falls(backend: &dyn Backend) {
    let (place, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    let offsets = append_numbers(&*writer, &place, 0..20).await;
    let _hold = log.hold(&place, Offset::ZERO);
    log.trim(&place, offsets[8]).await.unwrap();
    assert_eq!(values(&*log, &place).await, numbers(8..20));
    log.trim(&place, offsets[3]).await.unwrap();
    let watermarks = log.watermarks(&place).await.unwrap();
    assert_eq!(watermarks.low, offsets[8]);
    let fetched = fetch(&*log, &place, offsets[2]).await;
    assert_eq!(fetched.lost_until, Some(offsets[8]));
    assert_eq!(fetch(&*log, &place, offsets[8]).await.lost_until, None);
    log.trim(&place, Offset(u64::MAX)).await.unwrap();
    let emptied = log.watermarks(&place).await.unwrap();
    assert_eq!((emptied.low, emptied.end), (watermarks.end, watermarks.end));
    let after = append_numbers(&*writer, &place, 20..22).await;
    assert!(after[0] >= watermarks.end, "offsets are never given twice");
    assert_eq!(values(&*log, &place).await, numbers(20..22));
}

/// A time whose records were trimmed away is the first one that is left and late enough.
pub async fn times_are_found_after_trimming(backend: &dyn Backend) {
    let (place, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    let base = backend.now().as_millis() - 1_000_000;
    let times: Vec<i64> = (0..3000).map(|n| if n == 10 { base + 900_000 } else { base + n * 10 }).collect();
    let offsets = append(&*writer, &place, times.iter().map(|time| at(millis(*time), text("x")))).await;
    log.trim(&place, offsets[20]).await.unwrap();
    assert_eq!(log.offset_at(&place, millis(base)).await.unwrap(), offsets[20]);
    assert_eq!(log.offset_at(&place, millis(base + 25_000)).await.unwrap(), offsets[2500]);
    let end = log.watermarks(&place).await.unwrap().end;
    assert_eq!(log.offset_at(&place, millis(base + 500_000)).await.unwrap(), end);
}
