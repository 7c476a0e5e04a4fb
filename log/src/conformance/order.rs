//! Order inside a partition.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::Backend;
use super::kit::{append, append_numbers, appender, appending, numbers, partition, read, text, value, values};

/// What one writer commits one after the other is read in that order, and receipts name the offsets.
pub async fn records_are_read_in_the_order_they_were_committed(backend: &dyn Backend) {
    let (at, writer) = (partition(backend).await, appender(backend).await);
    let mut offsets = append_numbers(&*writer, &at, 0..20).await;
    offsets.extend(append(&*writer, &at, (20..40).map(|n| text(n.to_string()))).await);
    let records = read(&*backend.log(), &at).await;
    assert_eq!(records.iter().map(value).collect::<Vec<_>>(), numbers(0..40));
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), offsets);
    assert!(offsets.is_sorted_by(|a, b| a < b));
}

/// A caller that gives a commit before the one before it is answered finds both in the order given.
pub async fn commits_of_one_caller_keep_their_order(backend: &dyn Backend) {
    let (at, writer) = (partition(backend).await, appender(backend).await);
    let commit = |n: u32| writer.commit(appending(&at, [text(n.to_string())]));
    for start in (0..40).step_by(4) {
        let answers = tokio::join!(commit(start), commit(start + 1), commit(start + 2), commit(start + 3));
        assert!(answers.0.is_ok() && answers.1.is_ok() && answers.2.is_ok() && answers.3.is_ok());
    }
    assert_eq!(values(&*backend.log(), &at).await, numbers(0..40));
}

/// Many writers at once: each one's records are all there, once, in its order.
pub async fn concurrent_writers_lose_and_double_nothing(backend: &dyn Backend) {
    const EACH: u32 = 50;
    let at = partition(backend).await;
    let mut tasks = JoinSet::new();
    for writer_number in 0..8 {
        let (at, writer) = (at.clone(), appender(backend).await);
        tasks.spawn(async move {
            for n in 0..EACH {
                append(&*writer, &at, [text(format!("{writer_number} {n}"))]).await;
            }
        });
    }
    tasks.join_all().await;
    let mut of_writer: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for record in values(&*backend.log(), &at).await {
        let (writer, n) = record.split_once(' ').unwrap();
        of_writer.entry(writer.to_owned()).or_default().push(n.parse().unwrap());
    }
    assert_eq!(of_writer.len(), 8);
    assert!(of_writer.values().all(|numbers| numbers.iter().copied().eq(0..EACH)), "{of_writer:?}");
}
