//! A cluster as they are run: three brokers, three copies of which two must be there, and no topic made by itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::Options;
use fpaas_testkit::{Cluster, Dev};
use tokio::time::Instant;

use crate::kafka::dev;
use crate::{LONG, Place};

/// Three brokers beside everything else that runs on this machine.
const PATIENT: Duration = Duration::from_secs(240);

/// Topics with three copies are some work here: an answer that says to ask again is obeyed.
async fn applied(node: &Dev, file: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let output = node.command().args(["apply", "-f", file]).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(());
        }
        ensure!(said.contains("ask again, it does no harm") && began.elapsed() < PATIENT, "{}: {said}", output.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_runs_on_three_brokers_with_three_copies_and_is_read_without_one_of_them() -> Result<()> {
    // On a busy machine a broker may be silent for a while, and a topic takes all three.
    let options = Options::default().property("broker.session.timeout.ms", "30000");
    let Some(cluster) = Cluster::start(3, &options).await else { return Ok(()) };
    let place = Place::new().await?;
    let log = format!("kafka://{}", cluster.bootstrap());
    let node = dev(place.folder.path(), &log)?;
    let looked = async |code: i32, said: &[&str]| {
        let output = node.command().args(["kafka", "check", "--log", &log]).output().await?;
        let lines = String::from_utf8(output.stdout)?;
        ensure!(output.status.code() == Some(code), "{}, and not {code}:\n{lines}", output.status);
        ensure!(said.iter().all(|said| lines.contains(said)), "{said:?} is not said:\n{lines}");
        anyhow::Ok(())
    };
    let copies = "ok     replication     new topics get 3 of 3 copies, 2 of which must be there to write";
    let none = "ok     topics          none of the prefix fpaas yet";
    looked(0, &["3 of 3 accept", "3 of 3 answer", copies, "ok     auto creation   off", none]).await?;

    let mut running = node.start().await?;
    applied(&node, &place.likes().display().to_string()).await?;
    let tail = running.api.tail("like-results", "from=earliest").await;
    let mut tail = tail.with_context(|| running.process.lines().join("\n"))?;
    let read = async {
        for _ in 0..719 {
            tail.next().await?;
        }
        anyhow::Ok(())
    };
    let read = tokio::time::timeout(PATIENT, read).await;
    read.map_err(Into::into).flatten().with_context(|| running.process.lines().join("\n"))?;
    ensure!(running.process.stop(LONG).await?.success());
    looked(0, &["of the prefix fpaas, copies of each: 3"]).await?;

    // Two of three copies are enough to go on; a new topic takes all three brokers.
    cluster.brokers()[2].stop().await?;
    let mut running = node.start().await?;
    let results = running.api.records("like-results").await?;
    ensure!(results.len() == 719, "{} results", results.len());
    ensure!(running.process.stop(LONG).await?.success());
    looked(78, &["2 of 3 accept", "wrong  replication     new topics get 3 copies, and there are 2 brokers"]).await
}
