//! A catch-up lane: brings one subscription from its position to the scan, beside it and without delaying it.
//!
//! Owns the subscription's row while it runs. Reads only what the scan has passed, so it can never get ahead of it; at
//! the scan's border it asks to be taken in, commits up to exactly where the scan stands, and ends.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::invariant::{self, InvariantId};
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, limits};
use fpaas_log::{Backoff, Error as LogError, Fetched, Hold, Refusal};
use fpaas_state::rows::{self, ScanRow};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::commit::{Ended, Outcome, Step};
use crate::lanes::LaneId;
use crate::own::Own;
use crate::plan::{self, Plan, Run};
use crate::replay::Replay;
use crate::roster::{Member, Roster};
use crate::undeliverable::{Refused, Undeliverable};
use crate::{Index, Result};

/// How long a lane waits for records that the scan has seen, should they not be readable here at once.
const READ_WAIT: Duration = Duration::from_millis(100);

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) own: Arc<Own>,
    pub(crate) roster: watch::Receiver<Arc<Roster>>,
    /// Where the scan stands.
    pub(crate) border: watch::Receiver<Offset>,
    pub(crate) joins: mpsc::Sender<Join>,
    pub(crate) member: Arc<Member>,
    pub(crate) position: Offset,
    pub(crate) hold: Hold,
    /// Where it delivers a part of the source again, and never joins the scan.
    pub(crate) replay: Option<Replay>,
}

/// A lane that has reached the scan asks to be taken in.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) lane: LaneId,
    /// The scan answers with where it stands, and stands there…
    pub(crate) until: oneshot::Sender<Offset>,
    /// …until the lane has committed up to it. The lane goes on by itself when nobody waits for this any more.
    pub(crate) reached: oneshot::Receiver<()>,
}

pub(crate) async fn run(mut lane: Lane, stop: CancellationToken) -> Result<Ended> {
    let mut running = Running::new(&lane.member);
    if !running.take_turn(&lane, &stop).await {
        return Ok(Ended::Stopped);
    }
    let what = if lane.replay.is_some() { "delivering again" } else { "catching up" };
    info!(subscription = %lane.member.key, source = %lane.own.source, from = %lane.position, what, "a lane is open");
    loop {
        let border = match &lane.replay {
            Some(replay) => replay.to,
            None => *lane.border.borrow_and_update(),
        };
        let flow = if lane.position < border {
            lane.advance(&mut running, border, &stop).await?
        } else if lane.replay.is_some() {
            info!(subscription = %lane.member.key, source = %lane.own.source, to = %border, "delivered again");
            ControlFlow::Break(Ended::Done)
        } else {
            lane.join(&mut running, &stop).await?
        };
        if let ControlFlow::Break(ended) = flow {
            return Ok(ended);
        }
    }
}

#[derive(Debug)]
struct Running {
    index: Index,
    committed_at: Instant,
    undeliverable: Undeliverable,
    /// Given back while it waits for its topics.
    turn: Option<OwnedSemaphorePermit>,
    waiting: Option<Backoff>,
}

impl Running {
    fn new(member: &Arc<Member>) -> Self {
        let (index, undeliverable) = (Index::new(vec![Arc::clone(member)]), Undeliverable::default());
        Self { index, committed_at: Instant::now(), undeliverable, turn: None, waiting: None }
    }

    /// False when asked to stop.
    async fn take_turn(&mut self, lane: &Lane, stop: &CancellationToken) -> bool {
        let shared = &lane.own.shared;
        let turns = Arc::clone(if lane.replay.is_some() { &shared.replays } else { &shared.turns });
        self.turn = stop.run_until_cancelled(turns.acquire_owned()).await.and_then(Result::ok);
        self.turn.is_some()
    }
}

type Flow = Result<ControlFlow<Ended>>;

impl Lane {
    /// One step, at most up to `until`.
    async fn advance(&mut self, running: &mut Running, until: Offset, stop: &CancellationToken) -> Flow {
        self.renew(running);
        let fetched = match self.own.fetch(self.position, READ_WAIT, stop).await {
            // The scan finds the same, and says so.
            Err(LogError::Refused(_) | LogError::NoSuchTopic(_)) => return Ok(ControlFlow::Break(Ended::Halted)),
            fetched => fetched?,
        };
        let Some(fetched) = fetched.filter(|_| !stop.is_cancelled()) else {
            return Ok(ControlFlow::Break(Ended::Stopped));
        };
        let plan = self.plan(&fetched, until, running);
        if plan.is_empty() && plan.next < until && running.committed_at.elapsed() < self.own.shared.config.idle_commit {
            self.pass(&plan, running);
            return Ok(ControlFlow::Continue(()));
        }
        self.carry_out(plan, running, stop).await
    }

    fn plan(&self, fetched: &Fetched, until: Offset, running: &Running) -> Plan {
        let below = fetched.records.partition_point(|stored| stored.offset < until);
        let records = fetched.records.get(..below).unwrap_or_default();
        let run = Run {
            source: &self.own.source,
            records,
            next: fetched.next.min(until),
            most: self.replay.as_ref().map_or(limits::ROUTE_DELIVERIES_MAX, Replay::most),
            lost_until: fetched.lost_until,
            undeliverable: &running.undeliverable,
            now: self.own.now(),
        };
        let plan = plan::route(run, &running.index, &[self.position]);
        let within = self.position <= plan.next && plan.next <= until;
        // The scan has the rest: what both carried would be there twice.
        invariant::check(InvariantId::OffsetsWithEffects, within, || {
            format!("a lane of {} from {} to {until} ends at {}", self.own.source, self.position, plan.next)
        });
        plan
    }

