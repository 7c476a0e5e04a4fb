//! `fpaas serve` on one node.

use anyhow::{Result, ensure};
use fpaas_testkit::{Recording, Relay, relay};

use super::{LONG, Place};

#[tokio::test]
async fn one_node_does_all_the_work_and_calls_only_networks_that_are_listed() -> Result<()> {
    let place = Place::new().await?;
    let relay = Relay::start(Recording::bundled()?, relay::Script::default()).await?;
    let likes = place.likes().display().to_string();
    let node = place.dev()?.serving().upstream(relay.url());

    // http is refused where no network is listed, with a pointer.
    let mut refused = node.clone().arg("--apply").arg(&likes).spawn()?;
    let status = refused.wait(LONG).await?;
    let said = refused.lines().join("\n");
    ensure!(!status.success() && said.contains("https"), "{status}: {said}");

    let node = node.arg("--allow-webhook-cidr").arg("127.0.0.0/8").arg("--apply").arg(&likes);
    let mut running = node.start().await?;
    let mut tail = running.api.tail("like-results", "from=earliest").await?;
    let read = async {
        for _ in 0..719 {
            tail.next().await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LONG, read).await??;
    let said = running.process.lines().join("\n");
    ensure!(!said.contains(super::KEY), "the key is in the log: {said}");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}
