//! Fifty tenants with pools of their own on one node: what each costs in threads and memory, how soon all have their
//! slots, and what they cost while nothing happens. A broker on the same cores, whose CPU is not counted.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use fpaas_benches::{cpu_of, load};
use fpaas_core::subscription::{Secret, Subscription};
use fpaas_core::topics::Topics;
use fpaas_core::{Clock, Offset, PoolId, SubscriptionId, TenantId};
use fpaas_log::{Kafka, KafkaConfig, Log, TopicSpec};
use fpaas_state::{Board, Change, Command, Context, Control};
use fpaas_testkit::Broker;
use fpaas_testkit::broker::Options;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const POOLS: usize = 50;
const PARTITIONS: u32 = 16;
const LONG: Duration = Duration::from_secs(300);
const IDLE: Duration = Duration::from_secs(20);

/// The machine's.
#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    fn now_micros(&self) -> i64 {
        i64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let Some(broker) = Broker::start(&Options::default().for_speed()).await else { return Ok(()) };
    println!("load when it began: {}; {POOLS} pools\n", load());
    let topics = Topics::default();
    let log: Arc<dyn Log> = Kafka::open(KafkaConfig::new(&broker.bootstrap(), &topics)).await?;
    log.create_topic(&topics.firehose(), &TopicSpec::kept(PARTITIONS)).await?;
    let control = Control::open(Arc::clone(&log), topics.clone(), "bench").await?;
    let context = Context {
        log,
        topics,
        control,
        board: Arc::new(Board::default()),
        clock: Arc::new(WallClock),
        node: "bench".into(),
    };
    let shutdown = CancellationToken::new();
    let (follows, until) = (Arc::clone(&context.control), shutdown.clone());
    let (restored, wait) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let follower = follows.restore().await?;
        let _nobody_waits = restored.send(());
        follower.follow(&until).await
    });
    wait.await?;
    for number in 0..POOLS {
        subscribe(&context, number).await?;
    }
    let (threads, memory) = (status("Threads:")?, status("VmRSS:")?);
    println!("with the log and {POOLS} subscriptions: {threads} threads, {} MB", memory / 1000);

    let began = Instant::now();
    let mut first = start(&context).await?;
    println!("all have their slots after {:.1?}, their topics made among it", began.elapsed());
    first.stop().await?;
    let began = Instant::now();
    let mut again = start(&context).await?;
    println!("all have their slots after {:.1?}, their topics being there", began.elapsed());

    tokio::time::sleep(IDLE / 2).await;
    let before = cpu_of("self");
    tokio::time::sleep(IDLE).await;
    let idle = cpu_of("self").saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64();
    let (all, resident) = (status("Threads:")?, status("VmRSS:")?);
    let each = |all: u64, before: u64| (all.saturating_sub(before)) as f64 / POOLS as f64;
    println!(
        "each: {:.1} threads, {:.1} MB; idle, all of them: {:.1} % of a core",
        each(all, threads),
        each(resident, memory) / 1000.0,
        idle * 100.0
    );
    println!("in all: {all} threads, {} MB", resident / 1000);
    again.stop().await?;
    shutdown.cancel();
    Ok(())
}

/// The stages of all pools.
struct Stages {
    shutdown: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Stages {
    async fn stop(&mut self) -> Result<()> {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Starts the stages of all pools; returns when each has its slots.
async fn start(context: &Context) -> Result<Stages> {
    let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let mut waiting = Vec::new();
    for number in 0..POOLS {
        let pool = PoolId::of_tenant(&tenant(number)?);
        let config = fpaas_router::Config::default();
        let holding = Arc::clone(&config.holding);
        let routes = fpaas_router::run(context.clone(), pool.clone(), config, shutdown.clone());
        tasks.spawn(async move { Ok(routes.await?) });
        let reach = fpaas_dispatcher::Reach::global();
        let endpoints = fpaas_dispatcher::Config {
            reach,
            network: fpaas_dispatcher::Network::default(),
            version: "bench".to_owned(),
            assigned: Arc::default(),
            outside: None,
        };
        let calls = fpaas_dispatcher::run(context.clone(), pool, endpoints, shutdown.clone());
        tasks.spawn(async move { Ok(calls.await?) });
        waiting.push(holding);
    }
    for holding in waiting {
        tokio::time::timeout(LONG, holding.notified()).await.context("a pool has no slots")?;
        if let Some(ended) = tasks.try_join_next() {
            ended??;
            bail!("a stage has ended");
        }
    }
    Ok(Stages { shutdown, tasks })
}

fn tenant(number: usize) -> Result<TenantId> {
    Ok(TenantId::parse(&format!("tenant-{number}"))?)
}

async fn subscribe(context: &Context, number: usize) -> Result<()> {
    let subscription: Subscription = serde_json::from_value(json!({
        "filter": {"collections": ["app.bsky.feed.like"]},
        "processor": {"webhook": {"url": "https://example.com/"}},
    }))?;
    let change = Change::PutSubscription {
        id: SubscriptionId::parse("likes")?,
        subscription,
        secret: Secret::from_bytes(&[7; 24])?,
        starts: vec![Offset::ZERO; PARTITIONS as usize],
    };
    let command = Command::new(format!("command-{number}"), context.clock.now(), tenant(number)?, change);
    context.control.submit(command).await?;
    Ok(())
}

/// A number of this process, from /proc (Linux).
fn status(name: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("the system does not say")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}
