//! A node whose log is a Kafka cluster: what is wrong with how it was started is said before anything is made.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::{Broker, Dev};

use crate::{KEY, LONG, Place, recording};

/// Starts it, and it ends with this code and says this.
pub(crate) async fn check(dev: &Dev, code: i32, said: &[&str]) -> Result<()> {
    let mut started = dev.spawn()?;
    let status = started.wait(LONG).await?;
    let lines = started.lines().join("\n");
    ensure!(status.code() == Some(code), "{status}, and not {code}:\n{lines}");
    ensure!(said.iter().all(|said| lines.contains(said)), "{said:?} is not said:\n{lines}");
    Ok(())
}

pub(crate) fn dev(folder: &Path, log: &str) -> Result<Dev> {
    Ok(Dev::new(folder, KEY)?.upstream(recording("max")).arg("--log").arg(log))
}

#[tokio::test]
async fn what_is_wrong_with_a_cluster_is_said_and_what_to_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kafka = |argument: &str, value: &str| {
        Ok::<_, anyhow::Error>(dev(folder.path(), "kafka://127.0.0.1:1")?.arg(argument).arg(value))
    };
    check(&dev(folder.path(), "kafka")?, 64, &["--log kafka: must be embedded, or kafka://HOST:PORT"]).await?;
    check(&kafka("--kafka-property", "acks")?, 64, &["--kafka-property: must be NAME=VALUE"]).await?;
    check(&kafka("--kafka-property", "acks=1")?, 64, &["the property acks is set by FPaaS"]).await?;
    check(&kafka("--kafka-property", "no.such=1")?, 64, &["--kafka-property", "no.such"]).await?;
    check(&kafka("--topic-prefix", "a.b")?, 64, &["--topic-prefix a.b: must have no dot"]).await?;
    check(&kafka("--node-id", "a b")?, 64, &["--node-id a b: must be 1 to 64 of the characters"]).await?;
    let forgotten = Dev::new(folder.path(), KEY)?.arg("--node-id").arg("a");
    check(&forgotten, 64, &["--node-id: only with --log kafka://"]).await?;
    let alone = Dev::new(folder.path(), KEY)?.serving().arg("--only").arg("api");
    check(&alone, 64, &["--only: nodes share their work over Kafka"]).await?;
    // Nothing listens at port 1.
    let away = dev(folder.path(), "kafka://127.0.0.1:1")?;
    check(&away, 69, &["no Kafka broker answers at 127.0.0.1:1", "Connection refused", "check the address in --log"])
        .await?;
    ensure!(!away.data().exists(), "a folder was made for nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_kafka_comes_out_right_and_its_folder_is_for_no_other_log() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let place = Place::new().await?;
    let likes = place.likes().display().to_string();
    let log = format!("kafka://{}", broker.bootstrap());
    let node = dev(place.folder.path(), &log)?.arg("--topic-prefix").arg("program").arg("--apply").arg(likes);
    check(&node.clone().arg("--exit-when-idle"), 0, &["everything is read, delivered and committed"]).await?;
    let mut running = node.start().await?;
    let results = running.api.records("like-results").await?;
    ensure!(results.len() == 719, "{} results", results.len());
    ensure!(running.process.stop(LONG).await?.success());

    check(&place.dev()?.upstream(recording("max")), 64, &["is that of a node on Kafka", "--data DIR"]).await?;
    let other = tempfile::tempdir()?;
    let mut embedded = Dev::new(other.path(), KEY)?.upstream(recording("max")).start().await?;
    ensure!(embedded.process.stop(LONG).await?.success());
    check(&dev(other.path(), &log)?, 64, &["is that of a node on an embedded log", "--data DIR"]).await
}

/// Whoever is asked for a subscription's status need not be who works for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_only_serves_the_api_knows_how_subscriptions_fare() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let (place, other) = (Place::new().await?, tempfile::tempdir()?);
    let node = |folder, only| -> Result<Dev> {
        let node = Dev::new(folder, KEY)?.serving().arg("--log").arg(format!("kafka://{}", broker.bootstrap()));
        let node = node.arg("--topic-prefix").arg("asked").arg("--allow-webhook-cidr").arg("127.0.0.0/8");
        Ok(node.arg("--only").arg(only))
    };
    let works = node(place.folder.path(), "ingest,router,dispatcher")?.upstream(recording("max"));
    let mut works = works.start().await?;
    let likes = place.likes().display().to_string();
    let mut asked = node(other.path(), "api")?.arg("--apply").arg(likes).start().await?;
    let fares = async {
        loop {
            let status = asked.api.get("/v1/subscriptions/likes/status").await?;
            let rate = status["rates"]["acknowledged"].as_f64();
            let known = status["counters"]["acknowledged"] == 719 && rate > Some(0.0);
            if known && status["lastOutcome"]["outcome"] == "acknowledged" {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LONG, fares).await.with_context(|| works.process.lines().join("\n"))??;
    ensure!(works.process.stop(LONG).await?.success() && asked.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_checked_as_the_file_of_a_node_says() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let place = Place::new().await?;
    let file = place.folder.path().join("node.yaml");
    std::fs::write(&file, format!("log: kafka://{}\ntopicPrefix: checked\n", broker.bootstrap()))?;
    let checked = async |more: &[&str]| {
        let mut command = place.dev()?.command();
        let output =
            command.args(["kafka", "check", "--config", &file.display().to_string()]).args(more).output().await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        anyhow::Ok((output.status.code(), said))
    };
    let (code, said) = checked(&[]).await?;
    ensure!(code == Some(0) && said.contains("ok     transaction"), "{code:?}: {said}");
    let (code, said) = checked(&["--topic-prefix", "a.b"]).await?;
    ensure!(code == Some(64) && said.contains("--topic-prefix a.b: must have no dot"), "{code:?}: {said}");
    std::fs::write(&file, "log: embedded\n")?;
    let (code, said) = checked(&[]).await?;
    ensure!(code == Some(64) && said.contains("/log embedded: must be kafka://"), "{code:?}: {said}");
    Ok(())
}
