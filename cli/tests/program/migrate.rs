//! `fpaas migrate` that cannot be: what is wrong is said, with what to do, and nothing is changed on either side. What
//! it does when it can is tested where it is killed (`crash/migrate`).

use std::path::Path;

use anyhow::{Result, ensure};
use fpaas_testkit::{Broker, Dev, Process};

use crate::{KEY, LONG, Place, recording};

/// It ends with this code and says this.
async fn check(dev: &Dev, arguments: &[&str], code: i32, said: &str) -> Result<()> {
    let mut started = Process::spawn("fpaas migrate", dev.command().arg("migrate").args(arguments))?;
    let status = started.wait(LONG).await?;
    let lines = started.lines().join("\n");
    ensure!(status.code() == Some(code) && lines.contains(said), "{status}, not {code} and {said:?}:\n{lines}");
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_cannot_be_is_refused_and_changes_nothing() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max"));
    let (from, elsewhere) = (text(&dev.data()), text(place.folder.path()));
    // Nothing listens at port 1.
    let nowhere = "kafka://127.0.0.1:1";
    check(&dev, &["--from", &elsewhere, "--to", nowhere], 64, "there is no embedded installation").await?;
    let mut running = dev.start().await?;
    check(&dev, &["--from", &from, "--to", nowhere], 73, "another fpaas is using it").await?;
    ensure!(running.process.stop(LONG).await?.success());
    check(&dev, &["--from", &from, "--to", "embedded"], 64, "--to embedded: must be kafka://HOST:PORT").await?;
    check(&dev, &["--from", &from, "--to", nowhere, "--drain-wait", "x"], 64, "must be a time such as 60s").await?;
    check(&dev, &["--from", &from, "--to", nowhere, "--topic-prefix", "a.b"], 64, "must have no dot").await?;
    check(&dev, &["--from", &from, "--to", nowhere, "--node-id", "a b"], 64, "--node-id a b: must be 1 to 64").await?;
    check(&dev, &["--from", &from, "--to", nowhere, "--abandon"], 64, "no move of").await?;
    check(&dev, &["--from", &from, "--to", nowhere], 69, "check the address in --to").await?;
    ensure!(dev.start().await?.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_to_where_others_are() -> Result<()> {
    let Some(broker) = Broker::shared().await else { return Ok(()) };
    let (place, other) = (Place::new().await?, tempfile::tempdir()?);
    let to = format!("kafka://{}", broker.bootstrap());
    let node = Dev::new(other.path(), KEY)?.upstream(recording("max"));
    let node = node.arg("--log").arg(&to).arg("--topic-prefix").arg("occupied");
    ensure!(node.start().await?.process.stop(LONG).await?.success());

    let dev = place.dev()?.upstream(recording("max"));
    ensure!(dev.start().await?.process.stop(LONG).await?.success());
    let from = text(&dev.data());
    let there = ["--from", &from, "--to", &to, "--topic-prefix", "occupied"];
    check(&dev, &there, 64, "there are topics, such as occupied.").await?;
    ensure!(dev.start().await?.process.stop(LONG).await?.success(), "it does not start as before");
    let free = ["--from", &from, "--to", &to, "--topic-prefix", "was-free"];
    check(&dev, &free, 0, "moved. Go on with").await?;
    check(&dev, &["--from", &from, "--to", &to], 64, "this move began to kafka://").await?;

    // Nor does a second one move to where a first one has.
    let second = Place::new().await?;
    let dev = second.dev()?.upstream(recording("max"));
    ensure!(dev.start().await?.process.stop(LONG).await?.success());
    let from = text(&dev.data());
    let there = ["--from", &from, "--to", &to, "--topic-prefix", "was-free"];
    check(&dev, &there, 64, "another installation moves there, or has").await
}
