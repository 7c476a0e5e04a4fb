//! One seed: a subscription, its events over time, an endpoint's moods, crashes, a log that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::subscription::{Secret, Subscription};
use fpaas_core::topics::{Stage, Topics};
use fpaas_core::{
    Clock, HeadersBuilder, Offset, PoolId, SubscriptionId, TenantId, Timestamp, TopicName, TopicPartition,
};
use fpaas_dispatcher::{Config, Network, Reach, run as dispatch};
use fpaas_log::{Record, Transaction};
use fpaas_state::{Board, Change, Command, Context, Control, Standings, SubscriptionEntry};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::endpoint::{Endpoint, MOODS, Mood};
use crate::memory::Memory;
use crate::oracle;
use crate::random::Random;

/// What happened over all seeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) events: usize,
    pub(crate) calls: usize,
    pub(crate) repeats: usize,
    pub(crate) acknowledged: usize,
    pub(crate) letters: usize,
    pub(crate) dropped: usize,
    pub(crate) crashes: usize,
    pub(crate) parked: usize,
    pub(crate) leftovers: usize,
    /// Events of which no payload can be made.
    pub(crate) unsendable: usize,
    /// Calls by the shape of their bodies.
    pub(crate) shapes: BTreeMap<(String, String), usize>,
    pub(crate) redriven: usize,
    pub(crate) most_at_once: usize,
    /// How often the tenant was told that the endpoint is let rest, and that it answers again.
    pub(crate) breaker_opened: usize,
    pub(crate) breaker_closed: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.calls += other.calls;
        self.repeats += other.repeats;
        self.acknowledged += other.acknowledged;
        self.letters += other.letters;
        self.dropped += other.dropped;
        self.crashes += other.crashes;
        self.parked += other.parked;
        self.leftovers += other.leftovers;
        self.unsendable += other.unsendable;
        other.shapes.iter().for_each(|(shape, calls)| *self.shapes.entry(shape.clone()).or_default() += calls);
        self.redriven += other.redriven;
        self.breaker_opened += other.breaker_opened;
        self.breaker_closed += other.breaker_closed;
        self.most_at_once = self.most_at_once.max(other.most_at_once);
    }

    pub(crate) fn is_varied(&self) -> bool {
        let ends = [self.acknowledged, self.letters, self.dropped, self.redriven, self.unsendable];
        let told = [self.breaker_opened, self.breaker_closed];
        let each = [self.repeats, self.crashes, self.parked, self.leftovers];
        // Every format under every compression.
        let shapes = self.shapes.len() == 9 && self.shapes.values().all(|calls| *calls > 10);
        ends.iter().chain(&each).chain(&told).all(|count| *count > 10) && shapes && self.most_at_once > 3
    }
}

