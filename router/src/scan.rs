//! The scan of one source partition: one pass that serves all subscriptions of a pool at its head.
//!
//! Owns the pool's position on that partition. Every decision about records is made by `plan::route`, about
//! subscriptions by `standing`; everything durable is made durable by one transaction. Invariants:
//! offsets-with-effects, one-owner.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::invariant::{self, InvariantId};
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TenantId, TopicPartition, limits};
use fpaas_log::{Culprit, Error as LogError, Fetched, Hold, Refusal};
use fpaas_state::rows::{self, ScanRow};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::Result;
use crate::commit::{Ended, Outcome, Step};
use crate::lane::Join;
use crate::lanes::{LaneEvent, Lanes};
use crate::mark::Mark;
use crate::own::Own;
use crate::plan::{self, Plan, Run};
use crate::replay::Replay;
use crate::roster::{Key, Roster, Source};
use crate::standing::Standings;
use crate::undeliverable::{Refused, Undeliverable};

#[derive(Debug)]
struct Scan {
    own: Arc<Own>,
    roster: watch::Receiver<Arc<Roster>>,
    revision: u64,
    source: Arc<Source>,
    /// Tenants that are on their way here: the source is without them.
    awaited: BTreeSet<TenantId>,
    standings: Standings,
    undeliverable: Undeliverable,
    lanes: Lanes,
    /// Those whose deliveries the log does not take now: each goes on in a lane, which waits until it does, once its
    /// row says so.
    aside: Vec<Key>,
    /// Nobody is left to scan for: the position may be lost from now on, for whoever comes has a start of its own.
    forgets: bool,
    /// The next record. What is between `committed` and here caused nothing.
    position: Offset,
    committed: Option<Offset>,
    committed_at: Instant,
    /// A position that does not move is committed again after this.
    renew: Duration,
    /// The last fetch found nothing: what is behind the last record is known.
    at_tail: bool,
    hold: Hold,
    /// Of those who wait for their row.
    waited_for: Option<Hold>,
}

#[derive(Debug)]
enum Event {
    Stop,
    Roster,
    Lane(LaneEvent),
    Fetched(Fetched),
    SourceGone(String),
    /// The log does not let us read the source, or commit a position on it.
    SourceRefused(String),
}

type Flow = ControlFlow<Ended>;

/// Runs until it is asked to stop, or nothing is left to scan for. `all` holds the whole source until it is known what
/// of it is still to be read.
pub(crate) async fn run(
    own: Arc<Own>,
    all: Hold,
    roster: watch::Receiver<Arc<Roster>>,
    stop: CancellationToken,
) -> Result<Ended> {
    let mut scan = match Scan::open(own, roster, &stop).await? {
        ControlFlow::Continue(scan) => scan,
        ControlFlow::Break(ended) => return Ok(ended),
    };
    drop(all);
    let ended = scan.follow(&stop).await?;
    Ok(if scan.lanes.stop().await? { Ended::Unknown } else { ended })
}

impl Scan {
    async fn open(
        own: Arc<Own>,
        mut roster: watch::Receiver<Arc<Roster>>,
        stop: &CancellationToken,
    ) -> Result<ControlFlow<Ended, Self>> {
        let Some(position) = own.position(stop).await? else { return Ok(ControlFlow::Break(Ended::Stopped)) };
        if position.is_none() && own.is_started()? {
            let reason =
                format!("positionLost: the position on {} was committed and is not there any more", own.source);
            return Ok(ControlFlow::Break(halt(&roster.borrow().source(&own.source.topic), &own.source, &reason)));
        }
        if let Some(position) = &position {
            let mark: Mark = rows::decode("a position's metadata", &position.metadata)?;
            let known = roster.wait_for(|roster| roster.revision >= mark.revision);
            if !matches!(stop.run_until_cancelled(known).await, Some(Ok(_))) {
                return Ok(ControlFlow::Break(Ended::Stopped));
            }
            let source = roster.borrow().source(&own.source.topic);
            if let Some(reason) = lost_row(&own, &source, &mark)? {
                // Looked at again now and then: it may have been deleted, here or where the view is ahead of ours.
                halt(&source, &own.source, &reason);
                return Ok(ControlFlow::Break(Ended::Refused));
            }
        }
        let committed = position.map(|position| position.offset);
        let mut scan = Self::at(own, roster, committed);
        scan.refresh(stop)?;
        Ok(ControlFlow::Continue(scan))
    }

