//! Several nodes that share one job over Kafka, each a process that can be killed, stopped and started again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::dev::Running;
use fpaas_testkit::openmetrics::parse;
use fpaas_testkit::{Client, Dev};

use crate::job::{Job, KEY, LONG, committed};

/// How often something that takes a while is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a node counts as it works, whichever part of the work it has.
const WORK: [&str; 3] = ["fpaas_ingest_events", "fpaas_router_matched_records", "fpaas_webhook_calls"];
/// The last of it.
pub(crate) const CALLS: &str = WORK[2];

/// The nodes of one job. A node that does not run has no process.
pub(crate) struct Fleet {
    pub(crate) job: Job,
    session: Duration,
    nodes: Vec<Option<Running>>,
}

impl Fleet {
    /// Starts so many nodes with sessions of this length, and the job on them.
    pub(crate) async fn start(job: Job, nodes: usize, session: Duration) -> Result<Self> {
        let mut fleet = Self { job, session, nodes: (0..nodes).map(|_| None).collect() };
        for node in 0..nodes {
            fleet.revive(node).await?;
        }
        fleet.api()?.put("/v1/subscriptions/likes", &fleet.job.likes()).await?;
        Ok(fleet)
    }

    /// How node `node` is started.
    pub(crate) fn plan(&self, node: usize) -> Result<Dev> {
        let folder = self.job.folder.path().join(format!("node{node}"));
        let session = self.session.as_millis();
        let dev = self.job.on(Dev::new(&folder, KEY)?.serving());
        Ok(["--allow-webhook-cidr", "127.0.0.0/8", "--node-id", &format!("node{node}")]
            .into_iter()
            .chain(["--kafka-property", &format!("session.timeout.ms={session}")])
            .fold(dev, |dev, argument| dev.arg(argument)))
    }

    /// Starts a node that does not run.
    pub(crate) async fn revive(&mut self, node: usize) -> Result<()> {
        let plan = self.plan(node)?;
        self.run(node, &plan).await
    }

    /// The same, by a plan of its own.
    pub(crate) async fn run(&mut self, node: usize, plan: &Dev) -> Result<()> {
        let running = plan.start().await?;
        let seat = self.nodes.get_mut(node).context("no such node")?;
        ensure!(seat.is_none(), "node {node} runs already");
        *seat = Some(running);
        Ok(())
    }

    /// One more, which is not started yet: its number.
    pub(crate) fn add(&mut self) -> usize {
        self.nodes.push(None);
        self.nodes.len() - 1
    }

    /// The process of a node that runs.
    pub(crate) fn node(&mut self, node: usize) -> Result<&mut Running> {
        self.nodes.get_mut(node).and_then(Option::as_mut).with_context(|| format!("node {node} does not run"))
    }

    /// It runs no more: it was killed, or has ended.
    pub(crate) fn gone(&mut self, node: usize) -> Option<Running> {
        self.nodes.get_mut(node)?.take()
    }

    /// SIGTERM: it ends by itself, and well.
    pub(crate) async fn stop(&mut self, node: usize) -> Result<()> {
        let mut running = self.gone(node).with_context(|| format!("node {node} does not run"))?;
        let status = running.process.stop(LONG).await?;
        ensure!(status.success(), "node {node} ended with {status}:\n{}", running.process.lines().join("\n"));
        Ok(())
    }

    /// The API of some node but `but`.
    pub(crate) fn api_but(&self, but: Option<usize>) -> Result<Client> {
        let others = self.nodes.iter().enumerate().filter(|(node, _)| Some(*node) != but);
        let api = others.filter_map(|(_, running)| Some(running.as_ref()?.api.clone())).next();
        api.context("no node runs")
    }

    /// The API of some node.
    pub(crate) fn api(&self) -> Result<Client> {
        self.api_but(None)
    }

    /// The upstream's `seq` up to which all is committed, as the node knows it that ingests.
    pub(crate) async fn cursor(&self) -> Result<u64> {
        let known = async {
            loop {
                for node in 0..self.nodes.len() {
                    let cursor = self.counted(node, &["fpaas_ingest_upstream_cursor"]).await.unwrap_or_default();
                    if cursor >= 1.0 {
                        return cursor as u64;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let waited = tokio::time::timeout(LONG, known).await;
        waited.with_context(|| format!("no node ingests:\n{}", self.said()))
    }

    /// What a node has counted under `names` so far.
    pub(crate) async fn counted(&self, node: usize, names: &[&str]) -> Result<f64> {
        let running = self.nodes.get(node).and_then(Option::as_ref).context("it does not run")?;
        let http = reqwest::Client::builder().no_proxy().timeout(LONG).build()?;
        let answer = http.get(format!("{}/metrics", running.api.url())).send().await?.error_for_status()?;
        let families = parse(&answer.text().await?)?;
        let of = |name: &&str| families.get(*name).into_iter().flat_map(|family| family.samples.iter());
        Ok(names.iter().flat_map(of).map(|sample| sample.value).sum())
    }

    /// Waits until a node is seen working: a fault that hits it then hits work under way.
    pub(crate) async fn busy(&self, node: usize) -> Result<()> {
        let before = self.counted(node, &WORK).await.with_context(|| self.said())?;
        let works = async {
            while self.counted(node, &WORK).await? <= before {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        let waited = tokio::time::timeout(LONG, works).await.unwrap_or_else(|_| Err(anyhow::anyhow!("nothing to do")));
        waited.with_context(|| format!("node {node} is not seen working:\n{}", self.said()))
    }

    /// Waits until more than `than` results are committed, read at a node but `but`: how many.
    pub(crate) async fn more(&self, than: u64, but: Option<usize>) -> Result<u64> {
        let api = self.api_but(but)?;
        let more = async {
            loop {
                // While the brokers are away the API says so.
                match committed(&api).await {
                    Ok(count) if count > than => return count,
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        };
        let waited = tokio::time::timeout(LONG, more).await;
        waited.map_err(|_| anyhow::anyhow!("no more than {than} results within {LONG:?}:\n{}", self.said()))
    }

    /// The end of what each node has said.
    pub(crate) fn said(&self) -> String {
        let said = |(node, running): (usize, &Option<Running>)| {
            let lines = running.as_ref().map(|running| running.process.lines()).unwrap_or_default();
            let lines: Vec<_> = lines.into_iter().filter(|line| !line.contains("brokers are down")).collect();
            let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
            format!("--- node {node}\n{last}")
        };
        self.nodes.iter().enumerate().map(said).collect::<Vec<_>>().join("\n")
    }

    /// Every node stops by itself, and gives the job back.
    pub(crate) async fn end(mut self) -> Result<Job> {
        for node in 0..self.nodes.len() {
            if self.nodes.get(node).is_some_and(Option::is_some) {
                self.stop(node).await?;
            }
        }
        Ok(self.job)
    }
}