#[derive(Debug)]
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now_micros(&self) -> i64 {
        1_700_000_000_000_000 + i64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

pub(crate) struct Plan {
    pub(crate) settings: Value,
    pub(crate) ordering: &'static str,
    pub(crate) drops: bool,
    pub(crate) lanes: u32,
    pub(crate) keys: u64,
    pub(crate) events: u64,
    /// Calls have payloads in the places of events, and some events have none.
    pub(crate) payload: bool,
}

/// Fails where there is no weight.
const PAYLOAD: &str = "{n: n, weight: abs(weight)}";

/// Events without a weight.
const fn is_light(number: u64) -> bool {
    number % 9 == 4
}

fn shape(random: &mut Random) -> (&'static str, &'static str) {
    (*random.pick(&["json", "ndjson", "cloudevents-batch"]), *random.pick(&["none", "gzip", "zstd"]))
}

impl Plan {
    /// True of an event that is never sent.
    pub(crate) fn is_unsendable(&self, id: &str) -> bool {
        self.payload && id.strip_prefix('e').and_then(|number| number.parse().ok()).is_some_and(is_light)
    }

    fn of(random: &mut Random) -> Self {
        let ordering = random.pick(&["key", "key", "key", "partition", "none"]);
        let exhausted = *random.pick(&["deadLetter", "deadLetter", "deadLetter", "drop", "block"]);
        let lanes = 1 + u32::try_from(random.below(3)).unwrap();
        let initial = 50 + random.below(2000);
        let (payload, (format, compression)) = (random.one_in(3), shape(random));
        let mut settings = json!({
            "ordering": ordering, "lanes": lanes,
            "collector": {"maxEvents": 1 + random.below(8), "maxWaitMs": random.below(200)},
            "processor": {"webhook": {"url": "http://simulated.example/", "timeoutMs": 1000 + random.below(5000)}},
            "output": {"topic": "results"},
            "retry": {
                "initialBackoffMs": initial, "maxBackoffMs": initial + random.below(20_000),
                "maxElapsedMs": random.below(400_000), "onExhausted": exhausted,
                "onFailure": *random.pick(&["retry", "retry", "bisect"]),
            },
            "throttle": {"eventsPerSecond": if random.one_in(5) { json!(1 + random.below(50)) } else { Value::Null }},
        });
        let webhook = &mut settings["processor"]["webhook"];
        (webhook["format"], webhook["compression"]) = (json!(format), json!(compression));
        webhook["payload"] = if payload { json!(PAYLOAD) } else { Value::Null };
        let (keys, events) = (1 + random.below(8), 10 + random.below(90));
        Self { settings, ordering, drops: exhausted == "drop", lanes, keys, events, payload }
    }
}

pub(crate) struct World {
    seed: u64,
    pub(crate) plan: Plan,
    pub(crate) log: Memory,
    pub(crate) topics: Topics,
    pub(crate) endpoint: Arc<Endpoint>,
    context: Context,
    dispatcher: JoinHandle<fpaas_dispatcher::Result<()>>,
    shutdown: CancellationToken,
    /// Each lane's events in order, with their keys.
    pub(crate) sent: BTreeMap<u32, Vec<(String, Option<String>)>>,
    /// When it became another revision: what waits is called at once then.
    pub(crate) reshaped: Vec<Instant>,
    /// Up to where dead letters are delivered again, in each lane, once somebody has asked for that.
    pub(crate) redrive: Option<(u64, Vec<Offset>)>,
    pub(crate) tally: Tally,
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn id() -> SubscriptionId {
    SubscriptionId::parse("likes").unwrap()
}

/// One seed.
pub(crate) fn run(seed: u64) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let mut random = Random::new(seed);
        let mut world = World::new(seed, &mut random).await;
        world.live(&mut random).await;
        world.settle().await;
        oracle::check(seed, &mut world);
        world.tally
    })
}

impl World {
    async fn new(seed: u64, random: &mut Random) -> Self {
        let (plan, log, topics) = (Plan::of(random), Memory::new(), Topics::default());
        let control = Control::open(Arc::new(log.clone()), topics.clone(), "node").await.unwrap();
        let context = Context {
            log: Arc::new(log.clone()),
            topics: topics.clone(),
            control: Arc::clone(&control),
            board: Arc::new(Board::default()),
            clock: Arc::new(VirtualClock(Instant::now())),
            node: "node".into(),
        };
        let shutdown = CancellationToken::new();
        let (stop, followed) = (shutdown.clone(), Arc::clone(&control));
        let (ready, restored) = oneshot::channel();
        tokio::spawn(async move {
            let follower = followed.restore().await.unwrap();
            ready.send(()).unwrap();
            follower.follow(&stop).await.unwrap();
        });
        restored.await.unwrap();
        put(&context, &plan.settings, "put".to_owned()).await;
        let endpoint = Endpoint::new(Random::new(random.next()));
        let dispatcher = start(&context, &endpoint);
        Self {
            seed,
            plan,
            log,
            topics,
            endpoint,
            context,
            dispatcher,
            shutdown,
            sent: BTreeMap::new(),
            reshaped: Vec::new(),
            redrive: None,
            tally: Tally::default(),
        }
    }

