//! Clusters that are not as they must be: each is told, with what to do, and nothing is made: no folder, no topic.

#[path = "kafka_input/old.rs"]
mod old;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fpaas_core::topics::Topics;
use fpaas_log::{Kafka, KafkaConfig, Log, TopicSpec};
use fpaas_testkit::broker::Options;
use fpaas_testkit::{Broker, Dev};
use tokio::net::TcpListener;

use crate::kafka::{check, dev};
use crate::{LONG, Place};

/// Another installation on the same cluster, which makes topics under names that are not its own.
async fn other(broker: &Broker) -> Result<Arc<dyn Log>> {
    let config = KafkaConfig::new(&broker.bootstrap(), &Topics::with_prefix("other"));
    Ok(Kafka::open(config).await?)
}

/// It ends with this code and says this, and what there is stays what it was.
async fn refused(log: &Arc<dyn Log>, node: &Dev, prefix: &str, code: i32, said: &[&str]) -> Result<()> {
    let there = log.list_topics(prefix).await?;
    ensure!(!node.data().exists(), "the folder was there before");
    check(node, code, said).await?;
    ensure!(!node.data().exists(), "a folder was made for nothing");
    ensure!(log.list_topics(prefix).await? == there, "topics were made for nothing");
    Ok(())
}

#[tokio::test]
async fn an_address_that_takes_connections_and_never_answers_leaves_nothing_behind() -> Result<()> {
    let (folder, listener) = (tempfile::tempdir()?, TcpListener::bind("127.0.0.1:0").await?);
    let log = format!("kafka://{}", listener.local_addr()?);
    let silent = dev(folder.path(), &log)?;
    check(&silent, 69, &["no Kafka broker answers at 127.0.0.1:", "check the address in --log"]).await?;
    ensure!(!silent.data().exists(), "a folder was made for nothing");
    let output = silent.command().args(["kafka", "check", "--log", &log]).output().await?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(69), "{}: {said}", output.status);
    ensure!(said.contains("ok     addresses") && said.contains("away   brokers"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_a_plain_broker_usable_and_leaves_no_topic_behind() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let (log, folder) = (other(broker).await?, tempfile::tempdir()?);
    let address = format!("kafka://{}", broker.bootstrap());
    let dev = dev(folder.path(), &address)?;
    let arguments = ["kafka", "check", "--log", &address, "--topic-prefix", "checked", "-o", "json"];
    let output = dev.command().args(arguments).output().await?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}: {said}", output.status);
    let lines = said.lines().map(serde_json::from_str::<serde_json::Value>).collect::<Result<Vec<_>, _>>()?;
    let grade = |subject: &str| lines.iter().find(|line| line["subject"] == subject).map(|line| line["grade"].clone());
    for (subject, expected) in [("replication", "warn"), ("creating", "ok"), ("transaction", "ok"), ("clock", "ok")] {
        ensure!(grade(subject) == Some(expected.into()), "{subject}: {said}");
    }
    ensure!(log.list_topics("checked").await?.is_empty(), "topics are left: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_there_with_other_settings_is_told_and_nothing_is_made() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let (log, folder) = (other(broker).await?, tempfile::tempdir()?);
    let address = format!("kafka://{}", broker.bootstrap());
    for (prefix, topic, spec, said) in [
        ("input1", "slots", TopicSpec::kept(3), "the topic input1.slots is there with 3 partitions"),
        ("input2", "fence", TopicSpec::compacted(129), "compacted, and FPaaS needs"),
        ("input3", "ingest", TopicSpec::kept(1), "the topic input3.ingest is there with 1 partitions, not compacted"),
        ("input4", "local.tables.router", TopicSpec::kept(64), "FPaaS needs 64 partitions, compacted"),
        ("input5", "control", TopicSpec::kept(2), "the topic input5.control is there with 2 partitions"),
    ] {
        log.create_topic(&format!("{prefix}.{topic}"), &spec).await?;
        let node = dev(folder.path(), &address)?.arg("--topic-prefix").arg(prefix);
        refused(&log, &node, prefix, 64, &[said, "choose another --topic-prefix"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firehose_keeps_its_partitions_whatever_is_asked_and_one_that_shrank_is_told() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let (log, place, elsewhere) = (other(broker).await?, Place::new().await?, tempfile::tempdir()?);
    let address = format!("kafka://{}", broker.bootstrap());
    let node = dev(place.folder.path(), &address)?.arg("--topic-prefix").arg("shrunk");
    let likes = place.likes().display().to_string();
    let asked = |partitions: &str| node.clone().arg("--partitions").arg(partitions);
    check(&asked("3").arg("--apply").arg(likes).arg("--exit-when-idle"), 0, &["everything is read"]).await?;

    let more = dev(elsewhere.path(), &address)?.arg("--topic-prefix").arg("shrunk").arg("--partitions").arg("4");
    let kept = "--partitions 4: the topic shrunk.firehose has 3 since it was made, which stays";
    refused(&log, &more, "shrunk", 64, &[kept, "leave --partitions out"]).await?;
    check(&asked("3").arg("--exit-when-idle"), 0, &["everything is read"]).await?;

    log.delete_topic("shrunk.firehose").await?;
    log.create_topic("shrunk.firehose", &TopicSpec::kept(2)).await?;
    let there: BTreeSet<_> = log.list_topics("shrunk").await?.into_iter().collect();
    let fewer = "the topic shrunk.firehose has 2 partitions, and had 3 when the subscription likes was made";
    check(&node, 64, &[fewer, "restore it, or choose another --topic-prefix"]).await?;
    ensure!(log.list_topics("shrunk").await?.into_iter().collect::<BTreeSet<_>>() == there);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_too_old_for_exactly_once_are_told() -> Result<()> {
    let front = old::Front::start().await?;
    let options = Options::default().behind(front.address());
    let Some(broker) = Broker::start(&options).await else { return Ok(()) };
    front.forward(broker.address());
    let (folder, address) = (tempfile::tempdir()?, format!("kafka://{}", front.address()));
    let node = dev(folder.path(), &address)?;
    let old = ["are too old, at most 2.3", "TxnOffsetCommit 2 instead of 3", "FPaaS needs 2.5 or later"];
    check(&node, 64, &old).await?;
    ensure!(!node.data().exists(), "a folder was made for nothing");
    let output = node.command().args(["kafka", "check", "--log", &address]).output().await?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(78), "{}: {said}", output.status);
    ensure!(said.contains("wrong  version         Kafka 2.3 is too old"), "{said}");
    ensure!(front.changed() >= 2, "no answer was changed");
    // The same brokers without the disguise.
    let plain = node.command().args(["kafka", "check", "--log", &format!("kafka://{}", broker.inside())]).output();
    let plain = tokio::time::timeout(LONG, plain).await.context("no end")??;
    ensure!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stdout));
    Ok(())
}
