//! The dispatcher by itself, on the embedded log: how many calls and events a second it makes of what is in a lane's
//! deliveries, beside a bare HTTP client that posts as many bodies of the same size; how long it takes from an append
//! to the request; and what five hundred endpoints that never answer do to one that does.
//!
//! Everything runs in this process, the endpoint too, so that its CPU is in all figures alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use fpaas_benches::{Since, endpoint, load, peak_memory_of, report, text, times};
use fpaas_core::subscription::{Secret, Subscription};
use fpaas_core::topics::Topics;
use fpaas_core::{Clock, HeadersBuilder, PoolId, SubscriptionId, TenantId, TopicPartition};
use fpaas_dispatcher::{Config, Network, Reach};
use fpaas_log::embedded::EmbeddedConfig;
use fpaas_log::{Embedded, Log as _, Record, Transaction, Writer};
use fpaas_state::{Board, Change, Command, Context, Control};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const TENANT: &str = "local";
const KEYS: u64 = 5000;
const BYTES: usize = 950;
/// Connections of the bare client, and the most calls a lane makes at a time.
const CONNECTIONS: u64 = 64;
const LONG: Duration = Duration::from_secs(300);
const HANGING: usize = 500;

/// The machine's.
#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    fn now_micros(&self) -> i64 {
        i64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
    }
}

/// An embedded log, its control view, and a dispatcher of the tenant's pool once it is started.
struct World {
    log: Arc<Embedded>,
    writer: Arc<dyn Writer>,
    context: Context,
    shutdown: CancellationToken,
    tasks: JoinSet<Result<()>>,
    _folder: tempfile::TempDir,
}

#[tokio::main]
async fn main() -> Result<()> {
    println!("load when it began: {}; events of 1 kB under {KEYS} keys, one lane\n", load());
    for (wait, events) in [(0, 400_000), (20, 200_000), (200, 40_000)] {
        for batch in [1, 100, 1000] {
            let events = if batch == 1 { events / 20 } else { events };
            rate(batch, Duration::from_millis(wait), events).await?;
        }
    }
    latency().await?;
    hanging().await
}

/// So many events in batches of `batch` to an endpoint that answers after `wait`.
async fn rate(batch: u64, wait: Duration, events: u64) -> Result<()> {
    let (address, _) = endpoint::after(wait).await?;
    let name = format!("batch {batch}, {wait:.0?}: bare client, {CONNECTIONS} connections");
    let body = Bytes::from(text(1, usize::try_from(batch)? * (BYTES + 180)));
    let start = Since::now();
    bare(address, events / batch, body).await?;
    let limit = start.cost();
    report(&name, events, "events", limit);

    let (address, counts) = endpoint::after(wait).await?;
    let mut world = World::open().await?;
    world.subscribe("bench", &format!("http://{address}/"), batch).await?;
    world.append("bench", 0..events).await?;
    let start = Since::now();
    world.start();
    while counts.events.load(Ordering::Relaxed) < events {
        tokio::time::sleep(Duration::from_millis(5)).await;
        ensure!(start.cost().wall < LONG, "it does not end: {counts:?}");
    }
    let ours = start.cost();
    report(&format!("batch {batch}, {wait:.0?}: the dispatcher"), events, "events", ours);
    println!(
        "{:<44} {:.2} of the rate, {:.2} times the CPU, {} calls\n",
        "",
        limit.wall.as_secs_f64() / ours.wall.as_secs_f64(),
        ours.cpu.as_secs_f64() / limit.cpu.as_secs_f64(),
        counts.calls.load(Ordering::Relaxed),
    );
    world.stop().await
}