    /// Events come, the endpoint changes its mind, the dispatcher dies.
    async fn live(&mut self, random: &mut Random) {
        let mut made = 0;
        while made < self.plan.events {
            let burst = (1 + random.below(20)).min(self.plan.events - made);
            self.append(made..made + burst, random);
            made += burst;
            if random.one_in(2) {
                self.endpoint.feel(*random.pick(&MOODS));
            }
            if random.one_in(3) {
                self.log.fail(random.one_in(2).then(|| Random::new(random.next())));
            }
            sleep(Duration::from_millis(random.below(4000))).await;
            if random.one_in(6) {
                self.crash().await;
            }
            if random.one_in(8) {
                self.reshape(made, random).await;
            }
            self.note_parked();
            if random.one_in(8) {
                self.redrive(random).await;
            }
        }
        for _ in 0..random.below(4) {
            self.endpoint.feel(*random.pick(&MOODS));
            sleep(Duration::from_millis(random.below(60_000))).await;
            self.note_parked();
            if random.one_in(2) {
                self.redrive(random).await;
            }
            if random.one_in(3) {
                self.crash().await;
            }
        }
    }

    /// Batches that are frozen from here on look otherwise; those that are, do not.
    async fn reshape(&mut self, time: u64, random: &mut Random) {
        let (format, compression) = shape(random);
        let webhook = &mut self.plan.settings["processor"]["webhook"];
        (webhook["format"], webhook["compression"]) = (json!(format), json!(compression));
        // Whoever puts it hears that it is done.
        self.log.fail(None);
        self.reshaped.push(Instant::now());
        put(&self.context, &self.plan.settings, format!("put-{time}")).await;
        self.reshaped.push(Instant::now());
    }

    /// All is well from here on: everything that can end does.
    async fn settle(&mut self) {
        self.endpoint.feel(Mood::Good);
        self.log.fail(None);
        let group = self.topics.group(&PoolId::of_tenant(&tenant()), Stage::Dispatcher);
        for _ in 0..200 {
            sleep(Duration::from_secs(60)).await;
            let done = |lane: u32| {
                let at = self.lane(lane);
                self.log.position(&group, &at).is_some_and(|position| position.offset >= self.log.end(&at))
            };
            let redriven = self.is_redriven().await;
            if redriven && (0..self.plan.lanes).all(done) && self.rows().is_empty() {
                self.shutdown.cancel();
                return;
            }
        }
        panic!(
            "seed {}: it does not end: {:?}\n{:?}\n{:?}",
            self.seed,
            self.plan.settings,
            self.rows(),
            self.endpoint.seen.lock().unwrap().last()
        );
    }

    /// The process dies: nothing that is under way goes on.
    async fn crash(&mut self) {
        self.dispatcher.abort();
        match (&mut self.dispatcher).await {
            Err(error) if error.is_cancelled() => {}
            ended => panic!("seed {}: the dispatcher ended by itself: {ended:?}", self.seed),
        }
        self.endpoint.next_life();
        self.tally.crashes += 1;
        self.dispatcher = start(&self.context, &self.endpoint);
    }

    /// All dead letters that there are now are to be delivered again; once in a run.
    async fn redrive(&mut self, random: &mut Random) {
        let to: Vec<_> = (0..self.plan.lanes).map(|lane| self.log.end(&self.dead_letters(lane))).collect();
        if self.redrive.is_some() || to.iter().all(|end| *end == Offset::ZERO) {
            return;
        }
        let entry = self.entry();
        let change = Change::StartRedrive {
            id: id(),
            of: entry.incarnation,
            instead_of: None,
            from: vec![Offset::ZERO; to.len()],
            to: to.clone(),
            reasons: BTreeSet::new(),
            events_per_second: random.one_in(2).then(|| 1 + u32::try_from(random.below(20)).unwrap()),
        };
        let now = self.context.clock.now();
        // Whoever asks is heard; the log fails again right after that.
        self.log.fail(None);
        self.context.control.submit(Command::new("redrive".to_owned(), now, tenant(), change)).await.unwrap();
        let since = self.entry().redrive.as_ref().unwrap().since;
        self.redrive = Some((since, to));
        self.log.fail(random.one_in(2).then(|| Random::new(random.next())));
    }

    fn entry(&self) -> Arc<SubscriptionEntry> {
        self.context.control.view().subscription(&tenant(), &id()).unwrap().clone()
    }

