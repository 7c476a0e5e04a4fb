//! What is one tenant's stands under its name alone, and what is secret stands nowhere: in names of topics, on the
//! disk, in metrics and in what the program says.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fpaas_core::ManualClock;
use fpaas_core::topics::Topics;
use fpaas_log::{Embedded, EmbeddedConfig, Kafka, KafkaConfig, Log};
use fpaas_testkit::dev::Running;
use fpaas_testkit::{Broker, Client, Dev, Receiver, Script};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{KEY, LONG, SECRET, recording};

/// What nobody but their owners and endpoints may see.
const HEADER: &str = "header-credential-7d1f";
const PATH: &str = "path-credential-a83c";
/// What each tenant calls its things.
const TENANTS: [&str; 2] = ["acme", "rival"];

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

/// Two tenants on `dev`, one in a pool of its own: what the metrics and the program say of them.
async fn run(dev: &Dev, receiver: &Receiver) -> Result<Vec<Hidden>> {
    let mut running = dev.start().await?;
    let mut hidden = Vec::new();
    for (tenant, pool) in TENANTS.into_iter().zip([None, Some("_free")]) {
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
    Ok(log.close()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_all_names_of_a_tenant_begin_with_its_prefix() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let receiver = Receiver::start(SECRET, Script::ok()).await?;
    let dev = Dev::new(folder.path(), KEY)?.upstream(recording("max"));
    let dev = dev.arg("--log").arg(format!("kafka://{}", broker.bootstrap())).arg("--topic-prefix").arg("leaks");
    run(&dev, &receiver).await?;
    let topics = Topics::with_prefix("leaks");
    let log: Arc<dyn Log> = Kafka::open(KafkaConfig::new(&broker.bootstrap(), &topics)).await?;
    check_names(&log.list_topics("leaks.").await?, "leaks")
}
