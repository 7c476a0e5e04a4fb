//! What retention leaves on the disk.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::{Clock, ManualClock, Offset, TopicPartition};
use fpaas_log::conformance::kit::{append, at, fetch, read, text};
use fpaas_log::{Embedded, EmbeddedConfig, Fsync, Log, Record, Retention, TopicSpec};

const MEGABYTE: u64 = 1024 * 1024;
const MINUTE: Duration = Duration::from_secs(60);

fn config(clock: &Arc<ManualClock>) -> EmbeddedConfig {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    EmbeddedConfig { write_buffer_bytes: 256 * 1024, fsync: Fsync::Never, ..EmbeddedConfig::new(clock) }
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        // Removed by RocksDB in between.
        Err(_gone) => 0,
    });
    sizes.sum()
}

/// 10 kB that no codec shrinks.
fn noise(seed: u64) -> Record {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    Record { value: Some((0..10_000).map(next).collect::<Vec<_>>().into()), ..Record::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_never_ends_takes_no_more_of_the_disk_than_it_may() {
    const LIMIT: u64 = 4 * MEGABYTE;
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let log = Embedded::open(&folder.path().join("log"), config(&clock)).unwrap();
    let spec = TopicSpec { retention: Retention { time: None, bytes: Some(LIMIT) }, ..TopicSpec::kept(2) };
    log.create_topic("t", &spec).await.unwrap();
    let writer = log.writer("writer", None).await.unwrap();
    let mut largest = 0;
    for round in 0..60 {
        for partition in 0..2 {
            let records = (0..50).map(|n| noise(round * 100 + u64::from(partition) * 50 + n));
            append(&*writer, &TopicPartition::new("t", partition), records).await;
        }
        log.run_retention_once().unwrap();
        largest = largest.max(folder_bytes(folder.path()));
    }
    for partition in 0..2 {
        let records = read(&*log, &TopicPartition::new("t", partition)).await;
        let bytes: u64 = records.iter().map(|stored| stored.record.bytes() as u64).sum();
        assert!(bytes <= LIMIT && bytes > LIMIT - 50_000, "{bytes}");
    }
    eprintln!("60 MB through 2 x 4 MiB: {} MiB on the disk at most", largest / MEGABYTE);
    assert!(largest < 32 * MEGABYTE, "{largest}");
}

#[tokio::test]
async fn retention_is_exact_after_a_restart_and_over_many_chunks() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at_micros(1_000_000_000_000)));
    let place = TopicPartition::new("t", 0);
    let open = || Embedded::open(&folder.path().join("log"), config(&clock)).unwrap();
    let log = open();
    let spec = TopicSpec { retention: Retention { time: Some(HOUR), bytes: None }, ..TopicSpec::kept(1) };
    log.create_topic("t", &spec).await.unwrap();
    let writer = log.writer("writer", None).await.unwrap();
    for _ in 0..12 {
        append(&*writer, &place, (0..777).map(|n| at(clock.now(), text(n.to_string())))).await;
        clock.advance(HOUR / 12);
    }
    drop((writer, log));
    for hours_over in 1..=12u64 {
        // Every second time by a log that was just opened, and by one that goes on.
        let log = open();
        clock.advance(HOUR / 12);
        log.run_retention_once().unwrap();
        assert_eq!(log.watermarks(&place).await.unwrap().low, Offset(777 * hours_over));
        assert_eq!(fetch(&*log, &place, Offset::ZERO).await.lost_until, Some(Offset(777 * hours_over)));
    }
    assert!(read(&*open(), &place).await.is_empty());
}

thread_local! {
    /// How often this thread moved a watermark: other tests' threads do too.
    static HITS: Cell<u32> = const { Cell::new(0) };
}

#[tokio::test]
async fn the_crash_point_lies_behind_each_move_of_the_watermark_and_nowhere_else() {
    crashpoint::install(|point| HITS.set(HITS.get() + u32::from(point == Point::RetentionTrimmed)));
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let log = Embedded::open(&folder.path().join("log"), config(&clock)).unwrap();
    let spec = TopicSpec { retention: Retention { time: Some(MINUTE), bytes: None }, ..TopicSpec::kept(1) };
    log.create_topic("t", &spec).await.unwrap();
    let (place, writer) = (TopicPartition::new("t", 0), log.writer("writer", None).await.unwrap());
    let mut hits = Vec::new();
    let mut pass = || {
        log.run_retention_once().unwrap();
        hits.push(HITS.take());
    };
    append(&*writer, &place, (0..10).map(|_| at(clock.now(), text("old")))).await;
    pass();
    clock.advance(MINUTE * 2);
    append(&*writer, &place, [at(clock.now(), text("young"))]).await;
    pass();
    pass();
    pass();
    clock.advance(MINUTE * 2);
    pass();
    pass();
    assert_eq!(hits, [0, 1, 0, 0, 1, 0]);
}

/// How many records there are in the files of a log that is closed, whether anybody can read them or not.
fn rows(folder: &Path) -> usize {
    let families = ["default", "records"];
    let db = rocksdb::DB::open_cf_for_read_only(&rocksdb::Options::default(), folder.join("db"), families, false);
    let db = db.unwrap();
    db.iterator_cf(db.cf_handle("records").unwrap(), rocksdb::IteratorMode::Start).count()
}

#[tokio::test]
async fn what_was_trimmed_before_a_restart_leaves_the_disk_at_the_first_pass_after_it() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let path = folder.path().join("log");
    let log = Embedded::open(&path, config(&clock)).unwrap();
    log.create_topic("t", &TopicSpec::kept(1)).await.unwrap();
    let (place, writer) = (TopicPartition::new("t", 0), log.writer("writer", None).await.unwrap());
    append(&*writer, &place, (0..2500).map(|n| text(n.to_string()))).await;
    log.trim(&place, Offset(1300)).await.unwrap();
    log.close().unwrap();
    drop((log, writer));
    assert_eq!(rows(&path), 2500);
    let log = Embedded::open(&path, config(&clock)).unwrap();
    log.run_retention_once().unwrap();
    assert_eq!(read(&*log, &place).await.len(), 1200);
    log.close().unwrap();
    drop(log);
    assert_eq!(rows(&path), 1200);
}

/// Whoever reads while retention removes is told, and never just finds later records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_record_goes_missing_under_a_reader_without_a_word() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let log = Embedded::open(&folder.path().join("log"), config(&clock)).unwrap();
    log.create_topic("t", &TopicSpec::kept(1)).await.unwrap();
    let (place, writer) = (TopicPartition::new("t", 0), log.writer("writer", None).await.unwrap());
    for _ in 0..100 {
        append(&*writer, &place, (0..1000).map(|n| text(n.to_string()))).await;
    }
    let (remover, at) = (Arc::clone(&log), place.clone());
    let removing = tokio::spawn(async move {
        for low in (1..100).map(|chunk| chunk * 1000) {
            remover.trim(&at, Offset(low)).await.unwrap();
            remover.run_retention_once().unwrap();
        }
    });
    let mut told = 0;
    while !removing.is_finished() {
        let from = log.watermarks(&place).await.unwrap().low;
        let fetched = fetch(&*log, &place, from).await;
        let first = fetched.records.first().map_or(fetched.next, |record| record.offset);
        assert_eq!(first, fetched.lost_until.unwrap_or(from));
        told += u64::from(fetched.lost_until.is_some());
    }
    removing.await.unwrap();
    eprintln!("told {told} times");
}