    async fn is_redriven(&self) -> bool {
        let Some((since, to)) = &self.redrive else { return true };
        for (lane, to) in (0u32..).zip(to).filter(|(_, to)| **to > Offset::ZERO) {
            let (standings, entry) = (Standings::default(), self.entry());
            let row = standings.of_redrive(&self.context, &entry, *since, &self.lane(lane)).await.unwrap();
            if row.is_none_or(|row| row.position < *to) {
                return false;
            }
        }
        true
    }

    fn note_parked(&mut self) {
        self.tally.parked += self.rows().iter().filter(|key| key.starts_with("parked/")).count();
    }

    pub(crate) fn lane(&self, lane: u32) -> TopicPartition {
        let view = self.context.control.view();
        let incarnation = view.subscription(&tenant(), &id()).unwrap().incarnation;
        TopicPartition::new(self.topics.deliveries(&tenant(), &id(), incarnation), lane)
    }

    pub(crate) fn dead_letters(&self, lane: u32) -> TopicPartition {
        let view = self.context.control.view();
        let incarnation = view.subscription(&tenant(), &id()).unwrap().incarnation;
        TopicPartition::new(self.topics.dead_letters(&tenant(), &id(), incarnation), lane)
    }

    /// What the tenant is told.
    pub(crate) fn system(&self) -> TopicPartition {
        TopicPartition::new(self.topics.of_tenant(&tenant(), &TopicName::system()), 0)
    }

    pub(crate) fn results(&self) -> TopicPartition {
        TopicPartition::new(self.topics.of_tenant(&tenant(), &TopicName::parse("results").unwrap()), 0)
    }

    /// The keys of the lanes' rows, without those that stay.
    pub(crate) fn rows(&self) -> Vec<String> {
        let tables = self.topics.tables(&PoolId::of_tenant(&tenant()), Stage::Dispatcher);
        let partitions = (0..fpaas_core::partition::SLOTS).map(|slot| TopicPartition::new(tables.as_str(), slot));
        let rows = partitions.flat_map(|at| self.log.records(&at)).filter(|stored| stored.record.value.is_some());
        let keys = rows.map(|stored| String::from_utf8(stored.record.key.unwrap().to_vec()).unwrap());
        keys.filter(|key| ["started/", "failing/", "redrive/"].iter().all(|table| !key.starts_with(table))).collect()
    }

    fn append(&mut self, numbers: std::ops::Range<u64>, random: &mut Random) {
        let mut transaction = Transaction::new();
        for number in numbers {
            let key = random.below(self.plan.keys);
            let keyless = random.one_in(12);
            let weight = if is_light(number) { Value::Null } else { json!(1) };
            let value = json!({"key": if keyless { Value::Null } else { json!(key) }, "n": number, "weight": weight});
            let record = Record {
                key: (!keyless).then(|| format!("k{key}").into()),
                value: Some(value.to_string().into()),
                headers: HeadersBuilder::new().with("id", format!("e{number}")).build(),
                timestamp: Timestamp::from_millis(1),
            };
            let lane = if keyless { number } else { key } % u64::from(self.plan.lanes);
            let lane = u32::try_from(lane).unwrap();
            let sent = (format!("e{number}"), (!keyless).then(|| format!("k{key}")));
            self.sent.entry(lane).or_default().push(sent);
            transaction.append(self.lane(lane), record);
        }
        self.log.commit_now(&transaction);
    }
}

async fn put(context: &Context, settings: &Value, name: String) {
    let subscription: Subscription = serde_json::from_value(settings.clone()).unwrap();
    assert_eq!(subscription.violations(true), Vec::new());
    let secret = Secret::from_bytes(&[9; 24]).unwrap();
    let change = Change::PutSubscription { id: id(), subscription, secret, starts: Vec::new() };
    context.control.submit(Command::new(name, context.clock.now(), tenant(), change)).await.unwrap();
}

fn start(context: &Context, endpoint: &Arc<Endpoint>) -> JoinHandle<fpaas_dispatcher::Result<()>> {
    let outside = Some(Arc::clone(endpoint) as Arc<dyn fpaas_dispatcher::Outside>);
    let network = Network::default();
    let config = Config { reach: Reach::Dev, network, version: "test".to_owned(), assigned: Arc::default(), outside };
    tokio::spawn(dispatch(context.clone(), PoolId::of_tenant(&tenant()), config, CancellationToken::new()))
}
