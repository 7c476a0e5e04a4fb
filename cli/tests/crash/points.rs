//! Every named crash point, hit while the job is under way. A point that is never hit fails the test.

use anyhow::{Context as _, Result, ensure};
use fpaas_core::Point;
use fpaas_testkit::Dev;
use fpaas_testkit::receiver::{Call, Summary};
use serde_json::{Value, json};

use crate::job::{Job, LONG, On, SECRET, crashed, stop};
use crate::pools::MOVES;

/// What the embedded log does by itself: Kafka's brokers do it for theirs.
const EMBEDDED_ALONE: [Point; 3] = [Point::RetentionTrimmed, Point::RetentionExpired, Point::RetentionSwept];
/// A transaction of the brokers.
const KAFKA_ALONE: [Point; 2] = [Point::TransactionOpen, Point::TransactionEnded];
/// Hit by `fpaas migrate` alone: see `migrate`.
pub(crate) const MIGRATION: [Point; 5] = [
    Point::MigrationBegun,
    Point::MigrationCopying,
    Point::MigrationPlacing,
    Point::MigrationPlaced,
    Point::MigrationFinished,
];
/// Where the two logs differ most: before, in and after a commit, and as a new owner reads what there is.
const KAFKA_BOUNDED: [Point; 6] = [
    Point::TransactionOpen,
    Point::TransactionEnded,
    Point::ScanBeforeCommit,
    Point::LaneAfterFreeze,
    Point::LaneBeforeCommit,
    Point::RestoreRunning,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_dies_at_any_crash_point_loses_nothing_and_doubles_nothing() -> Result<()> {
    let on_embedded = |point: &Point| !KAFKA_ALONE.contains(point) && !elsewhere(point);
    assert!(Point::ALL.iter().filter(|point| on_embedded(point)).count() >= 12);
    dying_at_each(&On::Embedded, 500, on_embedded).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_kafka_that_dies_at_any_crash_point_loses_nothing_and_doubles_nothing() -> Result<()> {
    let Some(kafka) = On::kafka().await else { return Ok(()) };
    // Each takes a quarter of a minute there: all of them in the long form.
    let long = std::env::var_os("FPAAS_CRASH_ROUNDS").is_some();
    let all = |point: &Point| !EMBEDDED_ALONE.contains(point) && !elsewhere(point);
    let which = |point: &Point| if long { all(point) } else { KAFKA_BOUNDED.contains(point) };
    dying_at_each(&kafka, 600, which).await
}

/// Dead letters are delivered again in no job: the dispatcher's own test dies there, and counts what came out.
const REDRIVE: [Point; 2] = [Point::LaneBeforeRedrive, Point::LaneAfterRedrive];

/// Hit by what these jobs do not do.
fn elsewhere(point: &Point) -> bool {
    REDRIVE.contains(point) || MIGRATION.contains(point) || MOVES.contains(point)
}

#[expect(clippy::print_stdout, reason = "shown where the test fails, and in make test-crash")]
async fn dying_at_each(on: &On, seeds: u64, which: impl Fn(&Point) -> bool) -> Result<()> {
    let mut timed_out = 0;
    let points: Vec<Point> = Point::ALL.iter().copied().filter(which).collect();
    for (seed, point) in (seeds..).zip(&points) {
        let summary = at(on, *point, seed).await.with_context(|| format!("at {}", point.name()))?;
        println!("{}: 719 results, 0 lost, 0 doubled, {summary}", point.name());
        timed_out += summary.timed_out;
    }
    assert!(!points.is_empty() && timed_out > 0, "no call timed out");
    Ok(())
}

async fn at(on: &On, point: Point, seed: u64) -> Result<Summary> {
    match point {
        Point::ScanJoining => joining(on, point, seed).await,
        Point::RestoreRunning => restoring(on, point, seed).await,
        Point::ControlAppended => appended(on, point, seed).await,
        Point::RetentionExpired | Point::RetentionSwept => retaining(on, point, seed).await,
        _ => under_way(on, point, seed).await,
    }
}

fn planned(dev: Dev, point: Point) -> Dev {
    dev.env("FPAAS_CRASH_POINT", &format!("{}:{}", point.name(), nth(point)))
}

/// Which hit: not the first, where more of them come, so that something was done before.
fn nth(point: Point) -> u32 {
    match point {
        Point::ControlAppended | Point::ScanJoining | Point::RestoreRunning => 1,
        Point::RetentionTrimmed | Point::RetentionExpired | Point::RetentionSwept => 1,
        Point::TopicsMissing => 2,
        Point::LaneInBackoff => 3,
        _ => 10,
    }
}

async fn under_way(on: &On, point: Point, seed: u64) -> Result<Summary> {
    let job = Job::new(on, seed, "6x").await?;
    crashed(&mut planned(job.dev()?, point).spawn()?).await?;
    job.finish().await
}

/// The scan is past the start when the subscription comes: a catch-up lane serves it, and dies as it joins.
async fn joining(on: &On, point: Point, seed: u64) -> Result<Summary> {
    let job = Job::new(on, seed, "max").await?;
    let mut running = planned(job.bare()?, point).start().await?;
    running.api.put("/v1/subscriptions/posts", &posts(&job)).await?;
    // Its first call shows that the scan has moved.
    job.receiver.wait(LONG, |calls| calls.iter().any(from_posts)).await?;
    // The answer may not come any more.
    drop(running.api.put("/v1/subscriptions/likes", &job.likes()).await);
    crashed(&mut running.process).await?;
    let running = job.bare()?.start().await?;
    running.api.send(reqwest::Method::DELETE, "/v1/subscriptions/posts", None).await?.ok()?;
    stop(running).await?;
    job.finish().await
}

/// A subscription beside the job's, with no event in common.
fn posts(job: &Job) -> Value {
    json!({
        "filter": {"collections": ["app.bsky.feed.post"]},
        "startFrom": "earliest",
        "collector": {"maxEvents": 10, "maxWaitMs": 20},
        "processor": {"webhook": {"url": job.receiver.url(), "secret": SECRET}},
        "output": {"topic": "post-results"},
        "retry": {"initialBackoffMs": 10, "maxBackoffMs": 40},
    })
}

fn from_posts(call: &Call) -> bool {
    call.header("fpaas-subscription") == Some("posts")
}

/// What was durable and not answered holds: it is there before anything is applied again.
async fn appended(on: &On, point: Point, seed: u64) -> Result<Summary> {
    let job = Job::new(on, seed, "6x").await?;
    crashed(&mut planned(job.dev()?, point).spawn()?).await?;
    let running = job.bare()?.start().await?;
    let kept = running.api.get("/v1/subscriptions/likes").await.context("the command is lost")?;
    ensure!(kept.pointer("/output/topic") == Some(&json!("like-results")), "{kept}");
    stop(running).await?;
    job.finish().await
}

/// The log removes by itself: results of another subscription, which are kept for a second, and deliveries that are
/// done. A first run leaves both behind, the second dies as it removes them.
async fn retaining(on: &On, point: Point, seed: u64) -> Result<Summary> {
    let job = Job::new(on, seed, "6x").await?;
    let mut running = job.dev()?.start().await?;
    running.api.put("/v1/topics/post-results", &json!({"retentionMs": 1000})).await?;
    running.api.put("/v1/subscriptions/posts", &posts(&job)).await?;
    let made = |calls: &[Call]| {
        [false, true].iter().all(|posts| calls.iter().filter(|call| from_posts(call) == *posts).count() > 5)
    };
    job.receiver.wait(LONG, made).await?;
    running.process.kill().await?;
    crashed(&mut planned(job.bare()?, point).spawn()?).await?;
    let running = job.bare()?.start().await?;
    if point == Point::RetentionExpired {
        // The watermark that had moved is where it was.
        let first = running.api.get("/v1/topics/post-results/records?from=earliest&limit=1").await?;
        let offset = first.pointer("/items/0/offset").or(first.get("nextOffset")).and_then(Value::as_u64);
        ensure!(offset > Some(0), "what was removed is back: {first}");
    }
    running.api.send(reqwest::Method::DELETE, "/v1/subscriptions/posts", None).await?.ok()?;
    stop(running).await?;
    job.finish().await
}

/// A first run leaves rows behind; the second dies while it reads them.
async fn restoring(on: &On, point: Point, seed: u64) -> Result<Summary> {
    let job = Job::new(on, seed, "6x").await?;
    let mut running = job.dev()?.start().await?;
    job.receiver.wait(LONG, |calls| calls.len() > 5).await?;
    running.process.kill().await?;
    crashed(&mut planned(job.dev()?, point).spawn()?).await?;
    job.finish().await
}