    async fn carry_out(&mut self, mut plan: Plan, running: &mut Running, stop: &CancellationToken) -> Flow {
        let delivered = plan.deliveries.len();
        let step = self.step(&mut plan)?;
        match self.own.shared.commit(step, stop).await? {
            Outcome::Committed => {
                running.committed_at = Instant::now();
                if running.waiting.take().is_some() {
                    self.member.counters.note_moving(Stage::Router, self.own.source.partition);
                }
                self.pass(&plan, running);
                self.hold.advance(self.position);
                self.rest(delivered, running, stop).await
            }
            Outcome::Refused(refused) if running.undeliverable.note(running.index.members(), &refused) => {
                Ok(ControlFlow::Continue(()))
            }
            Outcome::Refused(refused) if refused.refusal != Refusal::TooLarge => {
                Ok(self.wait_for_topic(&refused, running, stop).await)
            }
            Outcome::Refused(Refused { at, refusal, .. }) => {
                warn!(subscription = %self.member.key, %at, %refusal, "a delivery was refused: it stands still");
                self.member.note_refused(&self.own.source, refusal);
                Ok(ControlFlow::Break(Ended::Halted))
            }
            Outcome::Ended(ended) => Ok(ControlFlow::Break(ended)),
        }
    }

    /// After so many deliveries, as long as a replay is to take for them; others may have its turn meanwhile.
    async fn rest(&mut self, delivered: usize, running: &mut Running, stop: &CancellationToken) -> Flow {
        let Some(replay) = &mut self.replay else { return Ok(ControlFlow::Continue(())) };
        replay.obsolete.clear();
        let Some(wait) = replay.wait(delivered) else { return Ok(ControlFlow::Continue(())) };
        running.turn = None;
        let waited = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        match waited.is_some() && running.take_turn(self, stop).await {
            true => Ok(ControlFlow::Continue(())),
            false => Ok(ControlFlow::Break(Ended::Stopped)),
        }
    }

    /// Until its deliveries have a leader, or an operator has done something. Others may have its turn meanwhile.
    async fn wait_for_topic(
        &self,
        refused: &Refused,
        running: &mut Running,
        stop: &CancellationToken,
    ) -> ControlFlow<Ended> {
        running.turn = None;
        let Refused { at, refusal, .. } = refused;
        self.member.note_refused(&self.own.source, *refusal);
        let waited = running.waiting.get_or_insert_default().wait(&format!("{at}: {refusal}"), stop).await;
        match waited.is_continue() && running.take_turn(self, stop).await {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(Ended::Stopped),
        }
    }

    fn step(&self, plan: &mut Plan) -> Result<Step> {
        let mut step = self.own.step();
        for delivery in plan.deliveries.drain(..) {
            step.transaction.append(delivery.at, delivery.record);
        }
        let row = ScanRow { position: plan.next, in_scan: false };
        let (entry, source) = (&self.member.entry, &self.own.source);
        let key = match &self.replay {
            Some(replay) => rows::replay_key(entry, replay.since, source),
            None => rows::scan_key(entry, source),
        };
        self.own.put_row(&mut step, key, Some(&row))?;
        for key in self.replay.iter().flat_map(|replay| &replay.obsolete) {
            self.own.put_row(&mut step, key.clone(), None)?;
        }
        Ok(step)
    }

    fn pass(&mut self, plan: &Plan, running: &mut Running) {
        plan.count(running.index.members(), &[self.position], self.position);
        self.position = plan.next;
        running.undeliverable.passed(self.position);
    }

    /// A new revision of the filter holds from the next record.
    fn renew(&mut self, running: &mut Running) {
        let source = self.roster.borrow_and_update().source(&self.own.source.topic);
        if let Some(member) = source.member(&self.member.key).filter(|member| !Arc::ptr_eq(member, &self.member)) {
            self.member = Arc::clone(member);
            running.index = Index::new(vec![Arc::clone(member)]);
        }
    }

    /// Asks the scan to stand still, commits up to exactly there, and hands over. Where the scan does not take it in,
    /// the lane catches up again.
    async fn join(&mut self, running: &mut Running, stop: &CancellationToken) -> Flow {
        let (until, border) = oneshot::channel();
        let (reached, waiting) = oneshot::channel();
        let join = Join { lane: self.id.clone(), until, reached: waiting };
        let asked = stop.run_until_cancelled(self.joins.send(join)).await;
        if !matches!(asked, Some(Ok(()))) {
            return Ok(ControlFlow::Break(Ended::Stopped));
        }
        let until = match stop.run_until_cancelled(border).await {
            Some(Ok(until)) => until,
            Some(Err(_not_taken_in)) => return Ok(ControlFlow::Continue(())),
            None => return Ok(ControlFlow::Break(Ended::Stopped)),
        };
        while self.position < until {
            if let ControlFlow::Break(ended) = self.advance(running, until, stop).await? {
                return Ok(ControlFlow::Break(ended));
            }
        }
        Ok(match reached.send(()) {
            Ok(()) => ControlFlow::Break(Ended::Done),
            Err(()) => ControlFlow::Continue(()),
        })
    }
}
