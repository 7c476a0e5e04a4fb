//! The main job's tenant moves from its own pool to a shared one and back while the job runs, and the program dies: at
//! each crash point of a move, and at random moments of it. 0 lost, 0 doubled, and a call that is repeated is the same.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_core::Point;
use fpaas_testkit::Client;
use fpaas_testkit::receiver::Summary;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::job::{Job, LONG, On, committed, crashed, scramble, stop};
use crate::moments::{at_least, rounds};

/// Hit by a move alone: the other jobs have none.
pub(crate) const MOVES: [Point; 7] = [
    Point::MoveSettingAside,
    Point::MoveSetAside,
    Point::MoveHandingOver,
    Point::MoveHandedOver,
    Point::MoveTaking,
    Point::MoveTaken,
    Point::MoveEnding,
];
/// The others are passed by both stages, one after the other.
const ONCE: [Point; 3] = [Point::MoveSettingAside, Point::MoveSetAside, Point::MoveEnding];
const TENANT: &str = "/v1/admin/tenants/local";
/// Its own pool, and a shared one.
const POOLS: [&str; 2] = ["local", "_free"];
/// Kills of one job.
const KILLS_PER_JOB: u64 = 5;
/// Results that are to come when a move begins, at least.
const ENOUGH: u64 = 60;
const LIKES: u64 = 719;
/// How often something that takes a while is looked at.
const LOOK: Duration = Duration::from_millis(20);
const SESSION: Duration = Duration::from_secs(6);
/// Moves of one job on Kafka: each takes a few seconds.
const MOVES_ON_KAFKA: u64 = 4;

/// Where the tenant is, and whether it is still on its way.
async fn place(api: &Client) -> Result<(String, bool)> {
    let tenant = api.get(TENANT).await?;
    let pool = tenant.get("pool").and_then(Value::as_str).context("no pool")?.to_owned();
    Ok((pool, tenant.get("moving").is_some()))
}

/// Into the other pool; where it goes.
async fn move_on(api: &Client) -> Result<&'static str> {
    let (pool, moving) = place(api).await?;
    let [own, shared] = POOLS;
    let to = if pool == own { shared } else { own };
    let found = api.put(TENANT, &json!({"pool": to})).await?;
    ensure!(found.pointer("/pool") == Some(&json!(to)), "{found}");
    ensure!(!moving && found.pointer("/moving/from") == Some(&json!(pool)), "{found}");
    Ok(to)
}

/// Waits until it is there.
async fn arrived(api: &Client) -> Result<String> {
    let arrives = async {
        loop {
            match place(api).await {
                Ok((pool, false)) => return pool,
                Ok(_) | Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(LONG, arrives).await.context("it does not arrive")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_moves_and_dies_at_each_crash_point_of_it_loses_nothing_and_doubles_nothing() -> Result<()> {
    let mut seed = 900;
    for point in MOVES {
        let hits = if ONCE.contains(&point) { 1 } else { 2 };
        for nth in 1..=hits {
            seed += 1;
            let summary = at(point, nth, seed).await.with_context(|| format!("at {}:{nth}", point.name()))?;
            println!("{}:{nth}: {LIKES} results, 0 lost, 0 doubled, {summary}", point.name());
        }
    }
    Ok(())
}

/// It dies as it moves, moves on once it is back, and comes back to where it was.
async fn at(point: Point, nth: u32, seed: u64) -> Result<Summary> {
    let job = Job::new(&On::Embedded, seed, "6x").await?;
    let dying = job.dev()?.env("FPAAS_CRASH_POINT", &format!("{}:{nth}", point.name()));
    let mut running = dying.start().await?;
    at_least(&running.api, 30).await?;
    // The answer may not come any more.
    drop(running.api.put(TENANT, &json!({"pool": "_free"})).await);
    crashed(&mut running.process).await?;
    let running = job.dev()?.start().await?;
    ensure!(arrived(&running.api).await? == "_free");
    let count = committed(&running.api).await?;
    at_least(&running.api, count + 30).await?;
    ensure!(move_on(&running.api).await? == "local");
    ensure!(arrived(&running.api).await? == "local");
    stop(running).await?;
    job.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_killed_at_any_moment_of_a_move_loses_nothing_and_doubles_nothing() -> Result<()> {
    let (rounds, mut kills, mut on_the_way, mut moves) = (rounds(3 * KILLS_PER_JOB), 0, 0, 0);
    for seed in (950..).take(usize::try_from(rounds.div_ceil(KILLS_PER_JOB))?) {
        let job = Job::new(&On::Embedded, seed, "6x").await?;
        let mut before = 0;
        for n in 0..KILLS_PER_JOB {
            let mut running = job.dev()?.start().await?;
            let api = running.api.clone();
            if n % 2 == 0 {
                // The other half goes on with the move that the last kill has cut off.
                arrived(&api).await?;
                before = at_least(&api, before + 1).await?;
                move_on(&api).await?;
                moves += 1;
            }
            // A move takes a second, its end included: what follows it is hit too.
            tokio::time::sleep(Duration::from_millis(scramble(seed * 100 + n) % 400)).await;
            on_the_way += u64::from(place(&api).await.is_ok_and(|(_, moving)| moving));
            before = committed(&api).await.unwrap_or(before);
            running.process.kill().await?;
            kills += 1;
            println!("kill {kills} of {rounds}: {before} of {LIKES} results committed");
        }
        let summary = job.finish().await?;
        println!("job {seed}: {LIKES} results, 0 lost, 0 doubled, {summary}");
    }
    println!("{moves} moves, {kills} kills, {on_the_way} of them on the way");
    assert!(on_the_way * 3 >= kills, "only {on_the_way} of {kills} kills found the tenant on its way");
    Ok(())
}

/// Two nodes, one of which is killed while the tenant is on its way, each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_two_nodes_on_kafka_that_moves_loses_nothing_and_doubles_nothing() -> Result<()> {
    let Some(kafka) = On::kafka().await else { return Ok(()) };
    let seed = 980;
    let job = Job::new(&kafka, seed, "0.3x").await?.with_lanes(4)?;
    let mut fleet = Fleet::start(job, 2, SESSION).await?;
    let (mut before, mut on_the_way) = (fleet.more(0, None).await?, 0);
    for n in 0..MOVES_ON_KAFKA {
        ensure!(before + ENOUGH < LIKES, "{before} results: the job is nearly done");
        let random = scramble(seed * 100 + n);
        let node = usize::try_from(random / 700 % 2)?;
        let to = move_on(&fleet.api()?).await.with_context(|| fleet.said())?;
        tokio::time::sleep(Duration::from_millis(random % 700)).await;
        on_the_way += u64::from(place(&fleet.api_but(Some(node))?).await?.1);
        fleet.node(node)?.process.kill().await?;
        drop(fleet.gone(node));
        fleet.revive(node).await?;
        let there = arrived(&fleet.api()?).await.with_context(|| fleet.said())?;
        ensure!(there == to, "it is in {there}");
        before = fleet.more(before, None).await?;
        println!("move {} to {to}, node {node} killed: {before} of {LIKES} results committed", n + 1);
    }
    assert!(on_the_way > 0, "no kill found the tenant on its way");
    let mut job = fleet.end().await?;
    job.hurry();
    let summary = job.finish().await?;
    println!("{MOVES_ON_KAFKA} moves: {LIKES} results, 0 lost, 0 doubled, {summary}");
    Ok(())
}
