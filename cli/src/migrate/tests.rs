//! A move from one embedded log to another, both with gaps of their own: whatever stood at an offset before stands at
//! its translation, and a move that is cut off anywhere and run again comes to the same.

use std::collections::BTreeMap;
use std::task::Poll;

use fpaas_core::event::{self, header};
use fpaas_core::partition::Slot;
use fpaas_core::subscription::{Secret, Subscription};
use fpaas_core::topic::TopicSettings;
use fpaas_core::{HeadersBuilder, Incarnation, PoolId, SubscriptionId, TenantId, Timestamp, TopicName, TopicPartition};
use fpaas_ingest::Cursor;
use fpaas_log::{Embedded, EmbeddedConfig, MembershipEvent, TopicSpec};
use fpaas_state::rows::{self, MovesRow, ScanRow, StartedRow};
use fpaas_state::{Change, Command, Machine};
use tempfile::TempDir;

use super::copy::Reader;
use super::*;
use crate::clock::WallClock;
use crate::mark;

/// Partitions of the firehose.
const FIREHOSE: u32 = 3;

struct Side {
    log: Arc<Embedded>,
    names: Topics,
    _folder: TempDir,
}

/// What was written down before the move, and what it is a position on.
struct Noted {
    at: TopicPartition,
    offset: Offset,
}

impl Side {
    fn new(prefix: &str, gap_every: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig { gap_every: Some(gap_every), ..EmbeddedConfig::new(Arc::new(WallClock)) };
        Self {
            log: Embedded::open(folder.path(), config).unwrap(),
            names: Topics::with_prefix(prefix),
            _folder: folder,
        }
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log) as _
    }

    async fn append(&self, topic: &str, spec: TopicSpec, records: impl IntoIterator<Item = (u32, Record)>) {
        self.log.create_topic(topic, &spec).await.unwrap();
        let writer = self.log.writer("test", None).await.unwrap();
        for (partition, record) in records {
            let mut transaction = Transaction::new();
            transaction.append(TopicPartition::new(topic, partition), record);
            writer.commit(transaction).await.unwrap();
        }
    }

    /// Values, ids and timestamps from an offset on.
    async fn read(&self, at: &TopicPartition, from: Offset) -> Vec<(String, Option<String>, Timestamp)> {
        let mut reader = Reader::open(&*self.log, at).await.unwrap();
        let mut found = Vec::new();
        while let Some(Stored { offset, record }) = reader.next().await.unwrap() {
            if offset >= from {
                let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
                found.push((value, record.headers.get_str(header::ID).map(str::to_owned), record.timestamp));
            }
        }
        found
    }

    async fn positions(&self, stage: Stage, at: &TopicPartition) -> Option<Offset> {
        let group = self.names.group(&pool(), stage);
        let found = self.log.positions(&group, std::slice::from_ref(at)).await.unwrap();
        found.into_iter().next().flatten().map(|position| position.offset)
    }

    async fn row(&self, stage: Stage, slot: Slot, key: &str) -> Option<String> {
        let at = TopicPartition::new(self.names.tables(&pool(), stage), slot.0);
        let (mut reader, mut row) = (Reader::open(&*self.log, &at).await.unwrap(), None);
        while let Some(Stored { record, .. }) = reader.next().await.unwrap() {
            if record.key.as_deref() == Some(key.as_bytes()) {
                row = record.value.map(|value| String::from_utf8(value.to_vec()).unwrap());
            }
        }
        row
    }
}

