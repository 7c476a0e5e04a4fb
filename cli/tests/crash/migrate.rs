//! `fpaas migrate`, killed: an installation that was killed half-way moves to a broker, in as many runs as it takes,
//! and its work goes on there. 0 lost, 0 doubled, and a call that is repeated is the same, whichever side makes it.
//!
//! Four subscriptions: likes (with faults), what reads their results, posts (put late, so they catch up), and follows,
//! whose endpoint was down all the time, so that a batch is frozen and a backlog waits behind it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_core::Point;
use fpaas_core::event::Operation;
use fpaas_testkit::oracle::Comparison;
use fpaas_testkit::{Answer, Client, Dev, Oracle, Process, Receiver, Script};
use serde_json::{Value, json};

use crate::job::{Job, LONG, On, SECRET, committed, crashed, scramble, stop};
use crate::moments::{at_least, rounds};
use crate::points::MIGRATION;

/// Kills of one move.
const KILLS_PER_MOVE: u64 = 5;
/// What a run says from its start to its end: which line a kill comes after.
const LINES: u64 = 30;

/// A job on an embedded log that was killed half-way, and where it is to move.
struct Moving {
    job: Job,
    /// The endpoint that was down.
    follows: Receiver,
    /// The batches that it was called with.
    frozen: BTreeSet<String>,
    on: On,
    seed: u64,
    /// What the API said of the subscription of likes and of its topic.
    before: Vec<Value>,
    key: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_dies_at_any_crash_point_loses_nothing_and_doubles_nothing() -> Result<()> {
    let Some(kafka) = On::kafka().await else { return Ok(()) };
    let moving = Moving::new(&kafka, 700).await?;
    moving.refused_while_frozen().await?;
    moving.endpoint_is_back();
    moving.given_up().await?;
    let points = MIGRATION.into_iter().chain([Point::TransactionOpen, Point::TransactionEnded]);
    // Nothing is left to be hit after that one.
    for point in points.filter(|point| *point != Point::MigrationFinished) {
        let mut run = moving.migrate(&[], Some(point))?;
        crashed(&mut run).await.with_context(|| point.name())?;
        if point == Point::MigrationCopying {
            moving.neither_side_starts().await?;
        }
    }
    crashed(&mut moving.migrate(&[], Some(Point::MigrationFinished))?).await?;
    moving.end("at each crash point").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_killed_at_any_moment_loses_nothing_and_doubles_nothing() -> Result<()> {
    let Some(kafka) = On::kafka().await else { return Ok(()) };
    killed_at_any_moment(&kafka, rounds(KILLS_PER_MOVE)).await
}

#[expect(clippy::print_stdout, reason = "shown where the test fails, and in make test-crash")]
async fn killed_at_any_moment(on: &On, rounds: u64) -> Result<()> {
    let (mut kills, mut half_way) = (0, 0);
    for seed in (800..).take(usize::try_from(rounds.div_ceil(KILLS_PER_MOVE))?) {
        let moving = Moving::new(on, seed).await?;
        moving.endpoint_is_back();
        for n in 0..KILLS_PER_MOVE {
            let random = scramble(seed * 100 + n);
            let mut run = moving.migrate(&[], None)?;
            // One that has come to its end has said less than that.
            let said = run.line(usize::try_from(random % LINES)?, LONG, |_| Some(())).await;
            tokio::time::sleep(Duration::from_millis(random / LINES % 200)).await;
            if said.is_err() || run.kill().await.is_err() {
                break;
            }
            kills += 1;
            half_way += u64::from(moving.is_marked());
        }
        moving.end(&format!("{kills} kills so far, {half_way} of them between the two marks")).await?;
    }
    println!("{kills} kills, {half_way} of them between the two marks");
    assert!(kills > 0 && half_way > 0, "{kills} kills, {half_way} of them half-way");
    Ok(())
}

impl Moving {
    async fn new(on: &On, seed: u64) -> Result<Self> {
        let job = Job::new(&On::Embedded, seed, "6x").await?;
        let follows = Receiver::start(SECRET, Script::new(|_| Answer::Status(503))).await?;
        let mut running = job.bare()?.start().await?;
        let api = running.api.clone();
        let settings = json!({"partitions": 3, "retentionMs": 86_400_000});
        api.put("/v1/topics/like-results", &settings).await?;
        api.put("/v1/subscriptions/likes", &job.likes()).await?;
        api.put("/v1/subscriptions/follows", &subscription(&follows, "app.bsky.graph.follow")).await?;
        api.put("/v1/subscriptions/chained", &chained(&job.receiver)).await?;
        at_least(&api, 100).await?;
        follows.wait(LONG, |calls| !calls.is_empty()).await?;
        // Late: a lane brings it to the scan, or is to.
        api.put("/v1/subscriptions/posts", &subscription(&job.receiver, "app.bsky.feed.post")).await?;
        let before = described(&api).await?;
        let count = committed(&api).await?;
        ensure!(count < 600, "{count} results: it is not half-way any more");
        running.process.kill().await?;
        let frozen: BTreeSet<String> = follows.calls().into_iter().map(|call| call.id).collect();
        ensure!(!frozen.is_empty(), "nothing is frozen");
        let key = std::fs::read_to_string(job.bare()?.data().join("api-key"))?;
        Ok(Self { frozen, job, follows, on: on.clone(), seed, before, key })
    }

    fn endpoint_is_back(&self) {
        self.follows.set_script(Script::ok());
    }

    /// One run of it, that dies at `point` if one is given: at its first hit where there is but one, else a bit later.
    fn migrate(&self, more: &[&str], point: Option<Point>) -> Result<Process> {
        let dev = self.job.bare()?;
        let mut command = dev.command();
        command.arg("migrate").arg("--from").arg(dev.data()).args(self.to()).args(more);
        if let Some(point) = point {
            let nth = match point {
                Point::MigrationCopying | Point::MigrationPlacing => 3,
                Point::TransactionOpen | Point::TransactionEnded => 8,
                _ => 1,
            };
            command.env("FPAAS_CRASH_POINT", format!("{}:{nth}", point.name()));
        }
        Process::spawn("fpaas migrate", &mut command)
    }

    fn to(&self) -> Vec<String> {
        let mut arguments = self.on.arguments(self.seed);
        arguments.iter_mut().filter(|argument| *argument == "--log").for_each(|log| *log = "--to".to_owned());
        arguments.extend(["--allow-webhook-cidr", "127.0.0.0/8"].map(str::to_owned));
        arguments
    }

    async fn says(&self, more: &[&str], code: i32, said: &str) -> Result<()> {
        ended(self.migrate(more, None)?, code, said).await
    }

    /// The folder says that it moves, and not that it has.
    fn is_marked(&self) -> bool {
        let file = self.job.bare().map(|dev| dev.data().join("migration"));
        file.is_ok_and(|file| std::fs::read_to_string(file).is_ok_and(|text| text.contains("begun")))
    }

    /// Its endpoint is down: it is said whose, nothing is copied, and the installation starts as before.
    async fn refused_while_frozen(&self) -> Result<()> {
        self.says(&["--drain-wait", "2s"], 1, "subscription follows, lane 0: status: ").await?;
        // Nor is a batch given up because the endpoint's address is not permitted here.
        let dev = self.job.bare()?;
        let mut command = dev.command();
        command.arg("migrate").arg("--from").arg(dev.data()).args(self.to().iter().take(4));
        let refused = Process::spawn("fpaas migrate", &mut command)?;
        ended(refused, 1, "its endpoint may not be called from here").await?;
        ensure!(!self.is_marked());
        stop(dev.start().await?).await
    }

    /// Nothing is left of it, and the installation starts as before.
    async fn given_up(&self) -> Result<()> {
        crashed(&mut self.migrate(&[], Some(Point::MigrationPlacing))?).await?;
        ensure!(self.is_marked());
        self.says(&["--abandon"], 0, "given up").await?;
        self.says(&["--abandon"], 64, "no move of").await?;
        stop(self.job.bare()?.start().await?).await
    }

    async fn neither_side_starts(&self) -> Result<()> {
        ended(self.job.bare()?.spawn()?, 73, "is moving to kafka://").await?;
        let there = |dev: Dev| self.on.arguments(self.seed).iter().fold(dev, |dev, argument| dev.arg(argument));
        ended(there(self.job.bare()?).spawn()?, 73, "is moving to kafka://").await?;
        let elsewhere = tempfile::tempdir()?;
        let other = there(Dev::new(elsewhere.path(), "another-key-0123456789")?);
        ended(other.spawn()?, 64, "an installation is moving to these topics").await
    }

    /// Moves to the end, and lets the job end on the other side.
    #[expect(clippy::print_stdout, reason = "shown where the test fails, and in make test-crash")]
    async fn end(mut self, how: &str) -> Result<()> {
        let mut last = self.migrate(&[], None)?;
        let status = last.wait(LONG).await?;
        let lines = last.lines().join("\n");
        ensure!(status.success() && lines.contains("moved. Go on with"), "the last run ended with {status}:\n{lines}");
        self.says(&[], 0, "moved. Go on with").await?;
        ended(self.job.bare()?.spawn()?, 73, "has moved: give --log kafka://").await?;
        let key = std::fs::read_to_string(self.job.bare()?.data().join("api-key"))?;
        ensure!(key == self.key, "the key is another one");
        self.job.move_to(&self.on);
        let mut running = self.job.bare()?.start().await?;
        let now = described(&running.api).await?;
        running.process.kill().await?;
        ensure!(now == self.before, "{now:?} was {:?} before", self.before);
        self.check().await?;
        println!("moved ({how}): {}; follows: {}", self.job.receiver.summary()?, self.follows.summary()?);
        Ok(())
    }

    /// What came out, on whichever log the job is.
    async fn check(&self) -> Result<()> {
        self.job.finish().await?;
        let running = self.job.bare()?.start().await?;
        let checked = self.results(&running.api).await;
        stop(running).await?;
        checked
    }

    async fn results(&self, api: &Client) -> Result<()> {
        let oracle = Oracle::bundled()?;
        for collection in ["app.bsky.feed.post", "app.bsky.graph.follow"] {
            let created = oracle.expected().filter(|write| write.operation == Operation::Create);
            let expected: BTreeSet<_> =
                created.filter(|write| write.collection == collection).map(|it| it.id()).collect();
            let found = ids(api, &results_of(collection)).await?;
            let comparison = Comparison::of(&expected, found);
            ensure!(!expected.is_empty() && comparison.exact(), "{collection}: {comparison}");
        }
        // Each result of a like once, by the place where it first stood.
        let chained = ids(api, "chained-results").await?;
        let distinct: BTreeSet<_> = chained.iter().collect();
        ensure!(
            (chained.len(), distinct.len()) == (719, 719),
            "{} chained, {} distinct",
            chained.len(),
            distinct.len()
        );
        // The batches that were frozen as the endpoint was down are the ones that were called again.
        let calls = self.follows.calls();
        for id in &self.frozen {
            let done = calls.iter().any(|call| call.id == *id && call.answer == Answer::Records);
            ensure!(done, "the frozen batch {id} was not called again: {}", self.follows.summary()?);
        }
        Ok(())
    }
}

/// What must be the same afterwards: settings and revisions.
async fn described(api: &Client) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for path in ["subscriptions/likes", "subscriptions/posts", "topics/like-results", "topics/chained-results"] {
        found.push(api.get(&format!("/v1/{path}")).await?);
    }
    Ok(found)
}

async fn ids(api: &Client, topic: &str) -> Result<Vec<String>> {
    let records = api.records(topic).await?;
    records.iter().map(|item| Ok(item.value.get("id").and_then(Value::as_str).context("no id")?.to_owned())).collect()
}

fn results_of(collection: &str) -> String {
    format!("{}-results", collection.rsplit('.').next().unwrap_or_default())
}

fn subscription(receiver: &Receiver, collection: &str) -> Value {
    json!({
        "startFrom": "earliest",
        "filter": {"collections": [collection], "operations": ["create"]},
        "collector": {"maxEvents": 10, "maxWaitMs": 20},
        "processor": {"webhook": {"url": receiver.url(), "secret": SECRET}},
        "output": {"topic": results_of(collection)},
        "retry": {"initialBackoffMs": 10, "maxBackoffMs": 40, "maxElapsedMs": 600_000},
    })
}

/// Reads what the likes came to.
fn chained(receiver: &Receiver) -> Value {
    json!({
        "source": {"topic": "like-results"},
        "startFrom": "earliest",
        "collector": {"maxEvents": 20, "maxWaitMs": 50},
        "lanes": 2,
        "processor": {"webhook": {"url": receiver.url(), "secret": SECRET}},
        "output": {"topic": "chained-results"},
        "retry": {"initialBackoffMs": 10, "maxBackoffMs": 40, "maxElapsedMs": 600_000},
    })
}

/// It ends with this code and says this.
async fn ended(mut process: Process, code: i32, said: &str) -> Result<()> {
    let status = process.wait(LONG).await?;
    let lines = process.lines().join("\n");
    ensure!(status.code() == Some(code) && lines.contains(said), "{status}, not {code} and {said:?}:\n{lines}");
    Ok(())
}
