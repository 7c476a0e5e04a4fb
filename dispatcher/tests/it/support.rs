//! A small world: an embedded log, a control view that follows, one pool's dispatcher and a scripted endpoint.

pub(crate) mod receiver;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fpaas_core::subscription::{Secret, Subscription};
use fpaas_core::topics::{Stage, Topics};
use fpaas_core::{
    Clock, HeadersBuilder, Incarnation, Offset, PoolId, SubscriptionId, TenantId, Timestamp, TopicName, TopicPartition,
};
use fpaas_dispatcher::{Config, Error, Network, Reach, Trust, drain, run};
use fpaas_log::embedded::EmbeddedConfig;
use fpaas_log::faulty::{Faults, Faulty};
use fpaas_log::{Embedded, FetchBounds, Log as _, Position, Record, Stored, Transaction};
use fpaas_state::{Board, Change, Command, Context, Control, Counters, Outcome};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes: a test that waits for so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn now_micros(&self) -> i64 {
        1_700_000_000_000_000 + i64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

pub(crate) struct World {
    pub(crate) log: Arc<Embedded>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) context: Context,
    pub(crate) shutdown: CancellationToken,
    dispatcher: JoinHandle<Result<(), Error>>,
    control: JoinHandle<()>,
    commands: u32,
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn likes() -> SubscriptionId {
    SubscriptionId::parse("likes").unwrap()
}

/// A subscription to `url` with an output and quick retries, changed by `more`.
pub(crate) fn subscription(url: &str, more: &Value) -> Subscription {
    let mut value = json!({
        "ordering": "partition",
        "collector": {"maxEvents": 3, "maxWaitMs": 50},
        "processor": {"webhook": {"url": url, "timeoutMs": 1000, "headers": {"x-key": "k"}}},
        "output": {"topic": "results"},
        "retry": {"initialBackoffMs": 10, "maxBackoffMs": 20, "maxElapsedMs": 60000},
    });
    merge(&mut value, more);
    let subscription: Subscription = serde_json::from_value(value).unwrap();
    assert_eq!(subscription.violations(true), Vec::new());
    subscription
}

fn merge(into: &mut Value, more: &Value) {
    let Value::Object(fields) = more else { return into.clone_from(more) };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(into.as_object_mut().unwrap().remove(name)),
            value => merge(into.as_object_mut().unwrap().entry(name).or_insert(Value::Null), value),
        }
    }
}

pub(crate) fn secret() -> Secret {
    Secret::from_bytes(&[9; 24]).unwrap()
}

impl World {
    /// Opens what is in `folder` and starts a dispatcher for the tenant's pool.
    pub(crate) async fn open(folder: &Path) -> Self {
        Self::open_with(folder, |_| {}).await
    }

    pub(crate) async fn open_with(folder: &Path, change: impl FnOnce(&mut EmbeddedConfig)) -> Self {
        let world = Self::idle(folder, change).await;
        Self { dispatcher: dispatch(&world.context, &world.shutdown), ..world }
    }

