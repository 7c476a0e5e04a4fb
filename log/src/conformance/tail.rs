//! Waiting at the end of a partition.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::{Offset, TopicPartition, limits};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Backend;
use super::kit::{Counted, PATIENCE, append, append_numbers, appender, numbers, partition, soon, text, value};
use crate::{FetchBounds, Log};

/// Not before its time, and with where to go on.
pub async fn a_fetch_at_the_end_waits_and_then_answers_empty(backend: &dyn Backend) {
    let (at, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    append(&*writer, &at, [text("before")]).await;
    let end = log.watermarks(&at).await.unwrap().end;
    let wait = Duration::from_millis(150);
    let began = Instant::now();
    let fetched = log.fetch(&at, end, FetchBounds::waiting(wait)).await.unwrap();
    assert!(began.elapsed() >= wait);
    assert!(fetched.records.is_empty());
    assert_eq!((fetched.next, fetched.end), (end, end));
}

/// It is woken when there is something or when its time is up, and not in between to look.
pub async fn who_waits_does_nothing_meanwhile(backend: &dyn Backend) {
    let (at, log) = (partition(backend).await, backend.log());
    let bounds = FetchBounds::waiting(Duration::from_millis(400));
    let mut waiting = Counted::waiting(log.fetch(&at, Offset::ZERO, bounds)).await;
    let fetched = soon(&mut waiting).await.unwrap();
    assert!(fetched.records.is_empty());
    assert!(waiting.polls <= 5, "woken {} times", waiting.polls);
}

/// All of them, each time, long before their time is up.
pub async fn each_commit_wakes_everyone_who_waits(backend: &dyn Backend) {
    const READERS: usize = 5;
    let (at, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    let bounds = FetchBounds::waiting(limits::FETCH_WAIT_MAX);
    let mut from = Offset::ZERO;
    // What it takes to begin with a partition is not what waiting takes.
    log.fetch(&at, from, FetchBounds::waiting(Duration::from_millis(300))).await.unwrap();
    for round in 0..20 {
        let mut waiting = Vec::new();
        for _ in 0..READERS {
            waiting.push(Counted::waiting(log.fetch(&at, from, bounds)).await);
        }
        let (began, news) = (Instant::now(), round.to_string());
        append(&*writer, &at, [text(news.as_str())]).await;
        for reader in &mut waiting {
            let fetched = soon(&mut *reader).await.unwrap();
            assert_eq!(fetched.records.iter().map(value).collect::<Vec<_>>(), [news.as_str()]);
            assert!(reader.polls <= 5, "woken {} times for one commit", reader.polls);
            from = fetched.next;
        }
        assert!(began.elapsed() < limits::FETCH_WAIT_MAX / 3);
    }
}

/// Readers that follow the tail at their own pace while it grows.
pub async fn every_reader_at_a_tail_sees_everything_once(backend: &dyn Backend) {
    const RECORDS: u32 = 300;
    let (at, writer) = (partition(backend).await, appender(backend).await);
    let mut readers = JoinSet::new();
    for pace in 1..=4 {
        readers.spawn(follow(backend.log(), at.clone(), RECORDS as usize, pace));
    }
    append_numbers(&*writer, &at, 0..RECORDS).await;
    for seen in tokio::time::timeout(PATIENCE, readers.join_all()).await.unwrap() {
        assert_eq!(seen, numbers(0..RECORDS));
    }
}

async fn follow(log: Arc<dyn Log>, at: TopicPartition, until: usize, pace: usize) -> Vec<String> {
    let bounds = FetchBounds { records: pace * 3, ..FetchBounds::waiting(limits::FETCH_WAIT_MAX) };
    let (mut from, mut seen) = (Offset::ZERO, Vec::new());
    while seen.len() < until {
        let fetched = log.fetch(&at, from, bounds).await.unwrap();
        assert!(fetched.next >= from);
        seen.extend(fetched.records.iter().map(value));
        from = fetched.next;
    }
    seen
}
