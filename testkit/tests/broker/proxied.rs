//! A broker behind a proxy: clients find no way around it.

use std::time::Duration;

use anyhow::{Result, ensure};
use fpaas_testkit::broker::Options;
use fpaas_testkit::proxy::Way;
use fpaas_testkit::{Broker, Proxy};

use crate::wire::Wire;

const LONG: Duration = Duration::from_secs(20);

// Whoever blocks here must not block the proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_broker_behind_a_proxy_come_through_it() -> Result<()> {
    let proxy = Proxy::start().await?;
    let Some(broker) = Broker::start(&Options::default().behind(proxy.address())).await else { return Ok(()) };
    proxy.forward(broker.address());
    assert_eq!(broker.bootstrap(), proxy.address().to_string());
    let mut client = Wire::to(proxy.address())?;
    client.create("topic", 1)?;
    assert_eq!(client.metadata("topic")?.brokers, [(broker.id(), proxy.address().to_string())]);
    let mut inside = Wire::to(broker.inside().parse()?)?;
    assert_eq!(inside.metadata("topic")?.brokers, [(broker.id(), broker.inside())]);

    // An answer that is lost: the client does not know, and the record is there.
    proxy.hold(Some(Way::Answers));
    let unknown = tokio::task::spawn_blocking(move || client.append("topic", "unknown"));
    proxy.wait(LONG, |counts| counts.held == 1).await?;
    assert_eq!(proxy.cut().await, 1);
    ensure!(unknown.await?.is_err(), "the answer went through");
    ensure!(inside.records("topic")?.contains("unknown"), "the request did not go through");
    Ok(())
}
