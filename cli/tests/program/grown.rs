//! A firehose on a cluster that is given more partitions, as docs/kafka.md says how: whoever ingests is stopped for it,
//! and whoever reads goes on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::{Options, Which};
use fpaas_testkit::client::Tail;
use fpaas_testkit::{Broker, Dev};

use crate::{KEY, LONG, Place, recording};

/// Added partitions are noticed within a minute.
const NOTICED: Duration = Duration::from_secs(100);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

async fn results(tail: &mut Tail, count: usize) -> Result<()> {
    for number in 0..count {
        let next = tokio::time::timeout(NOTICED, tail.next()).await;
        next.map_err(Into::into).flatten().with_context(|| format!("result {number} of {count}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firehose_that_is_given_more_partitions_is_read_whole_by_nodes_that_go_on() -> Result<()> {
    let Some(broker) = Broker::start(&Options::default().only(Which::Jars)).await else { return Ok(()) };
    let (place, ingesting) = (Place::new().await?, tempfile::tempdir()?);
    let log = format!("kafka://{}", broker.bootstrap());
    let node = |folder, only| -> Result<Dev> {
        let node = Dev::new(folder, KEY)?.serving().arg("--log").arg(&log).arg("--topic-prefix").arg("grown");
        Ok(node.arg("--allow-webhook-cidr").arg("127.0.0.0/8").arg("--only").arg(only))
    };
    let ingest = |pace, partitions| -> Result<Dev> {
        Ok(node(ingesting.path(), "ingest")?.upstream(recording(pace)).arg("--partitions").arg(partitions))
    };
    // Whoever reads makes no firehose.
    let mut first = ingest("2x", "4")?.start().await?;
    let likes = place.likes().display().to_string();
    let mut reading = node(place.folder.path(), "router,dispatcher,api")?.arg("--apply").arg(likes).start().await?;
    let mut tail = reading.api.tail("like-results", "from=earliest").await?;
    results(&mut tail, 100).await?;
    ensure!(first.process.stop(LONG).await?.success());

    broker.tool(TOPICS, &["--alter", "--topic", "grown.firehose", "--partitions", "8"]).await?;
    let mut second = ingest("max", "8")?.start().await?;
    results(&mut tail, 619).await.with_context(|| reading.process.lines().join("\n"))?;
    let status = reading.api.get("/v1/subscriptions/likes/status").await?;
    let read = status["source"]["partitions"].as_array().context("no partitions")?;
    let used = read.iter().filter(|of| of["end"].as_u64() > Some(0)).count();
    ensure!(read.len() == 8 && used == 8, "nothing came to those that were added: {status}");
    ensure!(second.process.stop(LONG).await?.success() && reading.process.stop(LONG).await?.success());

    // What a node has read is read by none that starts after it.
    let reading = node(place.folder.path(), "router,dispatcher,api")?.start().await?;
    let results = reading.api.records("like-results").await?.len();
    ensure!(results == 719, "{results} results");
    Ok(())
}