/// Not the one that is always there, whose pool has nothing.
fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn pool() -> PoolId {
    PoolId::parse("_free").unwrap()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn scramble(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn record(number: u64, id: bool) -> Record {
    let headers = HeadersBuilder::new().with("n", number.to_string());
    let headers = if id { headers.with(header::ID, format!("id-{number}")) } else { headers };
    let timestamp = Timestamp::from_millis(1_700_000_000_000 + number.cast_signed());
    let (key, value) = (Some(format!("k{}", number % 5).into()), Some(format!("v{number}").into()));
    Record { key, value, headers: headers.build(), timestamp }
}

/// As many records as the seed says, spread over the partitions.
fn records(seed: u64, partitions: u32, id: bool) -> impl Iterator<Item = (u32, Record)> {
    let count = scramble(seed) % 120;
    (0..count).map(move |number| {
        let partition = u32::try_from(scramble(seed ^ (number << 8)) % u64::from(partitions)).unwrap();
        let mut record = record(number, id);
        // One in three has no key.
        record.key = record.key.filter(|_| number % 3 > 0);
        (partition, record)
    })
}

/// A subscription of the firehose and one of a tenant's topic, each with deliveries; positions and rows at random
/// places, some of which are trimmed since.
struct World {
    before: Side,
    /// Positions of the groups, by stage.
    positions: Vec<(Stage, Noted)>,
    /// Scan rows: key and position.
    rows: Vec<(String, Noted)>,
    cursor: Vec<Noted>,
    trimmed: Vec<TopicPartition>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let before = Side::new("fpaas", scramble(seed) % 4 + 2);
        let names = before.names.clone();
        before.append(&names.firehose(), TopicSpec::kept(FIREHOSE), records(seed, FIREHOSE, true)).await;
        let topic = |name: &str| names.of_tenant(&tenant(), &TopicName::parse(name).unwrap());
        before.append(&topic("in"), TopicSpec::kept(2), records(seed ^ 7, 2, false)).await;
        before.append(&topic("out"), TopicSpec::compacted(1), records(seed ^ 8, 1, false)).await;
        let mut world = Self { before, positions: vec![], rows: vec![], cursor: vec![], trimmed: vec![] };
        for (id, revision, salt) in [("a", 3, 20), ("b", 4, 30)] {
            let id = SubscriptionId::parse(id).unwrap();
            let of = |name: String| (name, records(seed ^ salt, 2, true));
            let (deliveries, made) = of(names.deliveries(&tenant(), &id, Incarnation(revision)));
            world.before.append(&deliveries, TopicSpec::kept(2), made).await;
            let (dead, made) = of(names.dead_letters(&tenant(), &id, Incarnation(revision)));
            world.before.append(&dead, TopicSpec::kept(2), made).await;
        }
        world.control(seed).await;
        world.stages(seed).await;
        world.upstream(seed).await;
        world.trim(seed).await;
        world
    }

    /// Anywhere from the first record to the end.
    async fn somewhere(&self, seed: u64, at: &TopicPartition) -> Offset {
        let end = self.before.log.watermarks(at).await.unwrap().end;
        Offset(scramble(seed ^ u64::from(at.partition.0) ^ at.topic.len() as u64) % (end.0 + 1))
    }

    fn partitions(&self, topic: &str, count: u32) -> Vec<TopicPartition> {
        (0..count).map(|partition| TopicPartition::new(topic, partition)).collect()
    }

    async fn control(&mut self, seed: u64) {
        let names = self.before.names.clone();
        let put = |id: &str, config: &str, starts: Vec<Offset>| Change::PutSubscription {
            id: SubscriptionId::parse(id).unwrap(),
            subscription: serde_json::from_str::<Subscription>(config).unwrap(),
            secret: Secret::from_bytes(&[7; 24]).unwrap(),
            starts,
        };
        let mut starts = [Vec::new(), Vec::new()];
        for (starts, (topic, count)) in starts.iter_mut().zip([(names.firehose(), FIREHOSE), (self.topic("in"), 2)]) {
            for at in self.partitions(&topic, count) {
                starts.push(self.somewhere(seed ^ 3, &at).await);
            }
        }
        let [of_a, of_b] = starts;
        let settings = TopicSettings { partitions: 2, ..TopicSettings::default() };
        let changes = [
            Change::PutTopic { name: TopicName::parse("in").unwrap(), settings },
            Change::PutTenant { pool: Some(pool()) },
            put("a", r#"{"lanes": 2, "output": {"topic": "out"}}"#, of_a),
            put("b", r#"{"lanes": 2, "source": {"topic": "in"}}"#, of_b),
            // To another pool and back.
            Change::PutTenant { pool: Some(PoolId::parse("_gone").unwrap()) },
            Change::EndMove { since: 5 },
            Change::PutTenant { pool: Some(pool()) },
            Change::EndMove { since: 7 },
        ];
        let commands = changes.into_iter().enumerate().map(|(n, change)| {
            let command = Command::new(format!("c{n}"), Timestamp::default(), tenant(), change);
            (0, Record { value: Some(command.encode().unwrap()), ..Record::default() })
        });
        self.before.append(&names.control(), TopicSpec::kept(1), commands).await;
        // Of a pool whose last tenant is gone: it stays. So does what says which moves there were.
        let gone = PoolId::parse("_gone").unwrap();
        self.before.append(&names.tables(&gone, Stage::Router), TopicSpec::compacted(64), []).await;
        self.before.append(&names.moves(&pool(), Stage::Router), TopicSpec::kept(64), []).await;
        let row = rows::encode(&MovesRow { revision: 7, ..MovesRow::default() }).unwrap();
        let row = Record { key: Some(rows::MOVES.into()), value: Some(row), ..Record::default() };
        self.before.append(&names.tables(&pool(), Stage::Router), TopicSpec::compacted(64), [(0, row)]).await;
    }

    fn topic(&self, name: &str) -> String {
        self.before.names.of_tenant(&tenant(), &TopicName::parse(name).unwrap())
    }

    /// Positions and rows, as their owners write them.
    async fn stages(&mut self, seed: u64) {
        let names = self.before.names.clone();
        let sources = [(names.firehose(), FIREHOSE, "a/3"), (self.topic("in"), 2, "b/4")];
        for (topic, count, subscription) in sources {
            for at in self.partitions(&topic, count) {
                let (position, row) = (self.somewhere(seed ^ 4, &at).await, self.somewhere(seed ^ 5, &at).await);
                let key = format!("scan/local/{subscription}/{topic}/{}", at.partition);
                let value = rows::encode(&ScanRow { position: row, in_scan: seed.is_multiple_of(2) }).unwrap();
                let rows = [(key.clone(), value), started(&at)];
                self.own(Stage::Router, Slot::of_source(&at), &at, position, &rows).await;
                self.positions.push((Stage::Router, Noted { at: at.clone(), offset: position }));
                self.rows.push((key, Noted { at, offset: row }));
            }
        }
        for (id, revision) in [("a", 3), ("b", 4)] {
            let id = SubscriptionId::parse(id).unwrap();
            for at in self.partitions(&names.deliveries(&tenant(), &id, Incarnation(revision)), 2) {
                let position = self.somewhere(seed ^ 6, &at).await;
                let slot = Slot::of_lane("local", id.as_str(), at.partition);
                self.own(Stage::Dispatcher, slot, &at, position, &[started(&at)]).await;
                self.positions.push((Stage::Dispatcher, Noted { at, offset: position }));
            }
        }
    }

    async fn own(
        &self,
        stage: Stage,
        slot: Slot,
        at: &TopicPartition,
        position: Offset,
        rows: &[(String, tokio_util::bytes::Bytes)],
    ) {
        let (log, names) = (&self.before.log, &self.before.names);
        let tables = names.tables(&pool(), stage);
        log.create_topic(&tables, &TopicSpec::compacted(64)).await.unwrap();
        let mut membership = log.join(&names.group(&pool(), stage), "dev").await.unwrap();
        let Some(MembershipEvent::Assigned(leases)) = membership.next().await else { panic!("no slots") };
        let lease = leases.iter().find(|lease| lease.slot == slot).unwrap();
        let mut transaction = Transaction::under(lease);
        for (key, value) in rows {
            let record = Record { key: Some(key.clone().into()), value: Some(value.clone()), ..Record::default() };
            transaction.append(TopicPartition::new(tables.as_str(), slot.0), record);
        }
        transaction.advance(at.clone(), position, format!("{stage:?}").into());
        log.writer("own", Some(&membership)).await.unwrap().commit(transaction).await.unwrap();
    }

    async fn upstream(&mut self, seed: u64) {
        let names = self.before.names.clone();
        for at in self.partitions(&names.firehose(), FIREHOSE) {
            let offset = self.somewhere(seed ^ 9, &at).await;
            self.cursor.push(Noted { at, offset });
        }
        let cursor = |seq| Cursor::new(seq, 1_700, self.cursor.iter().map(|noted| noted.offset).collect());
        let cursors = [3, 9].map(|seq| {
            let value = Some(serde_json::to_vec(&cursor(seq)).unwrap().into());
            (0, Record { key: Some("wss://a".into()), value, ..Record::default() })
        });
        self.before.append(&names.ingest(), TopicSpec::compacted(1), cursors).await;
    }

    async fn trim(&mut self, seed: u64) {
        for at in [TopicPartition::new(self.before.names.firehose(), 1), TopicPartition::new(self.topic("in"), 0)] {
            let before = self.somewhere(seed ^ 11, &at).await;
            self.before.log.trim(&at, before).await.unwrap();
            self.trimmed.push(at);
        }
    }

    async fn run(&self, after: &Side) -> Moved {
        let (from, to) = ((self.before.log(), &self.before.names), (after.log(), &after.names));
        let mut moving = Move::new(from, to, ("id", "node")).await.unwrap();
        moving.run().await.unwrap()
    }

    /// What is read from `noted` on is what is read there now.
    async fn check(&self, after: &Side, noted: &Noted, now: Offset) {
        let at = renamed(&noted.at);
        let (mut then, now) = (self.before.read(&noted.at, noted.offset).await, after.read(&at, now).await);
        // A record of a tenant's topic that has no id is known by where it stood.
        if noted.at.topic.contains(".t.") {
            let mut reader = Reader::open(&*self.before.log, &noted.at).await.unwrap();
            let mut ids = BTreeMap::new();
            // By the first command, and by that of the subscription which writes it.
            let made = if noted.at.topic.ends_with(".in") { 1 } else { 3 };
            while let Some(stored) = reader.next().await.unwrap() {
                let id = event::record_id(&noted.at.topic, made, noted.at.partition.0, stored.offset.0);
                ids.insert(String::from_utf8(stored.record.value.unwrap().to_vec()).unwrap(), id);
            }
            then.iter_mut().for_each(|(value, id, _)| *id = ids.get(value).cloned());
        }
        assert_eq!(then, now, "{} from {}", noted.at, noted.offset);
    }
}

/// Drops it at the so manieth place where it waits, as a crash would; `None` then.
async fn cut<T>(future: impl Future<Output = T>, mut waits: u64) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if waits == 0 => Poll::Ready(None),
        Poll::Pending => {
            waits -= 1;
            Poll::Pending
        }
    })
    .await
}

