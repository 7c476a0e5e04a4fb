//! Several who change the same subscription at once, while nodes are killed between a command's append, its application
//! and its answer: no change is lost, none is made twice, and all nodes know the same in the end.
//!
//! Each writer reads a counter in the subscription's `metadata` and puts the next number where nothing has changed
//! since (`If-Match`). So the counter says how many were applied: all that were answered, and some whose answer never
//! came.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fpaas_core::Point;
use fpaas_testkit::dev::Running;
use fpaas_testkit::{Client, Dev};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::job::{KEY, LONG, On, crashed, scramble};
use crate::moments::rounds;

const WRITERS: usize = 6;
const PATH: &str = "/v1/subscriptions/counter";
/// How long writers work between two kills.
const BETWEEN: Duration = Duration::from_millis(400);

/// What the writers did.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    /// Answered with success.
    done: AtomicU64,
    /// Answered that somebody else was first.
    late: AtomicU64,
    /// Not answered, or with something that leaves it open.
    open: AtomicU64,
}

/// Nodes, and how each is started.
struct Nodes {
    on: On,
    folders: Vec<TempDir>,
    running: Vec<Option<Running>>,
    /// Where they are reached now.
    clients: Arc<Mutex<Vec<Client>>>,
}

impl Nodes {
    async fn start(on: &On, count: usize) -> Result<Self> {
        let folders = (0..count).map(|_| Ok(tempfile::tempdir()?)).collect::<Result<Vec<_>>>()?;
        let mut nodes =
            Self { on: on.clone(), folders, running: (0..count).map(|_| None).collect(), clients: Arc::default() };
        for node in 0..count {
            nodes.revive(node, None).await?;
        }
        Ok(nodes)
    }

    fn plan(&self, node: usize) -> Result<Dev> {
        let folder = self.folders.get(node).context("no such node")?;
        let dev = Dev::new(folder.path(), KEY)?;
        Ok(match self.on {
            On::Embedded => dev.upstream(format!("file:{}", crate::job::recording().display())),
            On::Kafka(_) => {
                let dev = self.on.arguments(9000).into_iter().fold(dev.serving(), Dev::arg);
                dev.arg("--only").arg("api").arg("--node-id").arg(format!("node{node}"))
            }
        })
    }

    /// Starts a node, which dies at this point for the third time if one is named.
    async fn revive(&mut self, node: usize, point: Option<Point>) -> Result<()> {
        let mut plan = self.plan(node)?;
        if let Some(point) = point {
            plan = plan.env("FPAAS_CRASH_POINT", &format!("{}:3", point.name()));
        }
        let running = plan.start().await?;
        *self.running.get_mut(node).context("no such node")? = Some(running);
        let clients = self.running.iter().flatten().map(|running| running.api.clone()).collect();
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(())
    }

    fn take(&mut self, node: usize) -> Result<Running> {
        self.running.get_mut(node).and_then(Option::take).context("it does not run")
    }

    fn api(&self) -> Result<Client> {
        Ok(self.running.iter().flatten().next().context("no node runs")?.api.clone())
    }

    /// What each of them shows, once it knows of the newest change.
    async fn shown(&self) -> Result<Vec<(Value, Option<String>, [Value; 2])>> {
        let mut shown = Vec::new();
        for running in self.running.iter().flatten() {
            let found = running.api.send(Method::GET, PATH, None).await?;
            // All that it knows, by its hash.
            let state = running.api.get("/v1/admin/control").await?;
            let state = ["revision", "digest"].map(|name| state.get(name).cloned().unwrap_or_default());
            shown.push((found.body, found.etag, state));
        }
        Ok(shown)
    }
}

fn body(count: u64) -> Value {
    json!({
        "metadata": {"count": count.to_string()},
        "processor": {"webhook": {"url": "https://example.com/"}},
        "state": "paused",
    })
}

fn count(of: &Value) -> Result<u64> {
    let count = of.pointer("/metadata/count").and_then(Value::as_str);
    Ok(count.with_context(|| format!("no count in {of}"))?.parse()?)
}

