//! Three brokers with three copies, and each of them is killed once while the job runs: whatever it led (partitions,
//! groups, transactions, the cluster) is led by another one from then on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::Options;
use fpaas_testkit::{Cluster, Dev};
use tokio::time::Instant;

use crate::fleet::Fleet;
use crate::job::{Job, KEY, LONG, On};

/// Slow enough that it outlasts three elections.
const PACE: &str = "0.25x";
const SESSION: Duration = Duration::from_secs(6);
/// Three brokers beside everything else that runs on this machine make topics with three copies.
const PATIENT: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: make test-nodes"]
async fn a_job_goes_on_without_each_of_three_brokers_in_turn() -> Result<()> {
    let options = Options::default().property("group.min.session.timeout.ms", "1000");
    let Some(cluster) = Cluster::start(3, &options).await else { return Ok(()) };
    let job = Job::new(&On::Kafka(cluster.bootstrap()), 4000, PACE).await?.with_lanes(4)?;
    make_topics(&job).await?;
    let fleet = Fleet::start(job, 2, SESSION).await?;
    let mut before = fleet.more(0, None).await?;
    for (number, broker) in cluster.brokers().iter().enumerate() {
        fleet.busy(number % 2).await?;
        let killed = Instant::now();
        broker.kill().await?;
        let went_on = fleet.more(before, None).await.with_context(|| format!("without broker {}", broker.id()))?;
        println!("broker {} killed at {before}: {went_on} results after {:.1?}", broker.id(), killed.elapsed());
        broker.start_again().await?;
        before = fleet.more(went_on, None).await.with_context(|| format!("broker {} is back", broker.id()))?;
    }
    let said = fleet.said();
    let mut job = fleet.end().await?;
    job.hurry();
    println!("719 results, 0 lost, 0 doubled, {}", job.finish().await.context(said)?);
    Ok(())
}

/// A node that makes the topics and goes: who is told that their leaders take their time asks again.
async fn make_topics(job: &Job) -> Result<()> {
    let began = Instant::now();
    let maker = job.on(Dev::new(&job.folder.path().join("maker"), KEY)?.serving());
    let maker = maker.arg("--only").arg("api").arg("--allow-webhook-cidr").arg("127.0.0.0/8");
    let mut running = loop {
        match maker.start().await {
            Err(error) if format!("{error:#}").contains("its leaders do not serve it yet") => {
                ensure!(began.elapsed() < PATIENT, "{error:#}");
            }
            started => break started?,
        }
    };
    while let Err(error) = running.api.put("/v1/subscriptions/likes", &job.likes()).await {
        ensure!(began.elapsed() < PATIENT, "{error:#}");
    }
    ensure!(running.process.stop(LONG).await?.success(), "{}", running.process.lines().join("\n"));
    Ok(())
}
