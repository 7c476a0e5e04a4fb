//! One lane: read, freeze, call, commit. Nothing else.
//!
//! ```text
//!   fetch ─▶ window ─▶ plan ─▶ commit ─▶ call ─▶ settle ─▶ plan ─▶ commit …
//! ```
//!
//! A loop over what happens: something was read, a transaction is decided, a call is over, time passes, the
//! subscription changes. One fetch, one transaction and several calls are under way at a time. Where everything is,
//! is [`crate::window`]'s to say, what is written [`crate::plan`]'s. Does not own which lanes run ([`crate::lanes`]).
//! Invariants: frozen-batch, offsets-with-effects, key-order.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::topics::Stage;
use fpaas_core::{Message, Offset, limits};
use fpaas_log::Fetched;
use fpaas_state::SubscriptionEntry;
use fpaas_state::rows::{self, AlertedRow};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::budget::Taken;
use crate::calls::{Calls, Ended, Event, Judgement};
use crate::commit::{Committed, REFUSED_AGAIN, commit};
use crate::deliveries::{Age, Deliveries, Read};
use crate::error::{Error, Halt, Step};
use crate::failing::Failing;
use crate::marks::Marks;
use crate::plan::Plan;
use crate::redrive::Redrive;
use crate::reports::Reports;
use crate::restore::restore;
use crate::set::{Phase, Set};
use crate::site::Site;
use crate::trim::Trimmer;
use crate::window::Window;

/// See the module's head.
pub(crate) struct Lane {
    pub(crate) site: Arc<Site>,
    /// The current revision of its subscription.
    pub(crate) entry: watch::Receiver<Arc<SubscriptionEntry>>,
    pub(crate) deliveries: Deliveries,
    pub(crate) trimmer: Option<Trimmer>,
    pub(crate) window: Window,
    pub(crate) age: Age,
    pub(crate) calls: Calls,
    /// Its dead letters that are delivered again.
    pub(crate) redrive: Redrive,
    pub(crate) failing: Failing,
    /// What its parked events hold of all that may be parked.
    pub(crate) parked: Taken,
    pub(crate) marks: Marks,
    /// What its tenant is told with the next transaction.
    pub(crate) reports: Reports,
    /// What its tenant was told.
    pub(crate) alerted: AlertedRow,
    under_way: UnderWay,
    /// The last fetch found nothing: what is behind the last record is known.
    at_tail: bool,
    /// What was read makes no whole batch.
    pub(crate) hungry: bool,
    /// When what is collected makes a batch, however little it is.
    pub(crate) batch_due: Option<Instant>,
    /// When it stops at the latest, once it was asked to.
    cut_off: Option<Instant>,
}

/// What is under way in the log.
#[derive(Default)]
struct UnderWay {
    commit: Option<BoxFuture<'static, Committed>>,
    fetch: Option<BoxFuture<'static, Step<Read>>>,
    trim: Option<BoxFuture<'static, (Trimmer, Step<()>)>>,
    /// Its endpoint is to be called no more.
    disable: Option<BoxFuture<'static, ()>>,
}

/// Something happened.
enum Input {
    Committed(Box<Committed>),
    Read(Step<Read>),
    Letters(Step<Fetched>),
    Call(Event),
    Trimmed(Trimmer, Step<()>),
    Disabled,
    /// Its subscription is another revision.
    Changed,
    /// Something is due, or a call may be made.
    Due,
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Whoever runs it next speaks for it.
        self.site.counters.note_parked(self.site.at.partition, 0);
    }
}

impl Lane {
    /// Not restored yet.
    pub(crate) fn new(site: Arc<Site>) -> Self {
        let Site { shared, at, counters, stop, entry, .. } = &*site;
        let log = &shared.context.log;
        Self {
            entry: entry.clone(),
            deliveries: Deliveries::new(Arc::clone(log), at.clone(), stop.clone(), Arc::clone(counters)),
            trimmer: Some(Trimmer::new(Arc::clone(log), at.clone())),
            window: Window::at(Offset::ZERO),
            age: Age::default(),
            calls: Calls::new(Arc::clone(&site)),
            redrive: Redrive::new(Arc::clone(&site)),
            failing: Failing::default(),
            parked: shared.parked.nothing(),
            marks: Marks::new(),
            reports: Reports::default(),
            alerted: AlertedRow::default(),
            under_way: UnderWay::default(),
            at_tail: false,
            hungry: true,
            batch_due: None,
            cut_off: None,
            site,
        }
    }

