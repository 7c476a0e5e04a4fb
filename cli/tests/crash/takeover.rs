//! How long work stands still when its node goes away, and how long a new subscription waits for its first call.
//!
//! The figures are printed, not judged: a machine of tests is slower than any other. What is judged is that the work
//! goes on, and comes out right.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fpaas_testkit::client::Tail;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::fleet::{CALLS, Fleet};
use crate::job::{Job, LONG, On, SECRET};

/// As it is where nothing is said.
const SESSION: Duration = Duration::from_secs(10);
/// Some results a second, for longer than any of this takes.
const PACE: &str = "0.25x";

/// How a node goes away.
#[derive(Clone, Copy, Debug)]
enum End {
    /// SIGTERM: it hands over.
    Stop,
    /// SIGKILL: the others learn of it when its session is over.
    Kill,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: make test-nodes"]
async fn the_work_of_a_node_that_goes_away_is_taken_over() -> Result<()> {
    let Some(kafka) = On::kafka().await else { return Ok(()) };
    taken_over(&kafka, 3000, End::Stop).await?;
    taken_over(&kafka, 3001, End::Kill).await
}

#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
async fn taken_over(kafka: &On, seed: u64, end: End) -> Result<()> {
    let mut fleet = Fleet::start(Job::new(kafka, seed, PACE).await?, 2, SESSION).await?;
    let before = fleet.more(20, None).await?;
    let owner = owner(&fleet).await?;
    let (ingests, window) = (fleet.counted(owner, &["fpaas_ingest_events"]).await? > 0.0, 2 * SESSION);
    let mut tail = fleet.api_but(Some(owner))?.tail("like-results", "from=latest").await?;
    let busy = longest_silence(&mut tail, Duration::from_secs(5)).await;
    match end {
        End::Stop => {
            let (silence, stopped) = tokio::join!(longest_silence(&mut tail, window), fleet.stop(owner));
            stopped?;
            println!(
                "{end:?}: silent for {silence:?}, {busy:?} while all runs; it had the lane, ingest too: {ingests}"
            );
        }
        End::Kill => {
            fleet.node(owner)?.process.kill().await?;
            let silence = longest_silence(&mut tail, window).await;
            println!(
                "{end:?}: silent for {silence:?}, {busy:?} while all runs; it had the lane, ingest too: {ingests}"
            );
            drop(fleet.gone(owner));
        }
    }
    fleet.more(before, None).await.context("nobody took over")?;
    let mut job = fleet.end().await?;
    job.hurry();
    job.finish().await?;
    Ok(())
}

/// The node that has the only lane: it calls.
async fn owner(fleet: &Fleet) -> Result<usize> {
    let found = async {
        loop {
            for node in 0..2 {
                if fleet.counted(node, &[CALLS]).await? > 0.0 {
                    return anyhow::Ok(node);
                }
            }
        }
    };
    timeout(LONG, found).await?
}

/// The longest time without a result in the next `window`.
async fn longest_silence(tail: &mut Tail, window: Duration) -> Duration {
    let (began, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while let Ok(Ok(_)) = timeout(window.saturating_sub(began.elapsed()), tail.next()).await {
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    longest.max(last.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscription_is_called_soon_and_stalls_no_other() -> Result<()> {
    let Some(kafka) = On::kafka().await else { return Ok(()) };
    let fleet = Fleet::start(Job::new(&kafka, 3002, PACE).await?.with_lanes(4)?, 3, SESSION).await?;
    fleet.more(20, None).await?;
    let api = fleet.api()?;
    let mut tail = api.tail("like-results", "from=latest").await?;
    let busy = longest_silence(&mut tail, Duration::from_secs(5)).await;
    let posts = json!({
        "filter": {"collections": ["app.bsky.feed.post"]},
        "collector": {"maxEvents": 10, "maxWaitMs": 20},
        "processor": {"webhook": {"url": fleet.job.receiver.url(), "secret": SECRET}},
    });
    let put = async {
        let asked = Instant::now();
        api.put("/v1/subscriptions/posts", &posts).await?;
        let answered = asked.elapsed();
        let called = |calls: &[fpaas_testkit::receiver::Call]| {
            calls.iter().any(|call| call.header("fpaas-subscription") == Some("posts"))
        };
        fleet.job.receiver.wait(LONG, called).await?;
        anyhow::Ok((answered, asked.elapsed()))
    };
    let (silence, put) = tokio::join!(longest_silence(&mut tail, Duration::from_secs(8)), put);
    let (answered, called) = put?;
    println!(
        "PUT answered after {answered:?}, first call after {called:?}; the other's longest silence {silence:?}, {busy:?} before"
    );
    api.send(reqwest::Method::DELETE, "/v1/subscriptions/posts", None).await?.ok()?;
    let mut job = fleet.end().await?;
    job.hurry();
    job.finish().await?;
    Ok(())
}