    /// The same without a dispatcher.
    pub(crate) async fn idle(folder: &Path, change: impl FnOnce(&mut EmbeddedConfig)) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TestClock(Instant::now()));
        let mut config = EmbeddedConfig::new(Arc::clone(&clock));
        change(&mut config);
        let log = Embedded::open(folder, config).unwrap();
        let topics = Topics::default();
        let control = Control::open(log.clone(), topics.clone(), "node").await.unwrap();
        let faults = Faults::new(Vec::new());
        let context = Context {
            log: Arc::new(Faulty::new(log.clone(), "dispatcher", Arc::clone(&faults))),
            topics,
            control,
            board: Arc::new(Board::default()),
            clock,
            node: "node".into(),
        };
        let shutdown = CancellationToken::new();
        let control = follow(&context, &shutdown).await;
        let dispatcher = tokio::spawn(async { Ok(()) });
        Self { log, faults, context, shutdown, dispatcher, control, commands: 0 }
    }

    /// Finishes what is frozen, until `stop` at the latest; the lanes that still have something.
    pub(crate) async fn drain(&self, reach: Reach, stop: &CancellationToken) -> Vec<TopicPartition> {
        let config = Config {
            reach,
            network: Network::default(),
            version: "test".to_owned(),
            assigned: Arc::default(),
            outside: None,
        };
        let drained = drain(self.context.clone(), PoolId::of_tenant(&tenant()), config, stop.clone());
        tokio::time::timeout(PATIENCE, drained).await.expect("it ends").unwrap()
    }

    /// How the dispatcher ended, which it did by itself.
    pub(crate) async fn ended(mut self) -> Result<(), Error> {
        let ended = tokio::time::timeout(PATIENCE, &mut self.dispatcher).await.expect("it ends").unwrap();
        self.close().await;
        ended
    }

    /// A graceful stop.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, &mut self.dispatcher).await.expect("it stops").unwrap().unwrap();
        self.close().await;
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.control.await.unwrap();
        self.log.close().unwrap();
    }

    pub(crate) async fn submit(&mut self, change: Change) -> Outcome {
        self.commands += 1;
        let now = self.context.clock.now();
        let id = format!("{}-{}", now.as_millis(), self.commands);
        self.context.control.submit(Command::new(id, now, tenant(), change)).await.unwrap().outcome
    }

    pub(crate) async fn put(&mut self, subscription: Subscription) -> Outcome {
        let change = Change::PutSubscription { id: likes(), subscription, secret: secret(), starts: Vec::new() };
        self.submit(change).await
    }

    /// A new secret; the one before it signs for so many seconds more.
    pub(crate) async fn rotate(&mut self, secret: Secret, seconds: i64) -> Outcome {
        let until = self.context.clock.now().as_millis() + seconds * 1000;
        let until = Timestamp::from_millis(until);
        self.submit(Change::RotateSecret { id: likes(), of: None, secret, until }).await
    }

    pub(crate) async fn delete(&mut self) -> Outcome {
        self.submit(Change::DeleteSubscription { id: likes() }).await
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.context.control.view().subscription(&tenant(), &likes()).unwrap().incarnation
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.context.board.of(&tenant(), &likes(), self.incarnation())
    }

    pub(crate) fn lane(&self, lane: u32) -> TopicPartition {
        TopicPartition::new(self.context.topics.deliveries(&tenant(), &likes(), self.incarnation()), lane)
    }

    pub(crate) fn dead_letters(&self) -> TopicPartition {
        TopicPartition::new(self.context.topics.dead_letters(&tenant(), &likes(), self.incarnation()), 0)
    }

    pub(crate) fn results(&self) -> TopicPartition {
        let name = TopicName::parse("results").unwrap();
        TopicPartition::new(self.context.topics.of_tenant(&tenant(), &name), 0)
    }

    /// What the router would do: events `e<from>…` on lane 0, in one transaction.
    pub(crate) async fn deliver(&self, numbers: std::ops::Range<u32>) {
        self.append(0, numbers.map(event).collect()).await;
    }

    pub(crate) async fn append(&self, lane: u32, records: Vec<Record>) {
        let (at, mut transaction) = (self.lane(lane), Transaction::new());
        records.into_iter().for_each(|record| transaction.append(at.clone(), record));
        let writer = self.log.writer("router", None).await.unwrap();
        writer.commit(transaction).await.unwrap();
    }

    /// The first `count` records of a partition, once they are there.
    pub(crate) async fn read(&self, at: &TopicPartition, count: usize) -> Vec<Stored> {
        let reading = async {
            let (mut records, mut next) = (Vec::new(), Offset::ZERO);
            while records.len() < count {
                let fetched = self.log.fetch(at, next, FetchBounds::waiting(PATIENCE)).await.unwrap();
                next = fetched.next;
                records.extend(fetched.records);
            }
            records
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the records arrive")
    }

    pub(crate) async fn position(&self, lane: u32) -> Option<Position> {
        let group = self.context.topics.group(&PoolId::of_tenant(&tenant()), Stage::Dispatcher);
        self.log.positions(&group, &[self.lane(lane)]).await.unwrap().remove(0)
    }
}

pub(crate) fn event(number: u32) -> Record {
    Record {
        key: Some(format!("did:plc:{number}").into()),
        value: Some(format!(r#"{{"n": {number}}}"#).into()),
        headers: HeadersBuilder::new().with("id", format!("e{number}")).with("kind", "commit").build(),
        ..Record::default()
    }
}

pub(crate) fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
}

/// A dispatcher of the tenant's pool.
pub(crate) fn dispatch(context: &Context, shutdown: &CancellationToken) -> JoinHandle<Result<(), Error>> {
    dispatch_for(context, tenant().as_str(), shutdown)
}

/// A dispatcher of a pool.
pub(crate) fn dispatch_for(
    context: &Context,
    pool: &str,
    shutdown: &CancellationToken,
) -> JoinHandle<Result<(), Error>> {
    tokio::spawn(run(context.clone(), pool_of(pool), config(), shutdown.clone()))
}

/// Where the test's own authority is trusted.
pub(crate) fn config() -> Config {
    let network = Network { trust: Trust::with(&tls_file("ca.pem")).unwrap(), ..Network::default() };
    Config { reach: Reach::Dev, network, version: "test".to_owned(), assigned: Arc::default(), outside: None }
}

/// Certificates and their keys.
pub(crate) fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/tls").join(name)
}

pub(crate) fn pool_of(name: &str) -> PoolId {
    PoolId::parse(name).unwrap()
}

async fn follow(context: &Context, shutdown: &CancellationToken) -> JoinHandle<()> {
    let (control, shutdown) = (Arc::clone(&context.control), shutdown.clone());
    let (ready, restored) = oneshot::channel();
    let task = tokio::spawn(async move {
        let follower = control.restore().await.unwrap();
        ready.send(()).unwrap();
        follower.follow(&shutdown).await.unwrap();
    });
    restored.await.unwrap();
    task
}