    /// Runs until it is asked to stop, or its slot is another's. What it was doing is found again by whoever runs it
    /// next.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        loop {
            let halt = match self.work().await {
                Ok(never) => match never {},
                Err(halt) => halt,
            };
            // What was under way is dropped: whatever came of it is found in the log.
            self.under_way = UnderWay::default();
            self.trimmer
                .get_or_insert_with(|| Trimmer::new(Arc::clone(&self.site.shared.context.log), self.site.at.clone()));
            self.calls = Calls::new(Arc::clone(&self.site));
            self.redrive = Redrive::new(Arc::clone(&self.site));
            match self.stand_still(halt).await {
                Ok(()) => {}
                Err(Halt::Failed(error)) => return Err(error),
                Err(_stopped_or_fenced) => return Ok(()),
            }
        }
    }

    /// Returns when something may have removed what keeps it from going on: a change of its subscription, or time.
    /// Says meanwhile why it stands still, and keeps its position from being forgotten.
    async fn stand_still(&mut self, halt: Halt) -> Step<()> {
        let (why, wait) = match halt {
            Halt::Stopped | Halt::Fenced | Halt::Failed(_) => return Err(halt),
            // Usually its subscription was deleted, and nobody reads this.
            Halt::Gone => (Cow::Borrowed("its topics are gone"), None),
            Halt::Stuck(why) => (why, None),
            Halt::Refused(why) => (why, Some(REFUSED_AGAIN)),
        };
        let Site { at, counters, .. } = &*self.site;
        warn!(lane = %at, %why, "a lane stands still");
        counters.note_stopped(Stage::Dispatcher, at.partition, &*why);
        self.stand_by(wait).await?;
        self.site.counters.note_moving(Stage::Dispatcher, self.site.at.partition);
        Ok(())
    }

    /// Waits for a change of its subscription, or so long.
    async fn stand_by(&mut self, wait: Option<Duration>) -> Step<()> {
        let shared = &self.site.shared;
        // Where rows are to be read again, it is begun again after that. What is frozen at the end of a drain stays so,
        // and is said to be left.
        if shared.unsure.contains(self.site.lease.slot) || shared.draining {
            return Err(Halt::Stopped);
        }
        let again = wait.map(|wait| Instant::now() + wait);
        loop {
            let due = self.age.renew_at();
            tokio::select! {
                biased;
                () = self.site.stop.cancelled() => return Err(Halt::Stopped),
                // Its other side goes with the stage.
                changed = self.entry.changed() => match changed {
                    Ok(()) => return Ok(()),
                    Err(_) => return Err(Halt::Stopped),
                },
                () = until(again) => return Ok(()),
                () = until(due) => {}
            }
            self.renew_if_old().await?;
        }
    }

    /// A position that cannot be renewed now is not tried again at once.
    async fn renew_if_old(&mut self) -> Step<()> {
        let Some(position) = self.age.renewable() else { return Ok(()) };
        match self.site.renew(position).await {
            Ok(()) | Err(Halt::Gone | Halt::Refused(_) | Halt::Stuck(_)) => self.age.committed(position),
            Err(halt) => return Err(halt),
        }
        Ok(())
    }

    async fn work(&mut self) -> Step<std::convert::Infallible> {
        self.age.forget();
        self.entry.mark_unchanged();
        let position = self.site.position().await?;
        self.age.found_at(position, self.site.shared.client.random());
        if let Some(trimmer) = &mut self.trimmer {
            trimmer.passed(position).await?;
        }
        self.window = restore(&self.site, &self.deliveries, position).await?;
        let key = self.site.key(rows::FAILING, Offset::ZERO);
        self.failing = Failing::of(self.site.shared.tables.get(self.site.lease.slot, &key)?);
        self.alerted = self.site.alerted()?;
        self.note_parked();
        (self.at_tail, self.hungry) = (false, true);
        loop {
            self.go_on()?;
            let input = self.input().await;
            self.take(input)?;
        }
    }

    /// Begins everything that can be done now.
    fn go_on(&mut self) -> Step<()> {
        let (entry, now) = (self.site.current(), Instant::now());
        self.stop_if_asked(now)?;
        let pauses = entry.config.is_paused();
        self.calls.follow(&entry);
        self.redrive.follow(&entry)?;
        if self.calls.take_news() {
            // A new revision may be what an endpoint was waiting for: what is late is called at once.
            self.window.sets_mut().for_each(|set| set.hurry(now));
            self.failing.begin_anew();
        }
        if pauses {
            self.calls.rest();
        } else {
            self.wake(now);
        }
        if self.under_way.commit.is_none() {
            match self.plan(&entry, now)? {
                Some(plan) => self.under_way.commit = Some(Box::pin(commit(Arc::clone(&self.site), plan))),
                None => self.end_drain(pauses)?,
            }
        }
        if !pauses && !self.is_stopping() {
            self.call(&entry, now)?;
            self.read_on();
            self.redrive.read_on(&self.window, now);
        }
        Ok(())
    }

    /// True once it was asked to stop: what is under way may end, and nothing more begins.
    pub(crate) const fn is_stopping(&self) -> bool {
        self.cut_off.is_some()
    }

    /// Calls in flight may end, so that the endpoint is not called again for nothing; but not for ever.
    fn stop_if_asked(&mut self, now: Instant) -> Step<()> {
        if self.cut_off.is_none() && self.site.stop.is_cancelled() {
            self.cut_off = Some(now + limits::DRAIN / 2);
        }
        let Some(cut_off) = self.cut_off else { return Ok(()) };
        let busy = self.under_way.commit.is_some() || !self.calls.is_idle() || self.has_news();
        if !busy || now >= cut_off { Err(Halt::Stopped) } else { Ok(()) }
    }

    /// What calls have come to and is not written: done, or when they are made again.
    fn has_news(&self) -> bool {
        let waits = |set: &Set| set.unwritten && set.due().is_some();
        self.window.sets().any(|set| waits(set) || matches!(set.phase, Phase::Settled(_)))
    }

    /// A drain ends with the last batch.
    fn end_drain(&self, pauses: bool) -> Step<()> {
        if !self.site.shared.draining {
            return Ok(());
        }
        if self.window.is_empty() {
            return Err(Halt::Stopped);
        }
        if pauses { Err(Halt::Stuck("its subscription is paused: resume it".into())) } else { Ok(()) }
    }

    /// Batches that are due are called as soon as they may be.
    fn wake(&mut self, now: Instant) {
        for set in self.window.sets_mut() {
            if set.due().is_some_and(|due| due <= now) {
                set.phase = Phase::Ready;
            }
        }
    }

    fn read_on(&mut self) {
        let idle = self.under_way.fetch.is_none() && self.hungry && !self.site.shared.draining;
        if !idle || !self.window.has_room_to_read() {
            return;
        }
        let wait = if !self.window.has_caught_up() {
            Duration::ZERO
        } else if self.at_tail {
            limits::FETCH_WAIT_MAX
        } else {
            // Control records may be on their way behind the last record: they are looked for once, soon.
            limits::IDLE_LANE_COMMIT
        };
        self.under_way.fetch = Some(Box::pin(self.deliveries.clone().fetch(self.window.next(), wait)));
    }

    /// When something is due.
    fn due(&self) -> Option<Instant> {
        if let Some(cut_off) = self.cut_off {
            return Some(cut_off);
        }
        let idle = self.under_way.commit.is_none();
        let position = idle.then(|| self.age.due(self.window.position())).flatten();
        if self.site.current().config.is_paused() {
            return position;
        }
        let retry = self.window.sets().filter_map(crate::set::Set::due).min();
        let batch = self.batch_due.filter(|_| idle);
        let letters = self.redrive.due(Instant::now());
        [retry, batch, position, self.calls.due(), letters].into_iter().flatten().min()
    }

    async fn input(&mut self) -> Input {
        let (due, stopping) = (self.due(), self.is_stopping());
        let UnderWay { commit, fetch, trim, disable } = &mut self.under_way;
        tokio::select! {
            biased;
            done = held(commit) => Input::Committed(Box::new(done)),
            event = self.calls.next() => Input::Call(event),
            () = held(disable) => Input::Disabled,
            (trimmer, done) = held(trim) => Input::Trimmed(trimmer, done),
            read = held(fetch) => Input::Read(read),
            letters = self.redrive.fetched() => Input::Letters(letters),
            () = self.site.stop.cancelled(), if !stopping => Input::Due,
            // Its other side goes with the stage.
            changed = self.entry.changed(), if !stopping => match changed {
                Ok(()) => Input::Changed,
                Err(_) => std::future::pending().await,
            },
            () = until(due) => Input::Due,
        }
    }

    fn take(&mut self, input: Input) -> Step<()> {
        match input {
            Input::Committed(done) => {
                let (plan, committed) = *done;
                self.under_way.commit = None;
                self.committed(plan, committed?)
            }
            Input::Read(read) => {
                self.under_way.fetch = None;
                match read {
                    // Nothing more is read; what is under way may end.
                    Err(Halt::Stopped) => Ok(()),
                    read => {
                        self.note_read(read?);
                        Ok(())
                    }
                }
            }
            Input::Letters(read) => self.redrive.read(read, Instant::now()),
            Input::Call(Event::Ended(ended)) => self.called(*ended),
            Input::Call(Event::MayCall) => Ok(()),
            Input::Call(Event::Failed(error)) => Err(Halt::Failed(error)),
            Input::Trimmed(trimmer, done) => {
                (self.under_way.trim, self.trimmer) = (None, Some(trimmer));
                done
            }
            Input::Disabled => {
                self.under_way.disable = None;
                Ok(())
            }
            Input::Changed => {
                self.changed();
                Ok(())
            }
            Input::Due => Ok(()),
        }
    }

    fn note_read(&mut self, read: Read) {
        self.at_tail = read.events.is_empty();
        self.redrive.lane_read(read.end);
        self.window.read(read.events, read.next, read.end, Instant::now());
        if self.at_tail {
            self.window.at_tail();
        }
        self.hungry = self.window.is_short_of(self.site.current().config.collector);
    }

    /// What its new revision says holds from here on; [`Lane::go_on`] sees to its calls.
    fn changed(&mut self) {
        let entry = Arc::clone(&self.entry.borrow_and_update());
        self.window.sort_again();
        if entry.config.is_paused() && self.window.is_drained() && self.under_way.commit.is_none() {
            // Found again where the lane stands.
            self.under_way.fetch = None;
            self.window.unread();
        }
        self.hungry = true;
    }

    fn committed(&mut self, plan: Plan, frozen: Vec<bytes::Bytes>) -> Step<()> {
        for finish in &plan.finishes {
            finish.count(&self.site.counters);
        }
        self.redrive.committed(plan.redrive.as_ref(), Instant::now());
        let ready = self.window.sets().filter(|set| set.phase == Phase::Ready).count();
        self.calls.note_commit(plan.finishes.len(), ready);
        for (freezing, bytes) in plan.freezes.into_iter().zip(frozen) {
            let first = freezing.first();
            let batch = Arc::new(self.site.batch(&bytes, freezing.row, freezing.events));
            self.site.counters.batches.add(1);
            if let Some(set) = self.window.set_mut(first) {
                if let Phase::Freezing(then) = std::mem::replace(&mut set.phase, Phase::Ready) {
                    set.phase = *then;
                }
                set.row = batch.row.clone();
                set.batch = Some(batch);
            }
        }
        // What is parked and waits is made again when it is due.
        for set in self.window.sets_mut().filter(|set| set.parked && set.due().is_some()) {
            set.batch = None;
            set.taken = None;
        }
        self.age.committed(plan.position);
        if let Some(mut trimmer) = self.trimmer.take_if(|trimmer| trimmer.is_due(plan.position)) {
            self.under_way.trim = Some(Box::pin(async move {
                let done = trimmer.passed(plan.position).await;
                (trimmer, done)
            }));
        }
        Ok(())
    }

    /// Says that its endpoint is to be called no more. Where that is not heard, the endpoint says it again.
    fn disable(&mut self, why: Message) {
        if self.under_way.disable.is_some() || self.site.shared.draining {
            return;
        }
        let (site, entry) = (Arc::clone(&self.site), self.site.current());
        warn!(lane = %site.at, %why, "an endpoint is disabled");
        self.under_way.disable = Some(Box::pin(async move { site.disable(&entry, why).await }));
    }

    fn called(&mut self, ended: Ended) -> Step<()> {
        crashpoint::hit(Point::LaneAfterAnswer);
        let first = ended.first;
        let Judgement { verdict, good, gone, reports } = self.calls.judge(ended, &self.window)?;
        self.reports.add(reports);
        let now = self.site.shared.context.clock.now();
        let active = self.site.current().active_since;
        let failing = good.and_then(|good| self.failing.note(good, active, now));
        if let Some(why) = gone.or(failing.filter(|_| !self.calls.was_good_lately())) {
            self.disable(why);
        }
        let Some(set) = self.window.set_mut(first) else { return Ok(()) };
        match verdict {
            crate::settle::Verdict::Settled(settlement) => {
                set.retries.attempts = settlement.attempts;
                set.phase = Phase::Settled(Box::new(settlement));
            }
            crate::settle::Verdict::Again(wait, retries) => {
                (set.retries, set.unwritten) = (retries, true);
                set.phase = Phase::Waiting(Instant::now() + wait);
                crashpoint::hit(Point::LaneInBackoff);
            }
        }
        Ok(())
    }
}

/// Waits for what is there, and for ever where nothing is.
async fn held<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits for ever where there is no such time.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
