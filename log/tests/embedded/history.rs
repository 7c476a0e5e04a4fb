//! A history of transactions by which a reader knows whether it has a prefix of it, and ways to hurt a file.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::{Clock, ManualClock, Offset, TopicPartition};
use fpaas_log::conformance::kit::{assigned, position, read, text, value};
use fpaas_log::{Embedded, EmbeddedConfig, Fsync, Log, TopicSpec, Transaction};

pub(crate) const TRANSACTIONS: u32 = 120;

pub(crate) fn config(fsync: Fsync) -> EmbeddedConfig {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at_micros(1_700_000_000_000_000));
    EmbeddedConfig { fsync, ..EmbeddedConfig::new(clock) }
}

pub(crate) fn places() -> [TopicPartition; 3] {
    [TopicPartition::new("a", 0), TopicPartition::new("a", 1), TopicPartition::new("b", 0)]
}

/// Transactions of records of several sizes in three partitions, each with the position it accounts for.
pub(crate) async fn fill(log: &Embedded) {
    fill_and(log, || ()).await;
}

/// The same, doing something after each.
pub(crate) async fn fill_and(log: &Embedded, mut after_each: impl FnMut()) {
    let [a0, a1, b0] = places();
    log.create_topic("a", &TopicSpec::kept(2)).await.unwrap();
    log.create_topic("b", &TopicSpec::kept(1)).await.unwrap();
    let mut membership = log.join("group", "member").await.unwrap();
    let writer = log.writer("writer", Some(&membership)).await.unwrap();
    let leases = assigned(&mut membership).await;
    for n in 0..TRANSACTIONS {
        let mut transaction = Transaction::under(&leases[0]);
        transaction.append(a0.clone(), text(n.to_string()));
        transaction.append(a1.clone(), text(format!("{n} {}", "x".repeat((n as usize * 977) % 9000))));
        transaction.append(b0.clone(), text(n.to_string()));
        transaction.advance(b0.clone(), Offset(u64::from(n) + 1), Bytes::new());
        writer.commit(transaction).await.unwrap();
        after_each();
    }
}

/// How many transactions are there, each as a whole and none after a missing one.
pub(crate) async fn whole_transactions(log: &Embedded) -> u32 {
    let [a0, a1, b0] = places();
    let mut counts = Vec::new();
    for at in [&a0, &a1, &b0] {
        let values: Vec<_> = match log.watermarks(at).await {
            Ok(_) => read(log, at).await.iter().map(value).collect(),
            Err(_not_made_yet) => Vec::new(),
        };
        for (n, value) in values.iter().enumerate() {
            assert_eq!(value.split(' ').next(), Some(n.to_string().as_str()), "{at}");
        }
        counts.push(values.len() as u64);
    }
    let moved = position(log, "group", &b0).await.map_or(0, |position| position.offset.0);
    assert!(counts.iter().all(|count| *count == moved), "{counts:?} {moved}");
    moved as u32
}

pub(crate) fn cut(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

pub(crate) fn flip(file: &Path, at: usize, mask: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= mask;
    fs::write(file, bytes).unwrap();
}

/// So many places all over `length`, none at a regular distance.
pub(crate) fn scattered(count: usize, length: usize) -> impl Iterator<Item = usize> {
    let step = length / count;
    (0..count).map(move |n| n * step + n * 7919 % step)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn punch(file: &Path, at: usize, zeros: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes.iter_mut().skip(at).take(zeros).for_each(|byte| *byte = 0);
    fs::write(file, bytes).unwrap();
}
