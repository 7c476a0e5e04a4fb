//! What waits for a slow reader waits on the disk. Needs a process of its own, so it is in no list: a backend's memory
//! test calls it from a binary with nothing beside it.

use std::sync::Arc;

use fpaas_core::{Offset, TopicPartition, limits};
use tokio::sync::mpsc;

use super::Backend;
use super::kit::{Counted, append, appender, fetch, partition, soon, text};
use crate::{FetchBounds, Fetched, Log, Writer};

const MEGABYTE: usize = 1024 * 1024;
const RECORD: usize = 1000;

/// 100 MB behind a stalled reader grow the memory of the process by less than 32 MB. The reader has all that a reader
/// can have: what it was handed and does not take, a fetch that is answered and that nobody looks at, and one that
/// waits at the tail. Measured after 100 MB that were read as they came, so that what the log takes at any load is not
/// counted.
pub async fn a_hundred_megabytes_behind_a_stalled_reader_stay_on_the_disk(backend: &dyn Backend) {
    let (at, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    write(&*writer, &at, 100 * MEGABYTE).await;
    let end = drain(&*log, &at, Offset::ZERO).await;
    let bounds = FetchBounds::waiting(limits::FETCH_WAIT_MAX);
    let open = Counted::waiting(log.fetch(&at, end, bounds)).await;
    let (hand, mut taken) = mpsc::channel(1);
    let reader = tokio::spawn(follow(Arc::clone(&log), at.clone(), end, hand));
    let before = resident_bytes();
    write(&*writer, &at, 100 * MEGABYTE).await;
    let grown = resident_bytes().saturating_sub(before);
    eprintln!("100 MB behind a stalled reader: {} KiB more, {} MiB in all", grown / 1024, resident_bytes() / MEGABYTE);
    assert!(grown < 32 * MEGABYTE, "{} KiB", grown / 1024);
    assert!(!reader.is_finished() && taken.len() == 1, "the reader has stalled");
    let first = soon(open).await.unwrap();
    assert_eq!(first.records.first().map(|stored| stored.offset), Some(end));
    let mut read = 0;
    while read < 100 * MEGABYTE / RECORD {
        let fetched: Fetched = soon(taken.recv()).await.unwrap();
        assert_eq!(fetched.lost_until, None);
        read += fetched.records.len();
    }
    assert_eq!(read, 100 * MEGABYTE / RECORD);
    reader.abort();
}

/// Fetches as soon as what it fetched before was taken off its hands.
async fn follow(log: Arc<dyn Log>, at: TopicPartition, mut from: Offset, hand: mpsc::Sender<Fetched>) {
    loop {
        let fetched = log.fetch(&at, from, FetchBounds::waiting(limits::FETCH_WAIT_MAX)).await.unwrap();
        from = fetched.next;
        if hand.send(fetched).await.is_err() {
            return;
        }
    }
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
