//! What is one tenant's stands under its name alone, and what is secret stands nowhere: in names of topics, groups and
//! transactional ids, in every record and row, on the disk, in metrics and in what the program says.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fpaas_core::topics::Topics;
use fpaas_core::{ManualClock, TopicPartition};
use fpaas_log::{Embedded, EmbeddedConfig, FetchBounds, Kafka, KafkaConfig, Log, Record};
use fpaas_testkit::broker::Which;
use fpaas_testkit::dev::Running;
use fpaas_testkit::{Broker, Client, Dev, Receiver, Script, checkout};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{KEY, LONG, SECRET, recording};

/// What nobody but their owners and endpoints may see.
const HEADER: &str = "header-credential-7d1f";
const PATH: &str = "path-credential-a83c";
/// What each tenant calls its things. The first has a pool of its own, the others share one.
const TENANTS: [&str; 3] = ["acme", "rival", "zenith"];

/// What must stand nowhere of a tenant: its key, and the secret its calls are signed with.
struct Hidden {
    key: String,
    secret: String,
}

/// A tenant with a subscription, results and a topic, all of whose names hold its own.
async fn fill(running: &Running, receiver: &Receiver, tenant: &str, pool: Option<&str>) -> Result<Hidden> {
    let path = format!("/v1/admin/tenants/{tenant}");
    running.api.put(&path, &json!({"pool": pool})).await?;
    let asked = json!({"scopes": ["admin"], "description": format!("of {tenant}")});
    let made = running.api.send(Method::POST, &format!("{path}/keys"), Some(&asked)).await?.ok()?;
    let key = made.get("key").and_then(Value::as_str).context("a key")?.to_owned();
    let api = Client::new(running.api.url(), &key)?;
    let (id, topic) = (format!("{tenant}-likes"), format!("{tenant}-results"));
    let likes = json!({
        "startFrom": "earliest",
        "filter": {"collections": ["app.bsky.feed.like"], "operations": ["create"]},
        "collector": {"maxEvents": 50, "maxWaitMs": 50},
        "processor": {"webhook": {"url": format!("{}{PATH}", receiver.url()), "headers": {"x-key": HEADER}, "secret": SECRET}},
        "output": {"topic": topic},
    });
    api.put(&format!("/v1/subscriptions/{id}"), &likes).await?;
    let rotated = api.send(Method::POST, &format!("/v1/subscriptions/{id}:rotateSecret"), None).await?.ok()?;
    let secret = rotated.get("secret").and_then(Value::as_str).context("a secret")?.to_owned();
    let deadline = tokio::time::Instant::now() + LONG;
    while api.records(&topic).await?.len() < 719 {
        ensure!(tokio::time::Instant::now() < deadline, "{tenant} waits for its results");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Tenants' keys do not open what is the operator's.
    let refused = api.send(Method::GET, "/v1/admin/tenants", None).await?;
    ensure!(refused.status == reqwest::StatusCode::NOT_FOUND, "{}", refused.body);
    Ok(Hidden { key, secret })
}

fn check_names(topics: &[String], prefix: &str) -> Result<()> {
    for tenant in TENANTS {
        let theirs: Vec<_> = topics.iter().filter(|topic| topic.contains(tenant)).collect();
        ensure!(theirs.len() >= 3, "{topics:?}");
        let under = format!("{prefix}.{tenant}.");
        ensure!(theirs.iter().all(|topic| topic.starts_with(&under)), "{theirs:?}");
    }
    Ok(())
}

/// The text of every file below `folder`.
fn disk(folder: &Path) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        all.extend(if path.is_dir() { disk(&path)? } else { std::fs::read(&path)? });
    }
    Ok(all)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The tenants that are named.
fn named(bytes: &[u8]) -> Vec<&'static str> {
    TENANTS.into_iter().filter(|tenant| holds(bytes, tenant)).collect()
}

