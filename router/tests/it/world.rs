//! A small world around the router: a folder with a log in it, lives of a process over it, and what must have arrived.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fpaas_core::event::header;
use fpaas_core::subscription::{Filter, Secret, State, Subscription};
use fpaas_core::topics::{Stage, Topics};
use fpaas_core::{
    Clock as _, HeadersBuilder, ManualClock, Offset, PoolId, SubscriptionId, TenantId, Timestamp, TopicName,
    TopicPartition,
};
use fpaas_log::embedded::EmbeddedConfig;
use fpaas_log::{Embedded, FetchBounds, Log, Position, Record, Stored, TopicSpec, Transaction};
use fpaas_router::Config;
use fpaas_state::{Applied, Board, Change, Command, Context, Control, Counters, Outcome, SubscriptionEntry};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use fpaas_log::faulty::{Faults, Faulty};

pub(crate) const PARTITIONS: u32 = 2;
/// Every filter of these tests admits it.
pub(crate) const FENCE: &str = "z.z.z";

/// One life of a process.
pub(crate) struct Life {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) control: Arc<Control>,
    pub(crate) board: Arc<Board>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) topics: Topics,
    config: Config,
    clock: Arc<ManualClock>,
    embedded: Arc<Embedded>,
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), fpaas_router::Error>>,
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn pool() -> PoolId {
    PoolId::of_tenant(&tenant())
}

