//! The embedded log beside RocksDB used by hand on the same machine in the same run.
//!
//! The limit is a bare `WriteBatch` of the same records in the same grouping, and a bare iterator over them.

use std::sync::Arc;
use std::time::Duration;

use fpaas_benches::{Cost, Since, cost, ratio, report, text, times};
use fpaas_core::{Clock, HeadersBuilder, ManualClock, Offset, TopicPartition};
use fpaas_log::{Embedded, EmbeddedConfig, FetchBounds, Fsync, Log, Record, TopicSpec, Transaction};

const RECORDS: u64 = 400_000;
const PER_TRANSACTION: u64 = 500;
const BYTES: usize = 1000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let raw = raw();
    runtime.block_on(async {
        for fsync in [Fsync::Never, Fsync::Interval(Duration::from_millis(50))] {
            println!(
                "\nembedded, fsync {fsync:?}, {RECORDS} records of {BYTES} bytes, {PER_TRANSACTION} a transaction"
            );
            let ours = embedded(fsync).await;
            ratio("append against raw RocksDB", ours.0, raw.0);
            ratio("fetch against a raw iterator", ours.1, raw.1);
        }
        commits().await;
    });
}

fn raw() -> (Cost, Cost) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    let db = rocksdb::DB::open(&options, folder.path()).expect("raw RocksDB opens");
    let values: Vec<_> = (0..1000).map(|n| text(n, BYTES)).collect();
    let ((), append) = cost(|| {
        for transaction in 0..RECORDS / PER_TRANSACTION {
            let mut batch = rocksdb::WriteBatch::default();
            for n in transaction * PER_TRANSACTION..(transaction + 1) * PER_TRANSACTION {
                batch.put(n.to_be_bytes(), &values[usize::try_from(n % 1000).expect("small")]);
            }
            db.write(batch).expect("raw RocksDB writes");
        }
    });
    report("raw RocksDB: write batches", RECORDS, "records", append);
    let (read, fetch) = cost(|| db.iterator(rocksdb::IteratorMode::Start).filter(|item| item.is_ok()).count());
    assert_eq!(read as u64, RECORDS);
    report("raw RocksDB: iterate", RECORDS, "records", fetch);
    (append, fetch)
}

async fn open(fsync: Fsync) -> (tempfile::TempDir, Arc<Embedded>) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at_micros(1));
    let config = EmbeddedConfig { fsync, ..EmbeddedConfig::new(clock) };
    let log = Embedded::open(folder.path(), config).expect("the log opens");
    (folder, log)
}

async fn embedded(fsync: Fsync) -> (Cost, Cost) {
    let (_folder, log) = open(fsync).await;
    let at = TopicPartition::new("t", 0);
    log.create_topic("t", &TopicSpec::kept(1)).await.expect("a topic");
    let writer = log.writer("bench", None).await.expect("a writer");
    let headers = HeadersBuilder::new().with("kind", "commit").with("collection", "app.bsky.feed.like").build();
    let values: Vec<bytes::Bytes> = (0..1000).map(|n| text(n, BYTES).into()).collect();
    let start = Since::now();
    for transaction in 0..RECORDS / PER_TRANSACTION {
        let mut batch = Transaction::new();
        for n in transaction * PER_TRANSACTION..(transaction + 1) * PER_TRANSACTION {
            let value = values[usize::try_from(n % 1000).expect("small")].clone();
            let key = Some("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".into());
            batch.append(at.clone(), Record { key, value: Some(value), headers: headers.clone(), ..Record::default() });
        }
        writer.commit(batch).await.expect("a commit");
    }
    let append = start.cost();
    report("embedded: commit", RECORDS, "records", append);
    let start = Since::now();
    let (mut next, mut read) = (Offset::ZERO, 0u64);
    loop {
        let fetched = log.fetch(&at, next, FetchBounds::now()).await.expect("a fetch");
        read += fetched.records.len() as u64;
        next = fetched.next;
        if next == fetched.end {
            break;
        }
    }
    assert_eq!(read, RECORDS);
    let fetch = start.cost();
    report("embedded: fetch", RECORDS, "records", fetch);
    (append, fetch)
}

/// How long one small transaction takes, one after the other.
async fn commits() {
    println!("\none record a transaction, one after the other");
    for fsync in [Fsync::Never, Fsync::Interval(Duration::from_millis(50)), Fsync::Always] {
        let (_folder, log) = open(fsync).await;
        log.create_topic("t", &TopicSpec::kept(1)).await.expect("a topic");
        let writer = log.writer("bench", None).await.expect("a writer");
        let mut taken = Vec::new();
        for n in 0..2000 {
            let mut transaction = Transaction::new();
            transaction.append(
                TopicPartition::new("t", 0),
                Record { value: Some(text(n, BYTES).into()), ..Record::default() },
            );
            let start = std::time::Instant::now();
            writer.commit(transaction).await.expect("a commit");
            taken.push(start.elapsed());
        }
        println!("fsync {fsync:?}: {}", times(taken));
    }
}