/// All of a record that somebody may read.
fn bytes_of(record: &Record) -> Vec<u8> {
    let mut bytes = record.key.as_deref().unwrap_or_default().to_vec();
    for (name, value) in record.headers.iter() {
        bytes.extend([b" ", name.as_bytes(), b" ", value].concat());
    }
    bytes.extend([b" ", record.value.as_deref().unwrap_or_default()].concat());
    bytes
}

async fn records(log: &dyn Log, topic: &str) -> Result<Vec<Record>> {
    let spec = log.describe_topic(topic).await?.with_context(|| format!("{topic} is gone"))?;
    let mut found = Vec::new();
    for partition in 0..spec.partitions {
        let at = TopicPartition::new(topic, partition);
        let marks = log.watermarks(&at).await?;
        let mut next = marks.low;
        while next < marks.end {
            let fetched = log.fetch(&at, next, FetchBounds::now()).await?;
            ensure!(fetched.next > next, "{at} does not go on at {next}");
            next = fetched.next;
            found.extend(fetched.records.into_iter().map(|stored| stored.record));
        }
    }
    Ok(found)
}

/// Every record and row of an installation that is stopped names one tenant at most, and under a tenant's name, or
/// that of its own pool, no other. Keys stand nowhere, and what signs in the command that has set it alone.
async fn check_records(log: &dyn Log, prefix: &str, hidden: &[Hidden]) -> Result<()> {
    let topics = Topics::with_prefix(prefix);
    let (mut rows, mut commands) = ([0; TENANTS.len()], 0);
    for topic in log.list_topics(&format!("{prefix}.")).await? {
        // What all commands add up to names everybody.
        if topic == topics.control_snapshot() {
            continue;
        }
        let owner = TENANTS.into_iter().find(|tenant| topic.starts_with(&format!("{prefix}.{tenant}.")));
        let (is_table, is_control) = (topic.contains(".tables."), topic == topics.control());
        for record in records(log, &topic).await? {
            let bytes = bytes_of(&record);
            let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            let those = named(&bytes);
            ensure!(those.len() <= 1, "{topic}: {key} names {those:?}");
            ensure!(owner.is_none() || those.iter().all(|tenant| owner == Some(*tenant)), "{topic}: {key}: {those:?}");
            for ((tenant, of), rows) in TENANTS.iter().zip(hidden).zip(&mut rows) {
                ensure!(!holds(&bytes, of.key.rsplit('_').next().context("a key")?), "{topic}: {key} holds a key");
                if holds(&bytes, &of.secret) {
                    ensure!(is_control && those == [*tenant], "{topic}: {key} holds a secret of {tenant}");
                    commands += 1;
                }
                *rows += usize::from(is_table && those == [*tenant]);
            }
        }
    }
    ensure!(rows.iter().all(|rows| *rows > 0) && commands == TENANTS.len(), "little was read: {rows:?}, {commands}");
    Ok(())
}