fn started(at: &TopicPartition) -> (String, tokio_util::bytes::Bytes) {
    (rows::started_key(at), rows::encode(&StartedRow {}).unwrap())
}

fn renamed(at: &TopicPartition) -> TopicPartition {
    TopicPartition::new(at.topic.replacen("fpaas.", "moved.", 1), at.partition.0)
}

async fn check_positions(world: &World, after: &Side) {
    for (stage, noted) in &world.positions {
        let now = after.positions(*stage, &renamed(&noted.at)).await.expect("a position");
        world.check(after, noted, now).await;
    }
    for (key, noted) in &world.rows {
        let (at, key) = (renamed(&noted.at), key.replacen("fpaas.", "moved.", 1));
        let slot = Slot::of_source(&at);
        let row = after.row(Stage::Router, slot, &key).await.expect("a row");
        let row: ScanRow = rows::decode(&key, row.as_bytes()).unwrap();
        world.check(after, noted, row.position).await;
        assert!(after.row(Stage::Router, slot, &rows::started_key(&at)).await.is_some(), "{at}");
    }
}

async fn check_rest(world: &World, after: &Side) {
    let (then, now) = (
        places::view(&*world.before.log, &world.before.names).await.unwrap(),
        places::view(&*after.log, &after.names).await.unwrap(),
    );
    assert_eq!((then.revision, then.topics, then.tenants), (now.revision, now.topics, now.tenants));
    for (entry, moved) in then.subscriptions.values().zip(now.subscriptions.values()) {
        assert_eq!((entry.incarnation, &entry.config), (moved.incarnation, &moved.config));
        let source = world.before.names.of_tenant(&entry.tenant, &entry.config.source.topic);
        for (partition, (start, now)) in (0u32..).zip(entry.starts.iter().zip(&moved.starts)) {
            let noted = Noted { at: TopicPartition::new(source.as_str(), partition), offset: *start };
            world.check(after, &noted, *now).await;
        }
    }
    let cursors = after.read(&TopicPartition::new(after.names.ingest(), 0), Offset::ZERO).await;
    let cursor: Cursor = serde_json::from_str(&cursors.last().unwrap().0).unwrap();
    assert_eq!(cursor.seq, 9);
    for (noted, now) in world.cursor.iter().zip(cursor.firehose_ends) {
        world.check(after, noted, now).await;
    }
    for at in &world.trimmed {
        let whole = Noted { at: at.clone(), offset: Offset::ZERO };
        world.check(after, &whole, Offset::ZERO).await;
    }
    // Kafka's compacted topics take no record without a key.
    let out = renamed(&TopicPartition::new(world.topic("out"), 0));
    let mut out = Reader::open(&*after.log, &out).await.unwrap();
    while let Some(Stored { record, .. }) = out.next().await.unwrap() {
        assert!(record.key.is_some(), "{record:?}");
    }
    // What is appended next stands where nothing stood before.
    let at = world.trimmed.iter().find(|at| at.topic.contains(".t.")).unwrap();
    let low = world.before.log.watermarks(at).await.unwrap().low;
    assert!(after.log.watermarks(&renamed(at)).await.unwrap().end >= low);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stood_at_an_offset_stands_at_its_translation() {
    for seed in 0..12 {
        let (world, after) = (World::new(seed).await, Side::new("moved", scramble(seed ^ 99) % 5 + 1));
        let moved = world.run(&after).await;
        assert_eq!(moved.positions, world.positions.len());
        check_positions(&world, &after).await;
        check_rest(&world, &after).await;
        assert!(mark::refuse_cluster(&*after.log, &after.names).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_cut_off_anywhere_comes_to_the_same_when_it_is_run_again() {
    let (mut cuts, mut refused) = (0, 0);
    for seed in 100..106 {
        let (world, after) = (World::new(seed).await, Side::new("moved", scramble(seed ^ 99) % 5 + 1));
        for n in 0..20 {
            if cut(world.run(&after), scramble(seed ^ (n << 16)) % (5 * (n + 1))).await.is_some() {
                break;
            }
            cuts += 1;
            // Once it has begun there, nothing starts there.
            refused += usize::from(mark::refuse_cluster(&*after.log, &after.names).await.is_err());
        }
        world.run(&after).await;
        check_positions(&world, &after).await;
        check_rest(&world, &after).await;
    }
    assert!(cuts > 20 && refused > 10, "{cuts} runs were cut off, {refused} of them half-way");
}

#[test]
fn an_installation_whose_tenant_is_on_its_way_stays() {
    let mut machine = Machine::default();
    let mut apply = |id: &str, change| {
        machine.apply(&Command::new(id.to_owned(), Timestamp::default(), tenant(), change));
        places::settled(&machine.view).map_err(|failure| failure.to_string())
    };
    assert_eq!(apply("a", Change::PutTenant { pool: None }), Ok(()));
    let refused = apply("b", Change::PutTenant { pool: Some(pool()) }).unwrap_err();
    assert!(refused.contains("the tenant acme is on its way from the pool acme to _free;"), "{refused}");
    assert_eq!(apply("c", Change::EndMove { since: 2 }), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_somebody_else_has_written_to_is_no_copy() {
    let (world, after) = (World::new(7).await, Side::new("moved", 2));
    after.append(&after.names.firehose(), TopicSpec::kept(FIREHOSE), [(0, record(999, true))]).await;
    let (from, to) = ((world.before.log(), &world.before.names), (after.log(), &after.names));
    let mut moving = Move::new(from, to, ("id", "node")).await.unwrap();
    let failure = moving.run().await.unwrap_err().to_string();
    assert!(failure.contains("moved.firehose/0 is not a copy of fpaas.firehose/0"), "{failure}");
    assert!(mark::refuse_cluster(&*after.log, &after.names).await.is_err());
}
