//! What a crash, a power cut or a bad disk leaves of an embedded log, and what an open makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fpaas_core::{Offset, TopicPartition};
use fpaas_log::conformance::kit::{append, fetch, read, text, value};
use fpaas_log::{Embedded, EmbeddedConfig, Error, Fsync, Log, Result, TopicSpec, Transaction};
use tempfile::TempDir;

use crate::history::{TRANSACTIONS, config, cut, fill, flip, places, punch, runtime, scattered, whole_transactions};

/// A log that was killed after `fill`.
async fn killed(fsync: Fsync) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(&folder.path().join("live"), config(fsync)).unwrap();
    fill(&log).await;
    let copy = folder.path().join("killed");
    crate::support::copy(&folder.path().join("live"), &copy);
    (folder, copy)
}

fn newest(folder: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(folder.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|found| found == extension));
    files.filter(|path| fs::metadata(path).unwrap().len() > 0).max().unwrap()
}

/// A changed copy of a folder, opened. The folder goes with it.
fn reopen(from: &Path, fsync: Fsync, change: impl FnOnce(&Path)) -> (Result<Arc<Embedded>>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("log");
    crate::support::copy(from, &copy);
    change(&copy);
    (Embedded::open(&copy, config(fsync)), folder)
}

#[test]
fn a_log_cut_at_any_byte_is_a_prefix_of_whole_transactions() {
    let runtime = runtime();
    let (_folder, killed) = runtime.block_on(killed(Fsync::Always));
    let length = fs::metadata(newest(&killed, "log")).unwrap().len();
    let mut found = BTreeSet::new();
    for at in scattered(150, length as usize) {
        let (log, _copy) = reopen(&killed, Fsync::Always, |folder| cut(&newest(folder, "log"), at as u64));
        found.insert(runtime.block_on(whole_transactions(&log.unwrap())));
    }
    assert!(found.len() > 80, "the cuts fell at many transactions: {found:?}");
    let (whole, _copy) = reopen(&killed, Fsync::Always, |_| ());
    assert_eq!(runtime.block_on(whole_transactions(&whole.unwrap())), TRANSACTIONS);
}

#[test]
fn a_log_that_was_cut_goes_on_and_survives_the_next_kill() {
    let runtime = runtime();
    let (folder, killed) = runtime.block_on(killed(Fsync::Always));
    cut(&newest(&killed, "log"), fs::metadata(newest(&killed, "log")).unwrap().len() - 3);
    let log = Embedded::open(&killed, config(Fsync::Always)).unwrap();
    let again = folder.path().join("again");
    runtime.block_on(async {
        assert_eq!(whole_transactions(&log).await, TRANSACTIONS - 1);
        let writer = log.writer("writer", None).await.unwrap();
        append(&*writer, &places()[0], [text("after")]).await;
        crate::support::copy(&killed, &again);
        let log = Embedded::open(&again, config(Fsync::Always)).unwrap();
        let values: Vec<_> = read(&*log, &places()[0]).await.iter().map(value).collect();
        assert_eq!(values.len(), TRANSACTIONS as usize);
        assert_eq!(values.last().unwrap(), "after");
    });
}

#[test]
fn a_flipped_bit_with_synced_transactions_behind_it_stops_the_open() {
    let runtime = runtime();
    let (_folder, killed) = runtime.block_on(killed(Fsync::Always));
    let length = fs::metadata(newest(&killed, "log")).unwrap().len() as usize;
    let mut stopped = 0;
    for (n, at) in scattered(200, length).enumerate() {
        let (opened, _copy) = reopen(&killed, Fsync::Always, |folder| flip(&newest(folder, "log"), at, 1 << (n % 8)));
        match opened {
            Err(error) => {
                assert!(matches!(&error, Error::Fatal(message) if message.contains("is damaged")), "{error}");
                stopped += 1;
            }
            // The last transaction cannot be told from a torn tail; everything before it is there.
            Ok(log) => {
                let left = runtime.block_on(whole_transactions(&log));
                assert!(left >= TRANSACTIONS - 1, "the flip at {at} of {length} left {left}");
            }
        }
    }
    assert!(stopped > 190, "{stopped}");
}

#[test]
fn a_hole_in_what_was_never_synced_is_cut_to_a_prefix() {
    let runtime = runtime();
    let (_folder, killed) = runtime.block_on(killed(Fsync::Never));
    let length = fs::metadata(newest(&killed, "log")).unwrap().len() as usize;
    let mut found = BTreeSet::new();
    for (n, at) in scattered(80, length).enumerate() {
        let zeros = n * 7919 % 70_000;
        let (log, _copy) = reopen(&killed, Fsync::Never, |folder| punch(&newest(folder, "log"), at, zeros));
        found.insert(runtime.block_on(whole_transactions(&log.unwrap())));
    }
    assert!(found.len() > 40, "the holes fell at many transactions: {found:?}");
}

