//! A topic that is deleted and made again is another one, at every node: nothing of the old one is read, and no id
//! comes twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::client::Tail;
use fpaas_testkit::dev::Running;
use fpaas_testkit::{Broker, Client, Dev};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{KEY, LONG, Place, SECRET, recording};

const LIKES: usize = 719;
/// A name is taken until no node can be about to remove what had it.
const FREED: Duration = Duration::from_secs(240);

/// The ids of the records that these results came of.
async fn ids(tail: &mut Tail) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for number in 0..LIKES {
        let next = tokio::time::timeout(LONG, tail.next()).await;
        let result = next.map_err(Into::into).flatten().with_context(|| format!("result {number} of {LIKES}"))?;
        let result = result.context("the tail ended")?;
        let id = result.value.get("id").and_then(Value::as_str).context("a result of no event")?;
        ensure!(found.insert(id.to_owned()), "{id} came twice");
    }
    Ok(found)
}

async fn delete(api: &Client, path: &str) -> Result<()> {
    let reply = api.send(Method::DELETE, path, None).await?;
    ensure!(reply.status.is_success(), "{path}: {reply:?}");
    Ok(())
}

/// Of what the likes give: a second subscription reads their results.
async fn subscribe(place: &Place, likes: &Client, second: &Client) -> Result<()> {
    let webhook = json!({"url": place.receiver.url(), "secret": SECRET});
    let filter = json!({"collections": ["app.bsky.feed.like"], "operations": ["create"]});
    let of_firehose = json!({"startFrom": "earliest", "filter": filter, "processor": {"webhook": webhook},
        "output": {"topic": "like-results"}});
    likes.put("/v1/subscriptions/likes", &of_firehose).await?;
    let of_results = json!({"startFrom": "earliest", "source": {"topic": "like-results"},
        "processor": {"webhook": webhook}, "output": {"topic": "out"}});
    second.put("/v1/subscriptions/second", &of_results).await?;
    Ok(())
}

/// Waits until the name can be used again.
async fn freed(api: &Client, path: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let reply = api.send(Method::PUT, path, Some(&json!({}))).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        ensure!(reply.status == 409 && began.elapsed() < FREED, "{path}: {reply:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn remade(place: &Place, nodes: &[Running]) -> Result<()> {
    let (first, last) = (&nodes.first().context("a node")?.api, &nodes.last().context("a node")?.api);
    subscribe(place, first, last).await?;
    let mut tail = last.tail("out", "from=earliest").await?;
    let before = ids(&mut tail).await?;
    let used = first.send(Method::DELETE, "/v1/topics/like-results", None).await?;
    ensure!(used.status == 409, "{used:?}");
    delete(last, "/v1/subscriptions/second").await?;
    delete(first, "/v1/subscriptions/likes").await?;
    delete(last, "/v1/topics/like-results").await?;
    freed(first, "/v1/topics/like-results").await?;
    ensure!(last.records("like-results").await?.is_empty(), "something of the old one is there");
    subscribe(place, last, first).await?;
    let after = ids(&mut tail).await?;
    let twice: Vec<_> = after.intersection(&before).take(3).collect();
    ensure!(twice.is_empty(), "records of both are called the same: {twice:?}");
    // What is behind the last record, a cluster's control records, is passed a little later.
    let began = Instant::now();
    loop {
        let status = first.get("/v1/subscriptions/second/status").await?;
        if status.get("lag") == Some(&json!({"source": 0, "deliveries": 0, "redrive": 0})) {
            break;
        }
        ensure!(began.elapsed() < LONG, "{status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(first.records("out").await?.len() == 2 * LIKES, "more came than that");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_node_a_topic_that_is_made_again_is_another_one() -> Result<()> {
    let place = Place::new().await?;
    let mut node = place.dev()?.upstream(recording("max")).start().await?;
    remade(&place, std::slice::from_ref(&node)).await.with_context(|| node.process.lines().join("\n"))?;
    ensure!(node.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: make test-nodes"]
async fn on_two_nodes_of_a_cluster_a_topic_that_is_made_again_is_another_one() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let (place, other) = (Place::new().await?, tempfile::tempdir()?);
    let node = |folder| -> Result<Dev> {
        let node = Dev::new(folder, KEY)?.serving().arg("--log").arg(format!("kafka://{}", broker.bootstrap()));
        Ok(node.arg("--topic-prefix").arg("remade").arg("--allow-webhook-cidr").arg("127.0.0.0/8"))
    };
    let first = node(place.folder.path())?.upstream(recording("max")).start().await?;
    let second = node(other.path())?.arg("--only").arg("router,dispatcher,api").start().await?;
    let mut nodes = [first, second];
    let said = |nodes: &[Running]| nodes.iter().flat_map(|node| node.process.lines()).collect::<Vec<_>>().join("\n");
    remade(&place, &nodes).await.with_context(|| said(&nodes))?;
    for node in &mut nodes {
        ensure!(node.process.stop(LONG).await?.success());
    }
    Ok(())
}
