//! The log on Kafka beside librdkafka used by hand with the same settings, on one broker in the same run.
//!
//! The broker runs on the same cores, and its CPU is not counted. The limit is a transactional producer whose queue is
//! served all the time, and a consumer that only counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fpaas_benches::{Cost, Since, load, ratio, report, text, times};
use fpaas_core::topics::Topics;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{FetchBounds, Kafka, KafkaConfig, Lease, Log, MembershipEvent, Record, TopicSpec, Transaction, Writer};
use fpaas_testkit::Broker;
use fpaas_testkit::broker::Options;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset as At, TopicPartitionList};

const RECORDS: u64 = 400_000;
const PER_TRANSACTION: u64 = 500;
/// How many transactions are given to the writer at a time: it commits together what waits.
const AT_A_TIME: u64 = 8;
const BYTES: usize = 1000;
const KEY: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const WAIT: Duration = Duration::from_secs(30);
const SMALL: usize = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let Some(broker) = Broker::start(&Options::default().for_speed()).await else { return };
        println!("load when it began: {}; {RECORDS} records of {BYTES} bytes\n", load());
        let log = Kafka::open(KafkaConfig::new(&broker.bootstrap(), &Topics::default())).await.expect("the log opens");
        for topic in ["raw", "ours"] {
            log.create_topic(topic, &TopicSpec::kept(1)).await.expect("a topic");
        }
        let bootstrap = broker.bootstrap();
        let raw = tokio::task::block_in_place(|| raw(&bootstrap));
        let ours = (append(&log).await, fetch(&log).await);
        ratio("append against raw librdkafka", ours.0, raw.0);
        ratio("fetch against raw librdkafka", ours.1, raw.1);
        println!("\none record a transaction, one after the other");
        tokio::task::block_in_place(|| small_raw(&bootstrap));
        small(&log).await;
    });
}

/// As the log's own writers are set.
fn producer(bootstrap: &str, id: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", bootstrap),
        ("transactional.id", id),
        ("transaction.timeout.ms", "8000"),
        ("message.timeout.ms", "8000"),
        ("retry.backoff.ms", "5"),
        ("linger.ms", "0"),
        ("batch.size", "1000000"),
        ("compression.type", "lz4"),
        ("queue.buffering.max.messages", "1000000"),
    ] {
        config.set(name, value);
    }
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(WAIT).expect("it is initialised");
    producer
}

/// The crate's own commit waits for the queue in steps of 100 ms: it is served here before. Its poll never sleeps for
/// less than a millisecond and returns no sooner, so it is not left to wait.
fn finish(producer: &BaseProducer) {
    loop {
        producer.poll(Duration::ZERO);
        if producer.in_flight_count() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    producer.commit_transaction(WAIT).expect("a commit");
}

fn raw(bootstrap: &str) -> (Cost, Cost) {
    let producer = producer(bootstrap, "raw");
    let values: Vec<_> = (0..1000).map(|n| text(n, BYTES)).collect();
    let start = Since::now();
    for first in (0..RECORDS).step_by((PER_TRANSACTION * AT_A_TIME) as usize) {
        producer.begin_transaction().expect("it begins");
        for n in first..first + PER_TRANSACTION * AT_A_TIME {
            let record = BaseRecord::to("raw").partition(0).key(KEY).payload(&values[(n % 1000) as usize]);
            producer.send(record).expect("it is queued");
        }
        finish(&producer);
    }
    let append = start.cost();
    report("raw librdkafka: transactions by hand", RECORDS, "records", append);

    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "raw").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("check.crcs", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("raw", 0, At::Beginning).expect("an offset");
    let start = Since::now();
    consumer.assign(&list).expect("it is assigned");
    let mut read = 0;
    while read < RECORDS {
        read += u64::from(consumer.poll(Duration::from_secs(5)).is_some_and(|record| record.is_ok()));
    }
    let fetch = start.cost();
    report("raw librdkafka: a consumer that counts", RECORDS, "records", fetch);
    (append, fetch)
}

async fn append(log: &Arc<Kafka>) -> Cost {
    let writer = log.writer("bench", None).await.expect("a writer");
    let (at, values) = (TopicPartition::new("ours", 0), (0..1000).map(|n| text(n, BYTES).into()));
    let values: Vec<bytes::Bytes> = values.collect();
    let start = Since::now();
    for first in (0..RECORDS).step_by((PER_TRANSACTION * AT_A_TIME) as usize) {
        let given = (0..AT_A_TIME).map(|number| {
            let from = first + number * PER_TRANSACTION;
            let mut transaction = Transaction::new();
            for n in from..from + PER_TRANSACTION {
                let value = Some(values[(n % 1000) as usize].clone());
                transaction.append(at.clone(), Record { key: Some(KEY.into()), value, ..Record::default() });
            }
            let writer = Arc::clone(&writer);
            tokio::spawn(async move { writer.commit(transaction).await.expect("a commit") })
        });
        for given in given.collect::<Vec<_>>() {
            given.await.expect("a commit");
        }
    }
    let append = start.cost();
    report("ours: commit", RECORDS, "records", append);
    append
}

async fn fetch(log: &Arc<Kafka>) -> Cost {
    let (at, bounds) = (TopicPartition::new("ours", 0), FetchBounds { wait: WAIT, ..FetchBounds::now() });
    let (start, mut next, mut read) = (Since::now(), Offset::ZERO, 0u64);
    while read < RECORDS {
        let fetched = log.fetch(&at, next, bounds).await.expect("a fetch");
        read += fetched.records.len() as u64;
        next = fetched.next;
    }
    let fetch = start.cost();
    report("ours: fetch", RECORDS, "records", fetch);
    fetch
}

fn small_raw(bootstrap: &str) {
    let producer = producer(bootstrap, "raw-small");
    let one = |finish: &dyn Fn(&BaseProducer)| {
        let start = Instant::now();
        producer.begin_transaction().expect("it begins");
        producer.send(BaseRecord::to("raw").partition(0).key(KEY).payload("x")).expect("it is queued");
        finish(&producer);
        start.elapsed()
    };
    let as_it_comes = |producer: &BaseProducer| producer.commit_transaction(WAIT).expect("a commit");
    println!("raw, the crate's commit_transaction   {}", times((0..50).map(|_| one(&as_it_comes)).collect()));
    println!("raw, its queue served by hand         {}", times((0..SMALL).map(|_| one(&finish)).collect()));
}

async fn small(log: &Arc<Kafka>) {
    let alone = log.writer("bench-small", None).await.expect("a writer");
    println!("ours, a record                        {}", times(commits(&*alone, None).await));
    let mut membership = log.join("bench.group", "bench").await.expect("a member");
    let writer = log.writer("bench-member", Some(&membership)).await.expect("a writer");
    let lease = loop {
        if let Some(MembershipEvent::Assigned(leases)) = membership.next().await {
            break leases.first().expect("a lease").clone();
        }
    };
    println!("ours, a record and a position, fenced {}", times(commits(&*writer, Some(&lease)).await));
}

async fn commits(writer: &dyn Writer, lease: Option<&Lease>) -> Vec<Duration> {
    let (at, mut taken) = (TopicPartition::new("ours", 0), Vec::new());
    for n in 0..SMALL {
        let mut transaction = lease.map_or_else(Transaction::new, Transaction::under);
        transaction.append(at.clone(), Record { value: Some("x".into()), ..Record::default() });
        if lease.is_some() {
            transaction.advance(at.clone(), Offset(n as u64), bytes::Bytes::new());
        }
        let start = Instant::now();
        writer.commit(transaction).await.expect("a commit");
        taken.push(start.elapsed());
    }
    taken
}
