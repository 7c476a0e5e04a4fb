//! Several tenants in one installation: each has all that is its own, whenever it was made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_core::ManualClock;
use fpaas_log::{Embedded, EmbeddedConfig, Log as _};
use fpaas_testkit::dev::Running;
use fpaas_testkit::receiver::Call;
use fpaas_testkit::{Answer, Client, Dev, Oracle, Receiver, Script};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{KEY, LONG, SECRET, recording};

/// A tenant, its key, and the endpoint of its likes.
struct Tenant {
    name: &'static str,
    key: String,
    api: Client,
    receiver: Receiver,
}

impl Tenant {
    /// Made in an installation that runs.
    async fn new(running: &Running, name: &'static str, pool: Option<&str>) -> Result<Self> {
        let (path, body) = (format!("/v1/admin/tenants/{name}"), json!({"pool": pool}));
        running.api.put(&path, &body).await?;
        let asked = json!({"scopes": ["admin"]});
        let made = running.api.send(Method::POST, &format!("{path}/keys"), Some(&asked)).await?.ok()?;
        let key = made.get("key").and_then(Value::as_str).context("a key")?.to_owned();
        let receiver = Receiver::start(SECRET, Script::ok()).await?;
        Ok(Self { name, api: Client::new(running.api.url(), &key)?, key, receiver })
    }

    /// Where the installation is after another start.
    fn move_to(&mut self, running: &Running) -> Result<()> {
        self.api = Client::new(running.api.url(), &self.key)?;
        Ok(())
    }

    async fn subscribe(&self, fields: Value) -> Result<()> {
        let mut likes = json!({
            "startFrom": "earliest",
            "filter": {"collections": ["app.bsky.feed.like"], "operations": ["create"]},
            "collector": {"maxEvents": 50, "maxWaitMs": 50},
            "processor": {"webhook": {"url": self.receiver.url(), "secret": SECRET}},
        });
        let (likes_fields, more) = (likes.as_object_mut().context("an object")?, fields);
        likes_fields.extend(more.as_object().cloned().unwrap_or_default());
        self.api.put("/v1/subscriptions/likes", &likes).await.map(drop)
    }

    async fn has_all(&self) -> Result<()> {
        let all = Oracle::bundled()?.likes();
        let got = |calls: &[Call]| calls.iter().flat_map(Call::event_ids).collect::<BTreeSet<_>>();
        let calls = self.receiver.wait(LONG, |calls| got(calls).len() >= all.len()).await;
        let calls = calls.with_context(|| format!("{} waits", self.name))?;
        ensure!(got(&calls) == all, "{} has other likes", self.name);
        Ok(())
    }

    /// How many there are in its topic.
    async fn results(&self) -> Result<usize> {
        Ok(self.api.records("like-results").await?.len())
    }
}

/// Every topic of an installation that is stopped.
async fn topics(folder: &TempDir) -> Result<Vec<String>> {
    let config = EmbeddedConfig::new(Arc::new(ManualClock::at_micros(0)));
    let log = Embedded::open(&dev(folder)?.data().join("log"), config)?;
    let topics = log.list_topics("fpaas.").await?;
    log.close()?;
    Ok(topics)
}

fn dev(folder: &TempDir) -> Result<Dev> {
    Dev::new(folder.path(), KEY)
}

/// An upstream that is never there.
const SILENT: &str = "ws://127.0.0.1:9";

#[tokio::test]
async fn each_tenant_gets_all_of_it_and_a_run_is_over_when_both_have() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut running = dev(&folder)?.upstream(SILENT).start().await?;
    let mut tenants =
        [Tenant::new(&running, "acme", None).await?, Tenant::new(&running, "other", Some("_free")).await?];
    for tenant in &tenants {
        tenant.subscribe(json!({"output": {"topic": "like-results"}})).await?;
    }
    ensure!(running.process.stop(LONG).await?.success());
    // One is done long before the other.
    tenants[1].receiver.set_script(Script::new(|_| Answer::Slow(Duration::from_millis(150))));
    let mut process = dev(&folder)?.upstream(recording("max")).arg("--exit-when-idle").spawn()?;
    ensure!(process.wait(LONG).await?.success(), "{}", process.lines().join("\n"));
    for tenant in &tenants {
        let got: BTreeSet<_> = tenant.receiver.calls().iter().flat_map(Call::event_ids).collect();
        ensure!(got == Oracle::bundled()?.likes(), "{}: {} likes", tenant.name, got.len());
    }

    let running = dev(&folder)?.upstream(SILENT).start().await?;
    for tenant in &mut tenants {
        tenant.move_to(&running)?;
        let (results, name) = (tenant.results().await?, tenant.name);
        ensure!(results == 719, "{name}: {results}");
        let status = tenant.api.get("/v1/subscriptions/likes/status").await?;
        ensure!(status["lag"] == json!({"source": 0, "deliveries": 0, "redrive": 0}), "{name}: {status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_is_made_while_the_node_runs_is_served_and_one_that_is_gone_is_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut running = dev(&folder)?.upstream(recording("max")).start().await?;
    let acme = Tenant::new(&running, "acme", None).await?;
    let shares = Tenant::new(&running, "shares", Some("_free")).await?;
    for tenant in [&acme, &shares] {
        tenant.subscribe(json!({"output": {"topic": "like-results"}})).await?;
        tenant.has_all().await?;
    }
    // Without a topic of its own it can be removed, and made again while its pool stops.
    for _ in 0..2 {
        let brief = Tenant::new(&running, "brief", None).await?;
        brief.subscribe(json!({})).await?;
        brief.has_all().await?;
        let kept = running.api.send(Method::DELETE, "/v1/admin/tenants/brief", None).await?;
        ensure!(kept.status == StatusCode::CONFLICT, "{}", kept.body);
        brief.api.send(Method::DELETE, "/v1/subscriptions/likes", None).await?.ok()?;
        running.api.send(Method::DELETE, "/v1/admin/tenants/brief", None).await?.ok()?;
        let refused = brief.api.send(Method::GET, "/v1/subscriptions", None).await?;
        ensure!(refused.status == StatusCode::UNAUTHORIZED, "{}", refused.body);
    }
    let metrics = running.api.send(Method::GET, "/metrics", None).await?.body.to_string();
    for labels in [r#"tenant=\"acme\""#, r#"tenant=\"shares\""#] {
        ensure!(metrics.contains(labels), "{labels} in {metrics}");
    }
    // The topics of both go once nobody works for them any more.
    let removed = |line: &str| line.contains("removed the topics of a deleted subscription").then_some(());
    let first = running.process.lines().iter().position(|line| removed(line).is_some()).unwrap_or_default();
    running.process.line(first, LONG, removed).await?;
    running.process.line(first + 1, LONG, removed).await?;
    ensure!(running.process.stop(LONG).await?.success());
    let said = running.process.lines().join("\n");
    ensure!(said.matches("its last tenant is gone").count() == 2, "{said}");
    let topics = topics(&folder).await?;
    for tenant in ["acme", "shares"] {
        let theirs: Vec<_> = topics.iter().filter(|topic| topic.starts_with(&format!("fpaas.{tenant}."))).collect();
        ensure!(theirs.iter().any(|topic| topic.ends_with(".t.like-results")), "{topics:?}");
        ensure!(theirs.iter().any(|topic| topic.contains(".d.likes.")), "{topics:?}");
    }
    ensure!(!topics.iter().any(|topic| topic.contains(".d.likes.") && topic.contains("brief")), "{topics:?}");
    Ok(())
}