/// Adds one again and again, at whichever node is there.
async fn write(clients: Arc<Mutex<Vec<Client>>>, tally: Arc<Tally>, seed: u64) {
    for step in 0.. {
        if tally.stop.load(Ordering::SeqCst) {
            return;
        }
        let client = {
            let clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
            usize::try_from(scramble(seed + step)).ok().and_then(|at| clients.get(at % clients.len().max(1)).cloned())
        };
        let Some(client) = client else { continue };
        let Ok(found) = client.send(Method::GET, PATH, None).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let (Some(etag), Ok(before)) = (found.etag, count(&found.body)) else { continue };
        let put = client.send_if(Method::PUT, PATH, &etag, Some(&body(before + 1))).await;
        let counter = match put.map(|reply| reply.status) {
            Ok(StatusCode::OK) => &tally.done,
            Ok(StatusCode::PRECONDITION_FAILED) => &tally.late,
            _ => &tally.open,
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

#[expect(clippy::print_stdout, reason = "shown where the test fails, and in make test-crash")]
async fn killed_while_it_is_configured(on: &On, count_of_nodes: usize, kills: u64) -> Result<()> {
    let mut nodes = Nodes::start(on, count_of_nodes).await?;
    nodes.api()?.put(PATH, &body(0)).await?;
    let (tally, mut writers) = (Arc::new(Tally::default()), JoinSet::new());
    for writer in 0..WRITERS {
        writers.spawn(write(Arc::clone(&nodes.clients), Arc::clone(&tally), writer as u64 * 1_000_000));
    }
    for kill in 0..kills {
        let node = usize::try_from(scramble(kill))? % count_of_nodes;
        let before = tally.done.load(Ordering::SeqCst);
        if kill % 3 == 0 {
            tokio::time::sleep(BETWEEN).await;
            nodes.take(node)?.process.kill().await?;
        } else {
            let point = if kill % 3 == 1 { Point::ControlAppended } else { Point::TopicsMissing };
            let stopped = nodes.take(node)?.process.stop(LONG).await?;
            ensure!(stopped.success(), "node {node} ended with {stopped}");
            match nodes.revive(node, Some(point)).await {
                Ok(()) => crashed(&mut nodes.take(node)?.process).await.with_context(|| format!("{point:?}"))?,
                // What others write may take it there before it has said that it is up.
                Err(early) if format!("{early:#}").contains(&format!("crashing at {}", point.name())) => {}
                Err(error) => return Err(error),
            }
        }
        nodes.revive(node, None).await?;
        let done = tally.done.load(Ordering::SeqCst);
        println!("kill {} of {kills}: node {node}, {before}, then {done} changes answered", kill + 1);
    }
    tokio::time::sleep(BETWEEN).await;
    tally.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = writers.join_next().await {
        ended?;
    }
    let [done, late, open] = [&tally.done, &tally.late, &tally.open].map(|counter| counter.load(Ordering::SeqCst));
    let shown = agreed(&nodes).await?;
    let applied = count(&shown)?;
    println!("{applied} applied: {done} answered, {late} came too late, {open} without an answer");
    ensure!(applied >= done, "{done} changes were answered, and {applied} are there");
    ensure!(applied <= done + open, "{applied} changes are there, and at most {} were made", done + open);
    ensure!(late > 0 && done > kills, "the writers did not meet: {late} came too late, {done} were answered");
    Ok(())
}

/// What all nodes show, once they show the same; and the same after each has started again.
async fn agreed(nodes: &Nodes) -> Result<Value> {
    let agreed = async {
        loop {
            let shown = nodes.shown().await?;
            let first = shown.first().context("no node runs")?;
            let (_, etag, [_, digest]) = first;
            if etag.is_some() && digest.is_string() && shown.iter().all(|other| other == first) {
                return anyhow::Ok(first.0.clone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(LONG, agreed).await {
        Ok(agreed) => agreed,
        Err(_) => bail!("the nodes do not agree: {:?}", nodes.shown().await?),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_lost_or_made_twice_by_a_node_that_is_killed_while_it_is_configured() -> Result<()> {
    killed_while_it_is_configured(&On::Embedded, 1, rounds(12)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_are_killed_while_they_are_configured_know_the_same_in_the_end() -> Result<()> {
    let Some(kafka) = On::kafka().await else { return Ok(()) };
    killed_while_it_is_configured(&kafka, 3, rounds(9)).await
}
