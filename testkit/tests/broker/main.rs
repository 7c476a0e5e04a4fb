//! Brokers are real, whichever way they come: they keep what they hold, die as they are told to, and outlive nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod absent;
mod orphans;
mod proxied;
mod wire;

use std::time::Duration;

use anyhow::{Result, ensure};
use fpaas_testkit::broker::{Options, Which};
use fpaas_testkit::{Broker, Cluster};

use wire::Wire;

/// Long for whoever waits for an answer, short for whoever waits for none.
const SILENCE: Duration = Duration::from_millis(700);

fn wire(broker: &Broker) -> Result<Wire> {
    Wire::to(broker.address())
}

/// What every broker must do, wherever it comes from.
async fn check(which: Which) -> Result<()> {
    let Some(broker) = Broker::start(&Options::default().only(which)).await else { return Ok(()) };
    assert_eq!(broker.which(), which);
    assert_eq!(broker.bootstrap(), broker.address().to_string());
    wire(&broker)?.create("kept", 1)?;
    assert_eq!(wire(&broker)?.append("kept", "before the stop")?, 0);
    // It would be 5, no leader yet, where asking creates it.
    assert_eq!(wire(&broker)?.metadata("never-created")?.error, 3);

    broker.stop().await?;
    ensure!(wire(&broker).and_then(|mut wire| wire.api_versions()).is_err(), "a stopped broker answered");
    broker.start_again().await?;
    assert_eq!(wire(&broker)?.append("kept", "before the kill")?, 1);

    broker.kill().await?;
    ensure!(broker.kill().await.is_err(), "a dead broker was killed");
    ensure!(wire(&broker).and_then(|mut wire| wire.api_versions()).is_err(), "a dead broker answered");
    broker.start_again().await?;
    let records = wire(&broker)?.records("kept")?;
    ensure!(records.contains("before the stop") && records.contains("before the kill"), "lost: {records:?}");
    pauses(&broker).await
}

async fn pauses(broker: &Broker) -> Result<()> {
    let mut paused = wire(broker)?;
    paused.api_versions()?;
    broker.pause().await?;
    paused.patience(SILENCE)?;
    ensure!(paused.api_versions().is_err(), "a paused broker answered");
    broker.resume().await?;
    wire(broker)?.api_versions()
}

#[tokio::test]
async fn a_broker_of_a_container_keeps_its_data_at_its_address() -> Result<()> {
    check(Which::Testcontainers).await
}

#[tokio::test]
async fn a_broker_of_the_jars_keeps_its_data_at_its_address() -> Result<()> {
    check(Which::Jars).await
}

#[tokio::test]
async fn tests_share_one_broker() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let again = Broker::shared().await.expect("it was there a moment ago");
    assert!(std::ptr::eq(broker, again));
    wire(broker)?.create("shared", 1)?;
    // A test's runtime ends with it, and the broker must not.
    let other = std::thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(Broker::shared()));
    let other = other.join().expect("the other test").expect("it was there a moment ago");
    assert_eq!(wire(other)?.append("shared", "value")?, 0);
    Ok(())
}

#[tokio::test]
async fn a_cluster_of_three_goes_on_without_its_leader() -> Result<()> {
    let Some(cluster) = Cluster::start(3, &Options::default()).await else { return Ok(()) };
    assert_eq!(cluster.bootstrap().split(',').count(), 3);
    let mut first = wire(&cluster.brokers()[0])?;
    first.create("copied", 3)?;
    let leader = leader(&cluster, "copied", |_| true)?;
    wire(leader)?.append("copied", "before")?;

    leader.kill().await?;
    let next = self::leader(&cluster, "copied", |id| id != leader.id())?;
    assert_eq!(wire(next)?.append("copied", "after")?, 1);
    leader.start_again().await?;
    let records = wire(next)?.records("copied")?;
    ensure!(records.contains("before") && records.contains("after"), "lost: {records:?}");
    Ok(())
}

/// The leader of its partition, once a broker that runs knows one that is wanted.
fn leader<'a>(cluster: &'a Cluster, topic: &str, wanted: impl Fn(i32) -> bool) -> Result<&'a Broker> {
    for _ in 0..600 {
        for broker in cluster.brokers() {
            let Ok(metadata) = wire(broker).and_then(|mut wire| wire.metadata(topic)) else { continue };
            let known = metadata.leaders.first().copied().filter(|id| wanted(*id));
            if let Some(leader) = known.and_then(|id| cluster.broker(id)) {
                return Ok(leader);
            }
        }
        // Another process elects it, and tells who asks.
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("no leader within half a minute")
}

#[tokio::test]
async fn clients_must_log_in_where_the_options_say_so() -> Result<()> {
    let options = Options::default()
        .security("SASL_PLAINTEXT")
        .scram("alice", "secret")
        .property("sasl.enabled.mechanisms", "SCRAM-SHA-512")
        .property("listener.name.client.scram-sha-512.sasl.jaas.config", SCRAM)
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("super.users", "User:ANONYMOUS");
    let Some(broker) = Broker::start(&options).await else { return Ok(()) };
    assert_eq!(wire(&broker)?.sasl("SCRAM-SHA-512")?, 0);
    // 33: unsupported SASL mechanism.
    assert_eq!(wire(&broker)?.sasl("PLAIN")?, 33);
    ensure!(wire(&broker)?.create("closed", 1).is_err(), "whoever has not logged in was served");
    Wire::to(broker.inside().parse()?)?.create("open", 1)
}

const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