    fn at(own: Arc<Own>, roster: watch::Receiver<Arc<Roster>>, committed: Option<Offset>) -> Self {
        let position = committed.unwrap_or_default();
        Self {
            revision: 0,
            source: Arc::default(),
            awaited: BTreeSet::new(),
            standings: Standings::new(own.source.clone()),
            undeliverable: Undeliverable::default(),
            aside: Vec::new(),
            forgets: false,
            lanes: Lanes::new(Arc::clone(&own), roster.clone(), position),
            hold: own.log().hold(&own.source, position),
            own,
            roster,
            position,
            committed,
            committed_at: Instant::now(),
            renew: limits::POSITION_RENEW_FOUND,
            at_tail: false,
            waited_for: None,
        }
    }

    async fn follow(&mut self, stop: &CancellationToken) -> Result<Ended> {
        loop {
            let flow = match self.next(stop).await? {
                Event::Fetched(fetched) => self.step(fetched, stop).await?,
                Event::Roster => ControlFlow::Continue(self.refresh(stop)?),
                Event::Lane(LaneEvent::Joins(join)) => self.take_in(join).await,
                Event::Lane(LaneEvent::Ended(key, ended)) => self.lane_ended(&key, ended?, stop)?,
                Event::SourceGone(reason) => ControlFlow::Break(halt(&self.source, &self.own.source, &reason)),
                Event::SourceRefused(reason) => {
                    halt(&self.source, &self.own.source, &reason);
                    ControlFlow::Break(Ended::Refused)
                }
                Event::Stop => return self.finish(Ended::Stopped, stop).await,
            };
            match flow {
                ControlFlow::Break(ended) => return Ok(ended),
                ControlFlow::Continue(()) if self.is_done() => return self.finish(Ended::Done, stop).await,
                ControlFlow::Continue(()) => {}
            }
        }
    }

