//! What waits for a slow reader waits on the disk. Needs a process of its own, so it is in no list: a backend's memory
//! test calls it from a binary with nothing beside it.

use fpaas_core::{Offset, TopicPartition, limits};

use super::Backend;
use super::kit::{append, appender, fetch, partition, read_from, text};
use crate::{Log, Writer};

const MEGABYTE: usize = 1024 * 1024;
const RECORD: usize = 1000;

/// 100 MB behind a stalled reader grow the memory of the process by less than 32 MB. Measured after 100 MB that were
/// read as they came, so that what the log takes at any load is not counted.
pub async fn a_hundred_megabytes_behind_a_stalled_reader_stay_on_the_disk(backend: &dyn Backend) {
    let (at, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    write(&*writer, &at, 100 * MEGABYTE).await;
    let from = drain(&*log, &at, Offset::ZERO).await;
    let stalled = fetch(&*log, &at, Offset::ZERO).await;
    let before = resident_bytes();
    write(&*writer, &at, 100 * MEGABYTE).await;
    let grown = resident_bytes().saturating_sub(before);
    eprintln!("100 MB behind a stalled reader: {} KiB more, {} MiB in all", grown / 1024, resident_bytes() / MEGABYTE);
    assert!(grown < 32 * MEGABYTE, "{} KiB", grown / 1024);
    assert!(!stalled.records.is_empty());
    let rest = read_from(&*log, &at, from).await.len();
    assert_eq!(rest, 100 * MEGABYTE / RECORD);
}

async fn write(writer: &dyn Writer, at: &TopicPartition, bytes: usize) {
    let mut left = bytes / RECORD;
    while left > 0 {
        let count = left.min(500);
        append(writer, at, (0..count).map(|_| text("x".repeat(RECORD)))).await;
        left -= count;
    }
}

async fn drain(log: &dyn Log, at: &TopicPartition, mut from: Offset) -> Offset {
    loop {
        let fetched = fetch(log, at, from).await;
        assert!(fetched.records.iter().map(|stored| stored.record.bytes()).sum::<usize>() <= limits::FETCH_BYTES_MAX);
        from = fetched.next;
        if fetched.next == fetched.end {
            return from;
        }
    }
}

/// The pages of this process that are in memory.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
