//! A topic of a Kafka broker in, something out, exactly once: through a filter into another topic, and through a
//! filter, batches of 100 and a webhook. `fpaas serve` as a person runs it, a broker on the same cores, an endpoint
//! that answers at once.
//!
//! Everything is per event that comes in. The limit is a consumer that reads the same topic and only counts. The peers'
//! figures for the same work are Bento's and Redpanda Connect's, which do it at least once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fpaas_benches::{Since, endpoint, load, report, text};
use fpaas_testkit::broker::Options;
use fpaas_testkit::dev::Running;
use fpaas_testkit::process::Usage;
use fpaas_testkit::{Broker, Dev};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset as At, TopicPartitionList};
use serde_json::json;

const EVENTS: u64 = 1_000_000;
const PARTITIONS: i32 = 4;
const BYTES: usize = 950;
/// Of a hundred events.
const MATCHING: u64 = 70;
const LONG: Duration = Duration::from_secs(600);
const KEY: &str = "bench-key-0123456789";
const TOPIC: &str = "source";

#[tokio::main]
async fn main() -> Result<()> {
    let Some(broker) = Broker::start(&Options::default().for_speed()).await else { return Ok(()) };
    println!("load when it began: {}; {EVENTS} events of 1 kB, of which {MATCHING} % match\n", load());
    let folder = tempfile::tempdir()?;
    let node = |only: &str| -> Result<Dev> {
        let dev = Dev::new(folder.path(), KEY)?.serving().arg("--only").arg(only);
        let dev = dev.arg("--log").arg(format!("kafka://{}", broker.bootstrap()));
        Ok(dev.arg("--allow-webhook-cidr").arg("127.0.0.0/8"))
    };
    let mut first = node("api")?.start().await?;
    first.api.put(&format!("/v1/topics/{TOPIC}"), &json!({"partitions": PARTITIONS})).await?;
    ensure!(first.process.stop(LONG).await?.success(), "it does not stop");
    let name = format!("fpaas.local.t.{TOPIC}");
    let bootstrap = broker.bootstrap();
    tokio::task::block_in_place(|| fill(&bootstrap, &name).and_then(|()| limit(&bootstrap, &name)))?;

    let mut running = node("api,router")?.start().await?;
    let wanted = job(&running, "filter", "http://127.0.0.1:9/").await?;
    let read = async || -> Result<bool> {
        let status = running.api.get("/v1/subscriptions/filter/status").await?;
        Ok(status["lag"]["source"] == 0 && status["counters"]["matched"].as_u64() == Some(wanted.matching))
    };
    done("topic, filter, topic", &running, &wanted, read).await?;
    running.api.send(reqwest::Method::DELETE, "/v1/subscriptions/filter", None).await?.ok()?;
    ensure!(running.process.stop(LONG).await?.success(), "it does not stop");

    let (address, counts) = endpoint::start().await?;
    let mut running = node("api,router,dispatcher")?.start().await?;
    let wanted = job(&running, "call", &format!("http://{address}/")).await?;
    let called = async || -> Result<bool> { Ok(counts.events.load(Ordering::Relaxed) >= wanted.matching) };
    done("topic, filter, batch 100, webhook", &running, &wanted, called).await?;
    let calls = counts.calls.load(Ordering::Relaxed);
    println!("{:<44} {calls} calls", "");
    ensure!(running.process.stop(LONG).await?.success(), "it does not stop");
    Ok(())
}

/// What is asked for, and since when.
struct Wanted {
    matching: u64,
    since: Instant,
    before: Usage,
}

async fn job(running: &Running, id: &str, url: &str) -> Result<Wanted> {
    let subscription = json!({
        "source": {"topic": TOPIC}, "startFrom": "earliest", "lanes": PARTITIONS,
        "filter": {"match": format!("n < `{MATCHING}`")},
        "collector": {"maxEvents": 100, "maxWaitMs": 100},
        "processor": {"webhook": {"url": url}},
    });
    // It has joined its groups and is at rest.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (since, before) = (Instant::now(), running.process.usage().context("the process is not measured")?);
    running.api.put(&format!("/v1/subscriptions/{id}"), &subscription).await?;
    Ok(Wanted { matching: EVENTS / 100 * MATCHING, since, before })
}

async fn done(name: &str, running: &Running, wanted: &Wanted, over: impl AsyncFn() -> Result<bool>) -> Result<()> {
    while !over().await? {
        ensure!(wanted.since.elapsed() < LONG, "it does not end: {}", running.process.lines().join("\n"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (wall, usage) = (wanted.since.elapsed(), running.process.usage().context("the process is not measured")?);
    let cpu = usage.cpu.saturating_sub(wanted.before.cpu);
    println!(
        "{name:<44} {:>12.0} events/s   {:>7.2} CPU-s per million   {} MB peak",
        EVENTS as f64 / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / EVENTS as f64,
        usage.memory_peak / 1_000_000,
    );
    Ok(())
}

fn fill(bootstrap: &str, topic: &str) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("compression.type", "lz4").set("linger.ms", "5");
    config.set("queue.buffering.max.messages", "1000000");
    let producer: BaseProducer = config.create()?;
    for n in 0..EVENTS {
        let text = String::from_utf8(text(n % 1000, BYTES))?;
        let (event, key) = (json!({"n": n % 100, "text": text}).to_string(), format!("did:plc:{:024}", n % 5000));
        let partition = i32::try_from(n % 4)?;
        while producer.send(BaseRecord::to(topic).partition(partition).key(&key).payload(&event)).is_err() {
            producer.poll(Duration::from_millis(10));
        }
    }
    Ok(producer.flush(LONG)?)
}

fn limit(bootstrap: &str, topic: &str) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "limit").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("check.crcs", "false");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, At::Beginning)?;
    }
    let start = Since::now();
    consumer.assign(&list)?;
    let mut read = 0;
    while read < EVENTS {
        read += u64::from(consumer.poll(Duration::from_secs(5)).is_some_and(|record| record.is_ok()));
    }
    report("limit: a consumer that counts", EVENTS, "events", start.cost());
    Ok(())
}