    /// What happens next. Records come last, so that a busy source does not keep anybody waiting.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Event> {
        let wait = self.wait();
        let fetched = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Event::Stop),
            Ok(()) = self.roster.changed() => return Ok(Event::Roster),
            event = self.lanes.next() => return Ok(Event::Lane(event)),
            fetched = self.own.fetch(self.position, wait, stop) => fetched,
        };
        match fetched {
            Ok(Some(fetched)) => Ok(Event::Fetched(fetched)),
            Ok(None) => Ok(Event::Stop),
            Err(LogError::NoSuchTopic(topic)) => Ok(Event::SourceGone(format!("the source {topic} is not there"))),
            Err(LogError::Refused(why)) => Ok(Event::SourceRefused(why)),
            Err(error) => Err(error.into()),
        }
    }

    /// How long to wait at the end of the source: not at all while rows wait to be written.
    fn wait(&self) -> Duration {
        if !self.standings.changes().is_empty() || self.committed.is_none() {
            return Duration::ZERO;
        }
        if self.committed == Some(self.position) && self.at_tail {
            return limits::FETCH_WAIT_MAX.min(self.renew.saturating_sub(self.committed_at.elapsed()));
        }
        self.own.shared.config.idle_commit.saturating_sub(self.committed_at.elapsed())
    }

    async fn step(&mut self, fetched: Fetched, stop: &CancellationToken) -> Result<Flow> {
        crashpoint::hit(Point::ScanAfterFetch);
        self.at_tail = fetched.records.is_empty();
        let next = fetched.next.max(self.position);
        let run = Run {
            source: &self.own.source,
            records: &fetched.records,
            next,
            most: limits::ROUTE_DELIVERIES_MAX,
            lost_until: fetched.lost_until,
            undeliverable: &self.undeliverable,
            now: self.own.now(),
        };
        let plan = plan::route(run, &self.source.index, self.standings.from());
        if self.is_due(&plan) { self.carry_out(plan, stop).await } else { Ok(self.pass(&plan)) }
    }

    /// A scan that matched nothing need not say so every time: reading it again has no effect.
    fn is_due(&self, plan: &Plan) -> bool {
        let moved = self.committed != Some(plan.next);
        !plan.is_empty()
            || !self.standings.changes().is_empty()
            || self.committed.is_none()
            || (moved && self.committed_at.elapsed() >= self.own.shared.config.idle_commit)
            // One that does not move would be forgotten.
            || self.committed_at.elapsed() >= self.renew
    }

    /// Makes `plan` durable with the position and the rows that go with it.
    async fn carry_out(&mut self, mut plan: Plan, stop: &CancellationToken) -> Result<Flow> {
        let step = self.transaction(&mut plan)?;
        self.check(&step, &plan);
        crashpoint::hit(Point::ScanBeforeCommit);
        match self.own.shared.commit(step, stop).await? {
            Outcome::Committed => {}
            Outcome::Refused(refused) => return self.refused(refused),
            Outcome::Ended(ended) => return Ok(ControlFlow::Break(ended)),
        }
        crashpoint::hit(Point::ScanAfterCommit);
        let waited_for = self.standings.written();
        self.committed = Some(plan.next);
        (self.committed_at, self.renew) = (Instant::now(), limits::POSITION_RENEW);
        let passed = self.pass(&plan);
        self.defer(&plan, stop);
        self.open_aside(stop)?;
        if waited_for {
            self.refresh(stop)?;
        }
        // Whoever goes on in a lane holds what it needs by now.
        self.hold.advance(self.position);
        Ok(passed)
    }

    /// Those who did not fit into the transaction have left the scan with it, each at the record it is still to have.
    fn defer(&mut self, plan: &Plan, stop: &CancellationToken) {
        for (number, position) in &plan.deferred {
            let Some(member) = self.source.members().get(*number).cloned() else { continue };
            self.standings.defer(&self.source, &member.key);
            self.lanes.open(member, *position, stop);
        }
    }

    /// Their rows are written: lanes take them up from there.
    fn open_aside(&mut self, stop: &CancellationToken) -> Result<()> {
        if self.aside.is_empty() {
            return Ok(());
        }
        for key in std::mem::take(&mut self.aside) {
            self.standings.look_again(&key);
        }
        self.refresh(stop)
    }

    fn transaction(&self, plan: &mut Plan) -> Result<Step> {
        let mut step = self.own.step();
        for delivery in plan.deliveries.drain(..) {
            step.transaction.append(delivery.at, delivery.record);
        }
        for (key, row) in self.standings.changes() {
            self.own.put_row(&mut step, key.clone(), row.as_ref())?;
        }
        for (number, position) in &plan.deferred {
            let Some(member) = self.source.members().get(*number) else { continue };
            let row = ScanRow { position: *position, in_scan: false };
            self.own.put_row(&mut step, rows::scan_key(&member.entry, &self.own.source), Some(&row))?;
        }
        if self.forgets {
            self.own.remove_started(&mut step);
        } else if self.committed.is_none() || !self.own.is_started()? {
            self.own.put_started(&mut step)?;
        }
        step.transaction.advance(self.own.source.clone(), plan.next, self.mark()?);
        Ok(step)
    }

    /// Invariants: offsets-with-effects, bounded.
    fn check(&self, step: &Step, plan: &Plan) {
        let (position, bytes) = (self.position, step.transaction.bytes());
        invariant::check(InvariantId::OffsetsWithEffects, plan.next >= position, || {
            format!("a step of {} from {position} ends at {}", self.own.source, plan.next)
        });
        invariant::check(InvariantId::Bounded, bytes <= limits::TRANSACTION_BYTES_MAX, || {
            format!("a step of {} has {bytes} bytes", self.own.source)
        });
    }

    fn pass(&mut self, plan: &Plan) -> Flow {
        plan.count(self.source.members(), self.standings.from(), self.position);
        self.position = plan.next;
        self.undeliverable.passed(self.position);
        self.lanes.move_border(self.position);
        ControlFlow::Continue(())
    }

    /// A record that is refused by itself is left out, and everybody goes on; otherwise the subscription is left out,
    /// and the others go on without it.
    fn refused(&mut self, refused: Refused) -> Result<Flow> {
        if self.undeliverable.note(self.source.members(), &refused) {
            return Ok(ControlFlow::Continue(()));
        }
        let Refused { at, refusal, .. } = refused;
        if at == self.own.source {
            halt(&self.source, &at, &format!("a position on {at} is refused: {refusal}"));
            return Ok(ControlFlow::Break(Ended::Refused));
        }
        let culprit = self.source.members().iter().find(|member| member.owns(&at.topic)).cloned();
        let Some(culprit) = culprit else {
            return Err(LogError::Abort(Culprit::Append { at, refusal }).into());
        };
        warn!(subscription = %culprit.key, %at, %refusal, "a delivery was refused, the subscription stands still");
        culprit.note_refused(&self.own.source, refusal);
        if refusal != Refusal::TooLarge {
            self.aside.push(Arc::clone(&culprit.key));
        }
        self.standings.leave(&self.source, &culprit.key, self.position);
        Ok(ControlFlow::Continue(()))
    }

    /// Follows the control view; whoever is in the scan stays in it.
    fn refresh(&mut self, stop: &CancellationToken) -> Result<()> {
        let roster = Arc::clone(&self.roster.borrow_and_update());
        self.revision = roster.revision;
        (self.source, self.awaited) = self.own.arrived(roster.source(&self.own.source.topic))?;
        let changed = self.standings.follow(&self.source, self.position, |member| self.own.row(member))?;
        if changed.position != self.position {
            self.seek(changed.position);
        }
        changed.closed.iter().for_each(|key| self.lanes.close(key));
        for (member, position) in changed.opened {
            self.lanes.open(member, position, stop);
        }
        self.waited_for = changed.awaited.map(|first| self.own.log().hold(&self.own.source, first));
        self.replay(stop)
    }

    /// Opens lanes for what is to be delivered again, and closes those of what is not any more.
    fn replay(&mut self, stop: &CancellationToken) -> Result<()> {
        let mut open: BTreeSet<Key> = self.lanes.replays().cloned().collect();
        for member in self.source.members() {
            if let Some(replay) = Replay::of(member, &self.own)?
                && !open.remove(&replay.key(member))
            {
                self.lanes.replay(Arc::clone(member), replay, stop);
            }
        }
        open.iter().for_each(|key| self.lanes.close(key));
        Ok(())
    }

    fn seek(&mut self, position: Offset) {
        info!(source = %self.own.source, from = %self.position, to = %position, "nobody wants what is between");
        self.position = position;
        self.hold = self.own.log().hold(&self.own.source, position);
        self.lanes.move_border(position);
    }

    /// A lane has come up to the scan: the scan stands at this border until the lane has committed up to it, and
    /// carries the subscription from here on.
    async fn take_in(&mut self, join: Join) -> Flow {
        let key = Arc::clone(&join.lane.key);
        let wanted = self.source.number(&key).is_some() && self.standings.may_join(&key);
        if wanted && self.lanes.take_in(join, self.position).await {
            crashpoint::hit(Point::ScanJoining);
            info!(subscription = %key, source = %self.own.source, at = %self.position, "caught up");
            self.standings.join(&self.source, &key, self.position);
        }
        ControlFlow::Continue(())
    }

    fn lane_ended(&mut self, key: &Key, ended: Ended, stop: &CancellationToken) -> Result<Flow> {
        if matches!(ended, Ended::Fenced | Ended::Unknown) {
            return Ok(ControlFlow::Break(ended));
        }
        match (Replay::is_key(key), ended) {
            // It was closed, and may be wanted again since: while it was still open, it could not be opened.
            (true, Ended::Stopped) => self.replay(stop)?,
            (true, _) => {}
            (false, _) if self.standings.lane_ended(&self.source, key) => self.refresh(stop)?,
            (false, _) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn is_done(&self) -> bool {
        self.standings.is_empty() && self.standings.changes().is_empty() && self.lanes.is_empty()
    }

    /// Says where it stands, if that was not said yet.
    async fn finish(&mut self, ended: Ended, stop: &CancellationToken) -> Result<Ended> {
        if self.lanes.stop().await? {
            return Ok(Ended::Unknown);
        }
        self.forgets = ended == Ended::Done;
        if self.committed.is_some()
            && (self.forgets || self.committed != Some(self.position))
            && let ControlFlow::Break(other) = self.carry_out(Plan::nothing(self.position), stop).await?
        {
            return Ok(other);
        }
        Ok(ended)
    }

    fn mark(&self) -> Result<Bytes> {
        Ok(rows::encode(&Mark::new(self.revision, &self.awaited))?)
    }
}

/// Whoever the scan had heard of at its last transaction has a row since then. Without it the subscription would begin
/// again at its start: everything it has had would come twice.
fn lost_row(own: &Own, source: &Arc<Source>, mark: &Mark) -> Result<Option<String>> {
    let (here, _) = own.arrived(Arc::clone(source))?;
    for member in here.members().iter().filter(|member| mark.has_row(&member.entry, member.entry.since())) {
        if own.row(member)?.is_none() {
            return Ok(Some(row_lost(&member.key, &own.source)));
        }
    }
    Ok(None)
}

/// What the board says of a row that is not there any more.
pub(crate) fn row_lost(key: &str, at: &TopicPartition) -> String {
    format!("rowLost: where {key} stands on {at} was written and is not there any more")
}

/// Says on the board why nothing of this source partition moves.
fn halt(source: &Source, at: &TopicPartition, reason: &str) -> Ended {
    error!(reason, "a scan stands still");
    source.members().iter().for_each(|member| member.counters.note_stopped(Stage::Router, at.partition, reason));
    Ended::Halted
}