pub(crate) fn tenant_of(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(crate) fn pool_of(name: &str) -> PoolId {
    PoolId::parse(name).unwrap()
}

pub(crate) fn source(partition: u32) -> TopicPartition {
    TopicPartition::new("fpaas.firehose", partition)
}

/// A filter on these collections and the fence.
pub(crate) fn collections(names: &[&str]) -> Filter {
    let all = names.iter().chain([&FENCE]).map(ToString::to_string).collect();
    Filter { collections: all, ..Filter::default() }
}

/// A process: when its time is over, whatever it had under way is gone with it.
pub(crate) fn live<T>(time: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(time)
}

impl Life {
    pub(crate) async fn begin(folder: &Path, config: Config, faults: Arc<Faults>) -> Self {
        let clock = Arc::new(ManualClock::at_micros(1_000_000));
        let embedded = EmbeddedConfig { gap_every: Some(3), ..EmbeddedConfig::new(clock.clone()) };
        let embedded = Embedded::open(folder, embedded).unwrap();
        let inner: Arc<dyn Log> = embedded.clone();
        let log: Arc<dyn Log> = Arc::new(Faulty::new(inner, "router", Arc::clone(&faults)));
        log.create_topic("fpaas.firehose", &TopicSpec::kept(PARTITIONS)).await.unwrap();
        let topics = Topics::default();
        let control = Control::open(Arc::clone(&log), topics.clone(), "test").await.unwrap();
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (restored, ready) = oneshot::channel();
        let (following, stop) = (Arc::clone(&control), shutdown.clone());
        tasks.spawn(async move {
            let follower = following.restore().await?;
            restored.send(()).unwrap();
            Ok(follower.follow(&stop).await?)
        });
        ready.await.unwrap();
        Self { log, control, board: Arc::default(), faults, topics, config, clock, embedded, shutdown, tasks }
    }

    /// Starts a router; several of different names share the slots.
    pub(crate) fn start(&mut self, node: &str) -> CancellationToken {
        self.start_pool(node, pool().as_str())
    }

    /// The same for another pool.
    pub(crate) fn start_pool(&mut self, node: &str, pool: &str) -> CancellationToken {
        let context = Context {
            log: Arc::clone(&self.log),
            topics: self.topics.clone(),
            control: Arc::clone(&self.control),
            board: Arc::clone(&self.board),
            clock: self.clock.clone(),
            node: node.into(),
        };
        let (config, stop) = (self.config.clone(), self.shutdown.child_token());
        let token = stop.clone();
        self.tasks.spawn(fpaas_router::run(context, pool_of(pool), config, stop));
        token
    }

    /// The process stops as it should.
    pub(crate) async fn stop(self) {
        self.stop_and(async |_: &Self| ()).await;
    }

    /// The same, with a look at what it has left.
    pub(crate) async fn stop_and(mut self, look: impl AsyncFnOnce(&Self)) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
        look(&self).await;
    }

    /// Lets time pass, and retention look once.
    pub(crate) fn retain_after(&self, time: Duration) {
        self.clock.advance(time);
        self.embedded.run_retention_once().unwrap();
    }

    /// What went at a hard limit.
    pub(crate) fn lost_records(&self) -> u64 {
        self.embedded.lost_records()
    }

    /// Appends one event and says at which offset.
    pub(crate) async fn append(&self, partition: u32, collection: &str) -> Offset {
        self.append_sized(partition, collection, 2).await
    }

    /// The same with a value of so many bytes.
    pub(crate) async fn append_sized(&self, partition: u32, collection: &str, bytes: usize) -> Offset {
        self.append_at(partition, collection, bytes, Timestamp::from_millis(1000)).await
    }

    /// The same, received now and not when the world began.
    pub(crate) async fn append_now(&self, partition: u32, collection: &str) -> Offset {
        self.append_at(partition, collection, 2, self.clock.now()).await
    }

    async fn append_at(&self, partition: u32, collection: &str, bytes: usize, timestamp: Timestamp) -> Offset {
        let headers = HeadersBuilder::new()
            .with(header::KIND, "commit")
            .with(header::COLLECTION, collection)
            .with(header::OPERATION, "create")
            .build();
        let record = Record {
            key: Some("did:plc:a".into()),
            value: Some(format!("{{{}}}", " ".repeat(bytes - 2)).into()),
            headers,
            timestamp,
        };
        let mut transaction = Transaction::new();
        transaction.append(source(partition), record);
        let writer = self.log.writer("test.source", None).await.unwrap();
        writer.commit(transaction).await.unwrap().offsets[0]
    }

    pub(crate) async fn put(&self, id: &str, filter: Filter, starts: Vec<Offset>) {
        self.put_as(State::Active, id, filter, starts).await;
    }

    pub(crate) async fn put_as(&self, state: State, id: &str, filter: Filter, starts: Vec<Offset>) {
        self.put_whole(&tenant(), state, id, (filter, starts)).await;
    }

    /// The same for another tenant.
    pub(crate) async fn put_of(&self, name: &str, id: &str, filter: Filter, starts: Vec<Offset>) {
        self.put_whole(&tenant_of(name), State::Active, id, (filter, starts)).await;
    }

    async fn put_whole(&self, tenant: &TenantId, state: State, id: &str, (filter, starts): (Filter, Vec<Offset>)) {
        let subscription = Subscription { filter, state, ..Subscription::default() };
        let secret = Secret::from_bytes(&[7; 24]).unwrap();
        let change = Change::PutSubscription { id: self::id(id), subscription, secret, starts };
        let outcome = self.submit_as(tenant, change).await.outcome;
        assert!(matches!(outcome, Outcome::Created | Outcome::Replaced));
    }

    /// Puts a tenant into a pool; the revision.
    pub(crate) async fn put_tenant(&self, name: &str, pool: &str) -> u64 {
        let applied = self.submit_as(&tenant_of(name), Change::PutTenant { pool: Some(pool_of(pool)) }).await;
        assert!(matches!(applied.outcome, Outcome::Created | Outcome::Replaced), "{:?}", applied.outcome);
        applied.revision
    }

    /// The move that began at `since` is over.
    pub(crate) async fn end_move(&self, name: &str, since: u64) {
        let applied = self.submit_as(&tenant_of(name), Change::EndMove { since }).await;
        assert_eq!(applied.outcome, Outcome::Replaced);
    }

    pub(crate) async fn delete(&self, id: &str) {
        assert_eq!(self.submit(Change::DeleteSubscription { id: self::id(id) }).await, Outcome::Deleted);
    }

    /// Delivers these offsets of the first partition again.
    pub(crate) async fn replay(&self, id: &str, from: Offset, to: Offset, rate: Option<u32>) {
        let (from, to) = (vec![from, Offset::ZERO], vec![to, Offset::ZERO]);
        let source = TopicName::parse(TopicName::FIREHOSE).unwrap();
        let (of, last) = (self.entry(id).incarnation, self.entry(id).replay.clone());
        let instead_of = last.map(|replay| replay.since);
        let id = self::id(id);
        let change = Change::StartReplay { id, of, instead_of, source, from, to, events_per_second: rate };
        assert_eq!(self.submit(change).await, Outcome::Replaced);
    }

    pub(crate) async fn cancel_replay(&self, id: &str) {
        let (of, since) = (self.entry(id).incarnation, self.entry(id).replay.clone().unwrap().since);
        let change = Change::CancelReplay { id: self::id(id), of, since };
        assert_eq!(self.submit(change).await, Outcome::Replaced);
    }

    async fn submit(&self, change: Change) -> Outcome {
        self.submit_as(&tenant(), change).await.outcome
    }

    pub(crate) async fn submit_as(&self, tenant: &TenantId, change: Change) -> Applied {
        static COMMANDS: AtomicU64 = AtomicU64::new(0);
        let command = COMMANDS.fetch_add(1, Ordering::SeqCst).to_string();
        self.control.submit(Command::new(command, Timestamp::default(), tenant.clone(), change)).await.unwrap()
    }

    pub(crate) async fn ends(&self) -> Vec<Offset> {
        let mut ends = Vec::new();
        for partition in 0..PARTITIONS {
            ends.push(self.log.watermarks(&source(partition)).await.unwrap().end);
        }
        ends
    }

    pub(crate) fn entry(&self, id: &str) -> Arc<SubscriptionEntry> {
        Arc::clone(self.control.view().subscription(&tenant(), &self::id(id)).unwrap())
    }

    pub(crate) fn counters(&self, id: &str) -> Arc<Counters> {
        self.board.of(&tenant(), &self::id(id), self.entry(id).incarnation)
    }

    pub(crate) fn deliveries(&self, id: &str) -> TopicPartition {
        TopicPartition::new(self.topics.deliveries(&tenant(), &self::id(id), self.entry(id).incarnation), 0)
    }

    /// The same of another tenant's.
    pub(crate) fn deliveries_of(&self, name: &str, id: &str) -> TopicPartition {
        let (tenant, id) = (tenant_of(name), self::id(id));
        let incarnation = self.control.view().subscription(&tenant, &id).unwrap().incarnation;
        TopicPartition::new(self.topics.deliveries(&tenant, &id, incarnation), 0)
    }

    pub(crate) async fn position(&self, partition: u32) -> Option<Position> {
        self.position_of(pool().as_str(), partition).await
    }

    pub(crate) async fn position_of(&self, pool: &str, partition: u32) -> Option<Position> {
        let group = self.topics.group(&pool_of(pool), Stage::Router);
        self.log.positions(&group, &[source(partition)]).await.unwrap().remove(0)
    }

    /// Waits until a scan of the first partition has committed under this control revision: a record at a time is
    /// there for it to take.
    pub(crate) async fn scans_under(&self, revision: u64) {
        let mut asked = self.faults.asked.subscribe();
        while !self.position(0).await.is_some_and(|at| is_under(&at, revision)) {
            self.append_now(0, FENCE).await;
            asked.changed().await.unwrap();
        }
    }

    /// Source offsets by source partition in the order in which they were delivered, as soon as `enough` says so.
    pub(crate) async fn delivered(&self, id: &str, enough: impl Fn(&Delivered) -> bool) -> Delivered {
        self.delivered_at(&self.deliveries(id), enough).await
    }

    pub(crate) async fn delivered_at(&self, at: &TopicPartition, enough: impl Fn(&Delivered) -> bool) -> Delivered {
        let (mut delivered, mut next) = (Delivered::new(), Offset::ZERO);
        while !enough(&delivered) {
            let fetched = self.log.fetch(at, next, FetchBounds::waiting(Duration::from_secs(20))).await.unwrap();
            assert!(!fetched.records.is_empty(), "{at} waits in vain, it has {delivered:?}");
            fetched.records.iter().for_each(|stored| note(&mut delivered, stored));
            next = fetched.next;
        }
        delivered
    }

    /// Everything that was delivered so far.
    pub(crate) async fn all_delivered(&self, id: &str) -> Delivered {
        let at = self.deliveries(id);
        let end = self.log.watermarks(&at).await.unwrap().end;
        let (mut delivered, mut next) = (Delivered::new(), Offset::ZERO);
        while next < end {
            let fetched = self.log.fetch(&at, next, FetchBounds::now()).await.unwrap();
            fetched.records.iter().for_each(|stored| note(&mut delivered, stored));
            next = fetched.next;
        }
        delivered
    }
}

/// Source offsets by source partition, in the order of their delivery.
pub(crate) type Delivered = BTreeMap<u32, Vec<u64>>;

fn is_under(position: &Position, revision: u64) -> bool {
    String::from_utf8_lossy(&position.metadata).contains(&format!(r#""revision":{revision},"#))
}

fn note(delivered: &mut Delivered, stored: &Stored) {
    let number = |name| stored.record.headers.get_str(name).unwrap().parse::<u64>().unwrap();
    let partition = u32::try_from(number(header::SOURCE_PARTITION)).unwrap();
    delivered.entry(partition).or_default().push(number(header::SOURCE_OFFSET));
}

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}