/// What one of Kafka's own tools says of the broker.
async fn told(broker: &Broker, class: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let jars = Command::new("bash").arg(checkout().join("scripts/kafka.sh")).arg("jars").output().await?;
    let jars = String::from_utf8(jars.stdout)?;
    let mut tool = Command::new("java");
    tool.args(["-cp", &format!("{}/*", jars.trim()), class, "--bootstrap-server", &broker.inside()]);
    let output = tool.args(arguments).output().await?;
    ensure!(output.status.success(), "{class}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// Groups and transactional ids are those of pools: who shares one is named nowhere.
async fn check_names_of_groups(broker: &Broker) -> Result<()> {
    let groups = told(broker, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &["--list"]).await?;
    let ids = told(broker, "org.apache.kafka.tools.TransactionsCommand", &["list"]).await?;
    for (what, lines) in [("groups", groups), ("transactional ids", ids)] {
        let ours: Vec<_> = lines.iter().filter(|line| line.contains("leaks.")).collect();
        let of = |pool: &str| ours.iter().filter(|line| line.contains(pool)).count();
        ensure!(of("acme") >= 2 && of("_free") >= 2, "{what}: {ours:?}");
        for line in &ours {
            let those = named(line.as_bytes());
            ensure!(those.is_empty() || (those == ["acme"] && !line.contains("_free")), "{what}: {line}");
        }
    }
    Ok(())
}

/// The tenants on `dev`: what the metrics and the program say of them.
async fn run(dev: &Dev, receiver: &Receiver) -> Result<Vec<Hidden>> {
    let mut running = dev.start().await?;
    let mut hidden = Vec::new();
    for (tenant, pool) in TENANTS.into_iter().zip([None, Some("_free"), Some("_free")]) {
        hidden.push(fill(&running, receiver, tenant, pool).await?);
    }
    let metrics = running.api.send(Method::GET, "/metrics", None).await?.body;
    let metrics = metrics.as_str().context("text")?.to_owned();
    for line in metrics.lines().filter(|line| TENANTS.iter().any(|tenant| line.contains(tenant))) {
        let of = |tenant: &str| line.contains(&format!("tenant=\"{tenant}\""));
        let names = |tenant: &str| line.contains(&format!("{tenant}-"));
        ensure!(TENANTS.iter().all(|tenant| of(tenant) == names(tenant)), "{line}");
    }
    ensure!(running.process.stop(LONG).await?.success());
    let said = running.process.lines().join("\n");
    for text in hidden.iter().flat_map(|of| [&*of.key, &*of.secret]).chain([HEADER, PATH, SECRET]) {
        ensure!(!metrics.contains(text), "the metrics hold {text}");
        ensure!(!said.contains(text), "the program has said {text}");
    }
    Ok(hidden)
}

#[tokio::test]
async fn nothing_of_a_tenant_stands_under_another_name_and_no_key_on_the_disk() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let receiver = Receiver::start(SECRET, Script::ok()).await?;
    // Every message there is, those of libraries apart.
    let all = "fpaas_api=trace,fpaas_state=trace,fpaas_router=trace,fpaas_dispatcher=trace,fpaas_log=trace,fpaas=trace";
    let dev = Dev::new(folder.path(), KEY)?.upstream(recording("max")).arg("--messages").arg(all);
    let hidden = run(&dev, &receiver).await?;
    let bytes = disk(&dev.data())?;
    ensure!(holds(&bytes, "acme-results"), "the disk was not read");
    for Hidden { key, .. } in &hidden {
        let secret = key.rsplit('_').next().context("a key")?;
        ensure!(!holds(&bytes, secret), "a key stands on the disk");
    }
    let config = EmbeddedConfig::new(Arc::new(ManualClock::at_micros(0)));
    let log = Embedded::open(&dev.data().join("log"), config)?;
    check_names(&log.list_topics("").await?, "fpaas")?;
    check_records(&*log, "fpaas", &hidden).await?;
    Ok(log.close()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_nothing_of_a_tenant_stands_under_another_name_nor_in_that_of_a_group() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let receiver = Receiver::start(SECRET, Script::ok()).await?;
    let dev = Dev::new(folder.path(), KEY)?.upstream(recording("max"));
    let dev = dev.arg("--log").arg(format!("kafka://{}", broker.bootstrap())).arg("--topic-prefix").arg("leaks");
    let hidden = run(&dev, &receiver).await?;
    let topics = Topics::with_prefix("leaks");
    let log: Arc<dyn Log> = Kafka::open(KafkaConfig::new(&broker.bootstrap(), &topics)).await?;
    check_names(&log.list_topics("leaks.").await?, "leaks")?;
    check_records(&*log, "leaks", &hidden).await?;
    // The tools are in the jars, not in the container.
    if broker.which() == Which::Jars { check_names_of_groups(broker).await } else { Ok(()) }
}
