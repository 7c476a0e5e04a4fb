//! A firehose on a cluster that is given more partitions, as docs/kafka.md says how.

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::{Options, Which};
use fpaas_testkit::{Broker, Dev};

use crate::{KEY, LONG, Place, recording};

const PREFIX: &str = "grown";

#[tokio::test(flavor = "multi_thread")]
async fn a_firehose_that_is_given_more_partitions_is_read_whole() -> Result<()> {
    let Some(broker) = Broker::start(&Options::default().only(Which::Jars)).await else { return Ok(()) };
    let place = Place::new().await?;
    let node = |pace| -> Result<Dev> {
        let dev = Dev::new(place.folder.path(), KEY)?.upstream(recording(pace)).arg("--topic-prefix").arg(PREFIX);
        Ok(dev.arg("--log").arg(format!("kafka://{}", broker.bootstrap())))
    };
    let mut running = node("2x")?.arg("--apply").arg(place.likes().display().to_string()).start().await?;
    let mut tail = running.api.tail("like-results", "from=earliest").await?;
    for _ in 0..100 {
        tokio::time::timeout(LONG, tail.next()).await.context("the job does not begin")??;
    }
    ensure!(running.process.stop(LONG).await?.success());

    let firehose = format!("{PREFIX}.firehose");
    let more = ["--alter", "--topic", &firehose, "--partitions", "8"];
    broker.tool("org.apache.kafka.tools.TopicCommand", &more).await?;
    let mut last = node("max")?.arg("--exit-when-idle").spawn()?;
    ensure!(last.wait(LONG).await?.success(), "{}", last.lines().join("\n"));

    let mut running = node("max")?.start().await?;
    let results = running.api.records("like-results").await?.len();
    ensure!(results == 719, "{results} results");
    let status = running.api.get("/v1/subscriptions/likes/status").await?;
    let read = status["source"]["partitions"].as_array().context("no partitions")?;
    let used = read.iter().filter(|of| of["end"].as_u64() > Some(0)).count();
    ensure!(read.len() == 8 && used == 8, "nothing came to those that were added: {status}");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}