/// Posts `body` so often, on connections that are kept.
async fn bare(address: SocketAddr, calls: u64, body: Bytes) -> Result<()> {
    let (made, mut clients) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..CONNECTIONS.min(calls) {
        let (made, body) = (Arc::clone(&made), body.clone());
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            while made.fetch_add(1, Ordering::Relaxed) < calls {
                let request = http::Request::post("/").header("host", "bench").header("fpaas-event-count", "0");
                client.ready().await?;
                let answer = client.send_request(request.body(reqwest::Body::from(body.clone()))?).await?;
                ensure!(answer.status() == 204, "{}", answer.status());
            }
            Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// How long it takes from the beginning of an append until the endpoint has the request, one event at a time.
async fn latency() -> Result<()> {
    let (address, counts) = endpoint::start().await?;
    let mut world = World::open().await?;
    world.subscribe("bench", &format!("http://{address}/"), 1).await?;
    world.start();
    let taken = world.one_by_one("bench", &counts, 2000).await?;
    println!("append to request, one event a call: {}", times(taken));
    world.stop().await
}

/// One endpoint that answers, alone and beside many that never do.
async fn hanging() -> Result<()> {
    let (address, counts) = endpoint::start().await?;
    let mut world = World::open().await?;
    world.subscribe("healthy", &format!("http://{address}/"), 1).await?;
    world.start();
    let _warm = world.one_by_one("healthy", &counts, 200).await?;
    let alone = world.one_by_one("healthy", &counts, 2000).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let silent = listener.local_addr()?;
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    for number in 0..HANGING {
        let id = format!("hanging-{number}");
        world.subscribe(&id, &format!("http://{silent}/{number}"), 1).await?;
        world.append(&id, 0..20).await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let beside = world.one_by_one("healthy", &counts, 2000).await?;
    let p99 = |taken: &[Duration]| {
        let mut taken = taken.to_vec();
        taken.sort_unstable();
        taken.get(taken.len() * 99 / 100).copied().unwrap_or_default().as_secs_f64()
    };
    println!("an endpoint alone: {}", times(alone.clone()));
    println!("beside {HANGING} that never answer: {}", times(beside.clone()));
    println!(
        "p99 beside them: {:.2} times alone; {} MB peak",
        p99(&beside) / p99(&alone),
        peak_memory_of("self") / 1_000_000
    );
    world.stop().await
}

impl World {
    async fn open() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let log = Embedded::open(folder.path(), EmbeddedConfig::new(Arc::clone(&clock)))?;
        let topics = Topics::default();
        let control = Control::open(log.clone(), topics.clone(), "bench").await?;
        let board = Arc::new(Board::default());
        let context = Context { log: log.clone(), topics, control, board, clock, node: "bench".into() };
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (follows, until) = (Arc::clone(&context.control), shutdown.clone());
        let (restored, wait) = tokio::sync::oneshot::channel();
        tasks.spawn(async move {
            let follower = follows.restore().await?;
            let _nobody_waits = restored.send(());
            Ok(follower.follow(&until).await?)
        });
        wait.await?;
        let writer = log.writer("bench", None).await?;
        Ok(Self { log, writer, context, shutdown, tasks, _folder: folder })
    }

    fn start(&mut self) {
        let config = Config {
            reach: Reach::Dev,
            network: Network::default(),
            version: "bench".to_owned(),
            assigned: Arc::default(),
            outside: None,
        };
        let (context, shutdown) = (self.context.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            let pool = PoolId::of_tenant(&TenantId::parse(TENANT)?);
            Ok(fpaas_dispatcher::run(context, pool, config, shutdown).await?)
        });
    }

    async fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.log.close()?)
    }

    async fn subscribe(&self, id: &str, url: &str, batch: u64) -> Result<()> {
        let subscription: Subscription = serde_json::from_value(json!({
            "collector": {"maxEvents": batch, "maxWaitMs": if batch == 1 { 1 } else { 100 }},
            "processor": {"webhook": {"url": url, "timeoutMs": 5000}},
        }))?;
        let change = Change::PutSubscription {
            id: SubscriptionId::parse(id)?,
            subscription,
            secret: Secret::from_bytes(&[7; 24])?,
            starts: Vec::new(),
        };
        let command = Command::new(format!("put-{id}"), self.context.clock.now(), TenantId::parse(TENANT)?, change);
        self.context.control.submit(command).await?;
        Ok(())
    }

    /// Into a subscription's deliveries, as the router does it.
    async fn append(&self, id: &str, numbers: std::ops::Range<u64>) -> Result<()> {
        let (tenant, id) = (TenantId::parse(TENANT)?, SubscriptionId::parse(id)?);
        let view = self.context.control.view();
        let incarnation = view.subscription(&tenant, &id).context("it is not there")?.incarnation;
        let at = TopicPartition::new(self.context.topics.deliveries(&tenant, &id, incarnation), 0);
        let numbers: Vec<u64> = numbers.collect();
        for some in numbers.chunks(500) {
            let mut transaction = Transaction::new();
            for number in some {
                let text = String::from_utf8(text(number % 1000, BYTES))?;
                let id = format!("e{number}");
                transaction.append(
                    at.clone(),
                    Record {
                        key: Some(format!("did:plc:{:024}", number % KEYS).into()),
                        value: Some(json!({"n": number, "text": text}).to_string().into()),
                        headers: HeadersBuilder::new().with("id", id).with("kind", "commit").build(),
                        ..Record::default()
                    },
                );
            }
            self.writer.commit(transaction).await?;
        }
        Ok(())
    }

    /// Appends one event after the other, each once the one before it has come.
    async fn one_by_one(&self, id: &str, counts: &endpoint::Counts, events: u64) -> Result<Vec<Duration>> {
        let (before, mut taken) = (counts.events.load(Ordering::Relaxed), Vec::new());
        for number in 0..events {
            let start = Instant::now();
            self.append(id, number..number + 1).await?;
            while counts.events.load(Ordering::Relaxed) <= before + number {
                ensure!(start.elapsed() < LONG, "it does not come");
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            taken.push(counts.last().context("it has come")?.duration_since(start));
        }
        Ok(taken)
    }
}