/// RocksDB itself passes over zeros where a record should begin, if the next of its blocks begins with one: it would go
/// on with the transactions behind them.
#[test]
fn a_hole_between_two_transactions_is_cut_though_rocksdb_passes_over_it() {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    let log = Embedded::open(&live, config(Fsync::Never)).unwrap();
    let before = runtime.block_on(fill_up_to_a_block(&log, || fs::metadata(newest(&live, "log")).unwrap().len()));
    let end = before.next_multiple_of(BLOCK);
    let (log, _copy) = reopen(&live, Fsync::Never, |folder| {
        punch(&newest(folder, "log"), before as usize, (end - before) as usize);
    });
    let values = runtime.block_on(async { read(&*log.unwrap(), &TopicPartition::new("a", 0)).await });
    assert_eq!(values.iter().map(value).collect::<Vec<_>>().last().unwrap(), "before");
}

/// RocksDB's `kBlockSize`.
const BLOCK: u64 = 32 * 1024;

/// A record "before", one that ends with its block of the log, and more behind it; where the first ends.
async fn fill_up_to_a_block(log: &Embedded, length: impl Fn() -> u64) -> u64 {
    log.create_topic("a", &TopicSpec::kept(1)).await.unwrap();
    let (at, writer) = (TopicPartition::new("a", 0), log.writer("writer", None).await.unwrap());
    let measured = length();
    append(&*writer, &at, [text("x".repeat(1000))]).await;
    let overhead = length() - measured - 1000;
    append(&*writer, &at, [text("before")]).await;
    let before = length();
    let left = before.next_multiple_of(BLOCK) - before - overhead;
    // Two of them: the lengths in front of a value grow above 16 KiB.
    let (one, other) = (left / 2, left - left / 2 - overhead);
    for size in [one, other] {
        append(&*writer, &at, [text("y".repeat(size as usize))]).await;
    }
    assert_eq!(length() % BLOCK, 0);
    for _ in 0..5 {
        append(&*writer, &at, [text("behind")]).await;
    }
    before
}

#[test]
fn a_flipped_bit_in_a_sorted_file_is_fatal_and_never_another_record() {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let small = EmbeddedConfig { write_buffer_bytes: 64 * 1024, ..config(Fsync::Never) };
    let expected = runtime.block_on(async {
        let log = Embedded::open(&path, small.clone()).unwrap();
        fill(&log).await;
        let expected = read(&*log, &places()[1]).await;
        log.close().unwrap();
        expected
    });
    let length = fs::metadata(newest(&path, "sst")).unwrap().len() as usize;
    let mut fatal = 0;
    for number in 1..60 {
        let at = length * number / 60;
        let (opened, _copy) = reopen(&path, Fsync::Never, |folder| flip(&newest(folder, "sst"), at, 4));
        let found = match opened {
            Ok(log) => runtime.block_on(read_all(&*log, &places()[1])),
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => assert_eq!(found, expected, "a part of the file that this partition does not need"),
            Err(error) => {
                assert!(matches!(&error, Error::Fatal(message) if message.contains("is damaged")), "{error}");
                fatal += 1;
            }
        }
    }
    assert!(fatal > 20, "{fatal}");
}

async fn read_all(log: &dyn Log, at: &TopicPartition) -> Result<Vec<fpaas_log::Stored>> {
    let (mut from, mut records) = (Offset::ZERO, Vec::new());
    loop {
        let fetched = log.fetch(at, from, fpaas_log::FetchBounds::now()).await?;
        records.extend(fetched.records);
        from = fetched.next;
        if fetched.next == fetched.end {
            return Ok(records);
        }
    }
}

#[tokio::test]
async fn a_log_that_found_damage_refuses_everything_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let small = EmbeddedConfig { write_buffer_bytes: 64 * 1024, ..config(Fsync::Never) };
    let log = Embedded::open(&path, small.clone()).unwrap();
    fill(&log).await;
    log.close().unwrap();
    drop(log);
    let files = fs::read_dir(path.join("db")).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "sst")) {
        flip(&file, 300, 255);
    }
    let Ok(log) = Embedded::open(&path, small) else { return };
    let writer = log.writer("writer", None).await.unwrap();
    let mut broken = false;
    for at in places() {
        broken |= read_all(&*log, &at).await.is_err();
    }
    assert!(broken);
    let rejected = writer.commit(Transaction::new()).await.unwrap_err();
    assert!(matches!(rejected.error, Error::Fatal(message) if message.contains("is damaged")));
    assert!(matches!(log.list_topics("").await, Err(Error::Fatal(_))));
}

#[tokio::test]
async fn a_fetch_after_a_clean_close_finds_everything() {
    let folder = tempfile::tempdir().unwrap();
    for fsync in [Fsync::Always, Fsync::Never, Fsync::Interval(std::time::Duration::from_millis(1))] {
        let path = folder.path().join(format!("{fsync:?}"));
        let log = Embedded::open(&path, config(fsync)).unwrap();
        fill(&log).await;
        log.close().unwrap();
        assert!(matches!(log.list_topics("").await, Err(Error::Fatal(message)) if message == "the log is closed"));
        drop(log);
        let log = Embedded::open(&path, config(fsync)).unwrap();
        assert_eq!(whole_transactions(&log).await, TRANSACTIONS);
        assert_eq!(fetch(&*log, &places()[0], Offset(5)).await.records[0].offset, Offset(5));
    }
}
