//! Kills at random moments, most of them while results are being committed.

use std::time::Duration;

use anyhow::Result;

use crate::job::{Job, LONG, On, committed, scramble};

/// Kills within one job: enough that a restart meets what another restart left.
const KILLS_PER_JOB: u64 = 10;
const LIKES: u64 = 719;

/// Where a kill came.
#[derive(Clone, Copy)]
enum Moment {
    /// As soon as so many results are committed.
    Results(u64),
    /// As soon as a call is on its way: before the answer, or while it comes.
    Call,
    /// So much after the start, whatever is going on.
    After(Duration),
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_killed_at_any_moment_loses_nothing_and_doubles_nothing() -> Result<()> {
    killed_at_any_moment(&On::Embedded, rounds(20)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_kafka_killed_at_any_moment_loses_nothing_and_doubles_nothing() -> Result<()> {
    let Some(kafka) = On::kafka().await else { return Ok(()) };
    killed_at_any_moment(&kafka, rounds(10)).await
}

pub(crate) fn rounds(bounded: u64) -> u64 {
    std::env::var("FPAAS_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(bounded)
}

#[expect(clippy::print_stdout, reason = "shown where the test fails, and in make test-crash")]
async fn killed_at_any_moment(on: &On, rounds: u64) -> Result<()> {
    let (mut kills, mut between, mut in_call, mut taken_up_again, mut timed_out) = (0, 0, 0, 0, 0);
    for seed in 0..rounds.div_ceil(KILLS_PER_JOB) {
        let job = Job::new(on, seed, on.pace()).await?;
        let mut before = 0;
        for n in 0..KILLS_PER_JOB {
            let killed = kill(&job, moment(seed, n), before).await?;
            before = killed.committed;
            kills += 1;
            between += u64::from((1..LIKES).contains(&killed.committed));
            in_call += usize::from(killed.in_call);
            println!("kill {kills} of {rounds}: {} of {LIKES} results committed", killed.committed);
        }
        let summary = job.finish().await?;
        taken_up_again += summary.taken_up_again;
        timed_out += summary.timed_out;
        println!("job {seed}: {LIKES} results, 0 lost, 0 doubled, {summary}");
    }
    println!("{kills} kills, {between} between the first and the last commit, {in_call} of them during a call;");
    println!("{taken_up_again} batches were taken up again by the next process, {timed_out} calls timed out");
    assert!(between * 100 >= kills * 80, "only {between} of {kills} kills found the job under way");
    assert!(in_call > 0, "the kills missed the calls");
    // A retry has the next number: only a kill makes the same attempt come twice.
    assert!(taken_up_again >= in_call, "{in_call} kills cut calls off, and {taken_up_again} batches were called anew");
    assert!(timed_out > 0, "no call timed out");
    Ok(())
}

/// Spread over the job: the n-th kill aims at the n-th part of the results, in one of three ways.
fn moment(seed: u64, n: u64) -> Moment {
    let random = scramble(seed * 1000 + n);
    match random % 3 {
        0 => Moment::Call,
        1 => Moment::After(Duration::from_millis(random / 3 % 300)),
        _ => Moment::Results((n * (LIKES - 60) / KILLS_PER_JOB) + random / 3 % 40 + 1),
    }
}

/// What a kill found.
struct Killed {
    committed: u64,
    /// A batch was called and not acknowledged.
    in_call: bool,
}

/// `before` results were there when the last one was killed.
async fn kill(job: &Job, moment: Moment, before: u64) -> Result<Killed> {
    let mut running = job.dev()?.start().await?;
    let api = running.api.clone();
    // Under way first, so that the kill does not only hit the start.
    let (mut count, mut in_call) = (at_least(&api, before + 1).await?, false);
    match moment {
        Moment::Results(wanted) => count = at_least(&api, wanted).await?,
        Moment::Call => {
            job.hold();
            let before = job.receiver.calls().len();
            // None comes any more when the job is nearly done: then the kill finds it idle.
            in_call = job.receiver.wait(Duration::from_secs(2), |calls| calls.len() > before).await.is_ok();
        }
        Moment::After(time) => tokio::time::sleep(time).await,
    }
    count = committed(&api).await.unwrap_or(count);
    running.process.kill().await?;
    job.release();
    Ok(Killed { committed: count, in_call })
}

/// Waits on the topic's tail until so many results are committed.
pub(crate) async fn at_least(api: &fpaas_testkit::Client, wanted: u64) -> Result<u64> {
    let mut tail = api.tail("like-results", "from=earliest").await?;
    let read = async {
        let mut count = 0;
        while count < wanted.min(LIKES) {
            tail.next().await?;
            count += 1;
        }
        anyhow::Ok(count)
    };
    tokio::time::timeout(LONG, read).await?
}
