//! Three nodes on one broker, and everything that can go wrong between them, while they work.
//!
//! `FPAAS_FAULT_ROUNDS` is the number of faults (one of each kind where nothing is said), `FPAAS_FAULTS` lists those
//! that are wanted: without it [`BOUNDED`], with `all` all of them. Each is checked to have hit work under way: some
//! results are committed and others are to come, its node is seen working just before, and the job goes on after it.
//! Invariants: one-owner, offsets-with-effects, frozen-batch.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fpaas_core::Point;
use fpaas_testkit::broker::Options;
use fpaas_testkit::proxy::Way;
use fpaas_testkit::{Broker, Proxy};

use crate::fleet::{CALLS, Fleet};
use crate::job::{Job, On, crashed, scramble};

const NODES: usize = 3;
/// How often in a job a node may be asked to die in a lane that has none: four lanes are not on three nodes each time.
const MISSED_MAX: u64 = 20;
const LIKES: u64 = 719;
/// The last `seq` of the recording.
const LAST: u64 = 2090;
/// With less to come than this, three quarters of a minute, a fault could outlast the job: it is the next job's.
const ENOUGH: u64 = 550;
/// Short, so that many fit into a run.
const SESSION: Duration = Duration::from_secs(3);
/// Longer than that: whoever is silent for so long has lost its slots.
const SILENCE: Duration = Duration::from_secs(5);
/// Slow enough that a job outlasts several faults.
const PACE: &str = "0.1x";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL of a node, which comes back at once.
    Kill,
    /// SIGKILL of a node, which comes back when others have its work.
    KillForLong,
    /// SIGSTOP for longer than the session, then SIGCONT: it goes on as if it still owned what it owned.
    Zombie,
    /// A node dies at a crash point of the log or of a stage.
    Point(Point),
    /// One more node comes and goes: slots move twice, and nobody dies.
    Rebalance,
    /// SIGTERM of a node, which comes back.
    Restart,
    /// Every connection to the broker is cut.
    Cut,
    /// Whoever reads answers sees the end, and may still write.
    HalfClose,
    /// Every piece waits.
    Delay,
    /// Requests go through and answers do not, for less than the session.
    Hold,
    /// The broker is stopped, and started again.
    BrokerStop,
    /// The broker is killed, and started again.
    BrokerKill,
    /// The broker stands still for longer than the session, and for longer than its controller waits for it.
    BrokerPause,
}

const FAULTS: [Fault; 15] = [
    Fault::Kill,
    Fault::Cut,
    Fault::Zombie,
    Fault::Point(Point::TransactionOpen),
    Fault::BrokerKill,
    Fault::Rebalance,
    Fault::HalfClose,
    Fault::KillForLong,
    Fault::Point(Point::TransactionEnded),
    Fault::BrokerPause,
    Fault::Restart,
    Fault::Delay,
    Fault::Point(Point::LaneBeforeCommit),
    Fault::BrokerStop,
    Fault::Hold,
];

/// What every run of the tests has; the rest is for `make test-nodes`.
const BOUNDED: [Fault; 7] = [
    Fault::Kill,
    Fault::Cut,
    Fault::Zombie,
    Fault::Point(Point::TransactionOpen),
    Fault::BrokerStop,
    Fault::Rebalance,
    Fault::BrokerPause,
];

/// Where the job runs.
struct World {
    broker: Broker,
    proxy: Proxy,
    faults: Vec<Fault>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_three_nodes_loses_nothing_and_doubles_nothing_whatever_goes_wrong() -> Result<()> {
    let rounds = std::env::var("FPAAS_FAULT_ROUNDS").ok().and_then(|text| text.parse().ok());
    let Some(world) = World::start().await? else { return Ok(()) };
    let (mut done, mut seed) = (0, 2000);
    let rounds: usize = rounds.unwrap_or(world.faults.len());
    while done < rounds {
        done = world.job(seed, done, rounds).await.with_context(|| format!("job {seed}"))?;
        seed += 1;
    }
    Ok(())
}

/// Those that are asked for, such as `Kill,BrokerStop`.
fn wanted() -> Result<Vec<Fault>> {
    let Ok(names) = std::env::var("FPAAS_FAULTS") else { return Ok(BOUNDED.to_vec()) };
    if names == "all" {
        return Ok(FAULTS.to_vec());
    }
    let named = |fault: &Fault| names.split(',').any(|name| format!("{fault:?}").starts_with(name));
    let wanted: Vec<_> = FAULTS.into_iter().filter(named).collect();
    ensure!(!wanted.is_empty(), "FPAAS_FAULTS={names}: no such fault; there are {FAULTS:?}");
    Ok(wanted)
}

impl World {
    async fn start() -> Result<Option<Self>> {
        let proxy = Proxy::start().await?;
        let options = Options::default().behind(proxy.address()).property("group.min.session.timeout.ms", "1000");
        let Some(broker) = Broker::start(&options).await else { return Ok(None) };
        proxy.forward(broker.address());
        Ok(Some(Self { broker, proxy, faults: wanted()? }))
    }

