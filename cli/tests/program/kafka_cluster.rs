//! A cluster as they are run: three brokers, three copies of which two must be there, and no topic made by itself.

use anyhow::{Result, ensure};
use fpaas_testkit::Cluster;
use fpaas_testkit::broker::Options;

use crate::kafka::{check, dev};
use crate::{LONG, Place};

#[tokio::test(flavor = "multi_thread")]
async fn the_job_runs_on_three_brokers_with_three_copies_and_is_read_without_one_of_them() -> Result<()> {
    let Some(cluster) = Cluster::start(3, &Options::default()).await else { return Ok(()) };
    let place = Place::new().await?;
    let likes = place.likes().display().to_string();
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

    check(&node.clone().arg("--apply").arg(likes).arg("--exit-when-idle"), 0, &["everything is read"]).await?;
    looked(0, &["of the prefix fpaas, copies of each: 3"]).await?;

    // Two of three copies are enough to go on; a new topic takes all three brokers.
    cluster.brokers()[2].stop().await?;
    let mut running = node.start().await?;
    let results = running.api.records("like-results").await?;
    ensure!(results.len() == 719, "{} results", results.len());
    ensure!(running.process.stop(LONG).await?.success());
    looked(78, &["2 of 3 accept", "wrong  replication     new topics get 3 copies, and there are 2 brokers"]).await
}