    /// One job with the faults from the `done`-th on, as many as find it under way: which is the next one.
    #[expect(clippy::print_stdout, reason = "shown where the test fails, and in make test-nodes")]
    async fn job(&self, seed: u64, mut done: usize, rounds: usize) -> Result<usize> {
        let job = Job::new(&On::Kafka(self.broker.bootstrap()), seed, PACE).await?.with_lanes(4)?;
        let mut fleet = Fleet::start(job, NODES, SESSION).await?;
        let (mut before, mut missed) = (fleet.more(0, None).await?, 0);
        while done < rounds && fleet.cursor().await? + ENOUGH < LAST {
            let fault = *self.faults.get(done % self.faults.len()).context("no fault is wanted")?;
            let victim = usize::try_from(scramble(seed * 1000 + done as u64 + missed))? % NODES;
            fleet.busy(victim).await?;
            let struck = self.strike(&mut fleet, fault, victim).await;
            if !struck.with_context(|| format!("{fault:?} of node {victim}\n{}", fleet.said()))? {
                println!("{fault:?}: node {victim} has no lane now, another one is to die");
                missed += 1;
                ensure!(missed < MISSED_MAX, "no node has lanes");
                continue;
            }
            let after = fleet.more(before, None).await.with_context(|| format!("after {fault:?} of node {victim}"))?;
            done += 1;
            println!("fault {done} of {rounds}: {fault:?}, node {victim}; {before}, then {after} of {LIKES} results");
            before = after;
        }
        let mut job = fleet.end().await?;
        job.hurry();
        let summary = job.finish().await?;
        println!("job {seed}: {LIKES} results, 0 lost, 0 doubled, {summary}");
        Ok(done)
    }

    /// False where it has hit nothing: that is no fault.
    async fn strike(&self, fleet: &mut Fleet, fault: Fault, victim: usize) -> Result<bool> {
        if let Fault::Point(point) = fault {
            return dying(fleet, point, victim).await;
        }
        self.hit(fleet, fault, victim).await.map(|()| true)
    }

    async fn hit(&self, fleet: &mut Fleet, fault: Fault, victim: usize) -> Result<()> {
        match fault {
            Fault::Kill => {
                fleet.node(victim)?.process.kill().await?;
                fleet.gone(victim);
                fleet.revive(victim).await
            }
            Fault::KillForLong => {
                let before = fleet.more(0, None).await?;
                fleet.node(victim)?.process.kill().await?;
                fleet.gone(victim);
                tokio::time::sleep(SILENCE).await;
                fleet.more(before, None).await.context("nobody took over")?;
                fleet.revive(victim).await
            }
            Fault::Zombie => zombie(fleet, victim).await,
            Fault::Point(_) => bail!("a node dies at a point by itself"),
            Fault::Rebalance => {
                let more = fleet.add();
                fleet.revive(more).await?;
                fleet.busy(more).await?;
                fleet.stop(more).await
            }
            Fault::Restart => {
                fleet.stop(victim).await?;
                fleet.revive(victim).await
            }
            Fault::Cut | Fault::HalfClose | Fault::Delay | Fault::Hold => self.disturb(fault).await,
            Fault::BrokerStop => {
                self.broker.stop().await?;
                self.broker.start_again().await
            }
            Fault::BrokerKill => {
                self.broker.kill().await?;
                self.broker.start_again().await
            }
            Fault::BrokerPause => {
                self.broker.pause().await?;
                tokio::time::sleep(SILENCE).await;
                self.broker.resume().await
            }
        }
    }

    /// On the way to the broker.
    async fn disturb(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Cut => ensure!(self.proxy.cut().await >= NODES, "there was nothing to cut"),
            Fault::HalfClose => {
                ensure!(self.proxy.half_close(Way::Answers).await >= NODES, "there was nothing to close");
            }
            Fault::Delay => {
                let before = self.proxy.counts().delayed;
                self.proxy.delay(Duration::from_millis(150));
                tokio::time::sleep(SILENCE).await;
                self.proxy.delay(Duration::ZERO);
                ensure!(self.proxy.counts().delayed > before, "nothing was delayed");
            }
            _ => {
                let before = self.proxy.counts().held;
                self.proxy.hold(Some(Way::Answers));
                tokio::time::sleep(SESSION / 2).await;
                self.proxy.hold(None);
                ensure!(self.proxy.counts().held > before, "nothing was held back");
            }
        }
        Ok(())
    }
}

/// While it stands still others do its work; then it goes on with what it had in hand.
async fn zombie(fleet: &mut Fleet, victim: usize) -> Result<()> {
    let other = Some(victim);
    fleet.node(victim)?.process.pause().await?;
    let before = fleet.more(0, other).await?;
    tokio::time::sleep(SILENCE).await;
    let taken_over = fleet.more(before, other).await.context("nobody took over");
    fleet.node(victim)?.process.resume()?;
    let taken_over = taken_over?;
    // It is one of them again, and not dead.
    fleet.busy(victim).await.context("it does not come back")?;
    fleet.more(taken_over, None).await?;
    Ok(())
}

/// It is started anew so that it dies there, and then as it was. False where it did not die, since none of the lanes is
/// in one of its slots: it calls nobody.
async fn dying(fleet: &mut Fleet, point: Point, victim: usize) -> Result<bool> {
    fleet.stop(victim).await?;
    let planned = fleet.plan(victim)?.env("FPAAS_CRASH_POINT", &format!("{}:3", point.name()));
    fleet.run(victim, &planned).await?;
    let died = crashed(&mut fleet.node(victim)?.process).await;
    let without_lanes = died.is_err() && fleet.counted(victim, &[CALLS]).await.is_ok_and(|calls| calls == 0.0);
    if without_lanes {
        fleet.stop(victim).await?;
    } else {
        died?;
        fleet.gone(victim);
    }
    fleet.revive(victim).await?;
    Ok(!without_lanes)
}
