//! The calls of one lane: which batch is called when, and what an answer makes of it.
//!
//! URL, secret, headers, timeout and retry policy are those of the current revision at each attempt; id and body are
//! the batch's. HTTP happens outside of every transaction. Does not own what follows ([`crate::settle`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use fpaas_core::subscription::{Ordering as Order, Retry, Webhook};
use fpaas_core::{Message, Offset, Timestamp, TopicName, limits};
use fpaas_state::{Attempt as AttemptReport, Happened, SubscriptionEntry, SystemEvent};
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::ahead::Ahead;
use crate::attempt::Request;
use crate::body::Delivery;
use crate::endpoint::breaker::Change;
use crate::endpoint::{Endpoint, Health, Turn};
use crate::error::{Error, Halt, Step};
use crate::freeze::Batch;
use crate::lane::Lane;
use crate::reports::{self, Reports};
use crate::response::{self, Action, Allowed, Answer, Failure, Outcome, Reason, Results};
use crate::set::{Phase, Retries};
use crate::settle::{self, Case, Verdict};
use crate::site::Site;
use crate::throttle::Throttle;
use crate::window::Window;

/// See the module's head. No call is detached: dropping this ends them.
pub(crate) struct Calls {
    site: Arc<Site>,
    tasks: JoinSet<Result<Ended, Error>>,
    endpoint: Option<Arc<Endpoint>>,
    turn: Waiting,
    throttle: Throttle,
    /// A call came to an answer: a connection may have been kept, and may be stale by now.
    warm: Arc<AtomicBool>,
    /// What the calls look like now.
    current: Option<Arc<SubscriptionEntry>>,
    /// They look otherwise than before: one may go better.
    news: bool,
    ahead: Ahead,
}

/// Leave to make the next call.
#[derive(Default)]
enum Waiting {
    #[default]
    Nothing,
    /// It is asked for, as the lane's first call or as one more.
    For(bool, BoxFuture<'static, Turn>),
    Granted(Turn),
}

/// A call that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Of which batch.
    pub(crate) first: Offset,
    /// The revision that was called.
    called: Arc<SubscriptionEntry>,
    batch: Arc<Batch>,
    /// Which attempt it was, from 1.
    attempt: u32,
    /// None where nothing of its batch can be sent: there was no call.
    answer: Option<Result<Answer, Failure>>,
    /// The calls that were made, the last one without how it ended.
    made: Vec<AttemptReport>,
    turn: Turn,
}

/// What follows from a call.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// It was acknowledged, whatever was said of single events; none where there was no call.
    pub(crate) good: Option<bool>,
    /// Why its endpoint is to be called no more, where it said so.
    pub(crate) gone: Option<Message>,
    /// What the tenant is told of it.
    pub(crate) reports: Reports,
}

const ACKNOWLEDGED: &str = "acknowledged";
const GONE: &str = "its endpoint says that it is no more";

/// What a lane waits for here.
#[derive(Debug)]
pub(crate) enum Event {
    Ended(Box<Ended>),
    /// Leave is given.
    MayCall,
    Failed(Error),
}

impl Calls {
    /// None under way.
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            tasks: JoinSet::new(),
            endpoint: None,
            turn: Waiting::Nothing,
            throttle: Throttle::default(),
            warm: Arc::default(),
            current: None,
            news: false,
            ahead: Ahead::default(),
        }
    }

    /// True where none is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// When the next one may be made, where it waits for nothing else.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.throttle.wait(Instant::now())
    }

    /// How many batches may be under way so that none waits for nothing.
    pub(crate) fn worthwhile(&self) -> usize {
        match &self.endpoint {
            Some(endpoint) if !endpoint.rests() => endpoint.worthwhile() + self.ahead.batches(),
            _ => 1,
        }
    }

    /// A transaction is over, with which `done` batches were finished; `ready` are there to be called still.
    pub(crate) fn note_commit(&mut self, done: usize, ready: usize) {
        let free = self.endpoint.as_ref().is_some_and(|endpoint| self.tasks.len() < endpoint.worthwhile());
        self.ahead.note(ready, free && done > 0);
    }

    /// No more batches were frozen than were worthwhile, though there was more.
    pub(crate) const fn note_capped(&mut self) {
        self.ahead.capped = true;
    }

    /// Calls are made as `entry` says from here on.
    pub(crate) fn follow(&mut self, entry: &Arc<SubscriptionEntry>) {
        if self.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, entry)) {
            return;
        }
        let old = self.current.replace(Arc::clone(entry));
        let url = |entry: &SubscriptionEntry| entry.config.webhook().map(|webhook| webhook.url.clone());
        let url_of = url(entry);
        if old.as_ref().and_then(|old| url(old)) != url_of || self.endpoint.is_none() {
            self.turn = Waiting::Nothing;
            self.endpoint = url_of.map(|url| self.site.shared.endpoints.of(&entry.tenant, &url));
        }
        let new = |old: &SubscriptionEntry| old.active_since != entry.active_since || !is_called_alike(old, entry);
        self.news |= old.as_deref().is_some_and(new);
        let rate = |of: &SubscriptionEntry| (of.config.throttle.events_per_second, of.config.lanes);
        if old.is_some_and(|old| rate(&old) != rate(entry)) {
            // What is owed at another rate is not owed at this one.
            self.throttle = Throttle::default();
        }
    }

    /// No call is to be made now: leave that is given, or asked for, is there for others.
    pub(crate) fn rest(&mut self) {
        self.turn = Waiting::Nothing;
    }

    /// True once after calls have begun to look otherwise, whoever has noticed it first.
    pub(crate) const fn take_news(&mut self) -> bool {
        std::mem::replace(&mut self.news, false)
    }

    /// What is next: waits for ever where nothing is under way.
    pub(crate) async fn next(&mut self) -> Event {
        let Self { tasks, turn, .. } = self;
        tokio::select! {
            biased;
            Some(joined) = tasks.join_next() => match joined {
                Ok(Ok(ended)) => Event::Ended(Box::new(ended)),
                Ok(Err(error)) => Event::Failed(error),
                Err(panicked) => Event::Failed(panicked.into()),
            },
            granted = granted(turn) => {
                *turn = Waiting::Granted(granted);
                Event::MayCall
            }
        }
    }

    /// Leave for one call; asks for it where there is none yet.
    fn take_turn(&mut self) -> Option<Turn> {
        let first = self.tasks.is_empty();
        match std::mem::take(&mut self.turn) {
            Waiting::Granted(turn) => return Some(turn),
            // The first one waits for nobody.
            Waiting::For(false, _) if first => {}
            waiting @ Waiting::For(..) => {
                self.turn = waiting;
                return None;
            }
            Waiting::Nothing => {}
        }
        let endpoint = Arc::clone(self.endpoint.as_ref()?);
        self.turn = Waiting::For(first, Box::pin(endpoint.turn(first)));
        None
    }

    fn begin(
        &mut self,
        entry: &Arc<SubscriptionEntry>,
        webhook: &Webhook,
        batch: &Arc<Batch>,
        attempt: u32,
        turn: Turn,
    ) {
        let now = Instant::now();
        self.throttle.note(now, batch.events.len(), entry.config.throttle.events_per_second, entry.config.lanes);
        let request = Request {
            site: Arc::clone(&self.site),
            entry: Arc::clone(entry),
            webhook: webhook.clone(),
            batch: Arc::clone(batch),
            warm: Arc::clone(&self.warm),
        };
        let (called, batch, mut turn) = (Arc::clone(entry), Arc::clone(batch), turn);
        self.tasks.spawn(async move {
            let (answer, made) = match batch.body(&request.site.making).await? {
                body if body.events == 0 => (None, Vec::new()),
                body => {
                    turn.begins();
                    let (answer, made) = request.answer(body, attempt).await;
                    (Some(answer), made)
                }
            };
            let attempt = made.last().map_or(attempt - 1, |made| made.attempt);
            Ok(Ended { first: batch.first, called, batch, attempt, answer, made, turn })
        });
    }

    /// What follows from a call that is over.
    pub(crate) fn judge(&self, ended: Ended, window: &Window) -> Step<Judgement> {
        let Ended { first, called, batch, attempt, answer, made, turn } = ended;
        let (site, entry) = (&self.site, self.site.current());
        let now = site.shared.context.clock.now();
        let outcome = match &answer {
            Some(Ok(answer)) => judged(site, &entry, &batch, answer, now),
            Some(Err(failure)) => Judged::Failed(failure.clone()),
            None => Judged::Unsent,
        };
        let outcome = without_secrets(outcome, &called, now);
        // Of an endpoint that was not called nothing is learned, of an earlier revision's nothing is told.
        let is_current = Arc::ptr_eq(&called, &entry) || is_called_alike(&called, &entry);
        let health = health(&outcome, &entry.config.retry, batch.events.len());
        let change = health.and_then(|health| turn.over(health)).filter(|_| is_current);
        let mut reports = Reports::of(made, self.note_health(change));
        if let Some(last) = reports.attempts.last_mut() {
            (last.status, last.outcome, last.message) =
                said(answer.as_ref().and_then(|answer| answer.as_ref().ok()), &outcome);
        }
        let set = window.sets().find(|set| set.first == first);
        let before = set.map(|set| set.retries).unwrap_or_default();
        let by_key =
            entry.config.ordering == Order::Key && matches!(&outcome, Judged::Answered(_, of) if !of.is_empty());
        let keys = if by_key { same_keys(&batch.events) } else { Vec::new() };
        let case = Case {
            events: batch.events.len(),
            keys: &keys,
            retries: Retries { attempts: attempt, ..before },
            policy: &entry.config.retry,
            ordering: entry.config.ordering,
            // What it stood still for is no time of the endpoint's.
            elapsed: now.since(batch.row.frozen_at.max(entry.active_since)),
            now,
            jitter: site.shared.client.random(),
        };
        let good = answer.is_some().then_some(matches!(outcome, Judged::Answered(..)));
        let answer = answer.and_then(Result::ok);
        let mut gone = answer.as_ref().filter(|answer| answer.disables()).map(|_| Message::from(GONE));
        let verdict = match outcome {
            Judged::Answered(results, actions) => {
                site.note_outcome(answer.map(|answer| answer.status), ACKNOWLEDGED, brought(&results), attempt);
                settle::answered(case, results, &actions)
            }
            Judged::Unsent => {
                let why = batch.unsendable().first().map(|(_, why)| why.clone()).unwrap_or_default();
                site.note_outcome(None, Reason::PayloadFailed.as_str(), why, attempt);
                settle::unsent(case)
            }
            Judged::Failed(failure) => {
                if failure.reason == Reason::Gone {
                    gone = Some(Message::new(format_args!("{GONE}: {}", failure.message)));
                }
                self.judge_failed(failure, case)?
            }
        };
        let verdict = match settle::without(verdict, case, batch.unsendable()) {
            // What the endpoint of an earlier revision has said is none of this one's.
            Verdict::Again(_, retries) if !is_current => Verdict::Again(Duration::ZERO, retries),
            verdict => verdict,
        };
        gone = gone.filter(|_| is_current);
        Ok(Judgement { verdict, good, gone, reports })
    }

    fn judge_failed(&self, failure: Failure, case: Case<'_>) -> Step<Verdict> {
        self.site.note_failure(&failure, case.retries.attempts);
        if self.site.shared.draining && failure.reason == Reason::Address {
            // Who drains may permit less than whoever froze it: that is no reason to give up on it.
            let why = format!("its endpoint may not be called from here: {}", failure.message);
            return Err(Halt::Stuck(why.into()));
        }
        Ok(match failure.reason {
            // Its batch waits for whoever mends it.
            Reason::Gone => Verdict::Again(limits::RETRY_AFTER_MAX, settle::failing(case)),
            _ => settle::failed(case, failure),
        })
    }

    /// True where another lane's calls went well not long ago.
    pub(crate) fn was_good_lately(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.was_good_lately())
    }

    fn note_health(&self, change: Option<Change>) -> Option<SystemEvent> {
        let (site, lane) = (&self.site, &self.site.at);
        let endpoint =
            || site.current().config.webhook().map(|webhook| reports::origin(&webhook.url)).unwrap_or_default();
        let (what, message) = match change? {
            Change::Opened => {
                let message = "the endpoint does nothing but fail: it is let rest";
                warn!(%lane, message);
                (Happened::BreakerOpened { endpoint: endpoint() }, message)
            }
            Change::Closed => {
                let message = "the endpoint answers again";
                info!(%lane, message);
                (Happened::BreakerClosed { endpoint: endpoint() }, message)
            }
            Change::StaysOpen => return None,
        };
        Some(reports::event(site, what, message))
    }
}

async fn granted(turn: &mut Waiting) -> Turn {
    match turn {
        Waiting::For(_, granted) => granted.await,
        Waiting::Nothing | Waiting::Granted(_) => std::future::pending().await,
    }
}

impl Lane {
    /// Calls with what may be called, as far as the endpoint and the throttle let it.
    pub(crate) fn call(&mut self, entry: &Arc<SubscriptionEntry>, now: Instant) -> Step<()> {
        let Some(webhook) = entry.config.webhook() else {
            return Err(Halt::Stuck("the subscription has no webhook".into()));
        };
        loop {
            let throttled = self.calls.throttle.wait(now).is_some();
            let callable = self.window.callable(entry.config.ordering).filter(|_| !throttled);
            let Some(first) = callable else {
                self.calls.rest();
                return Ok(());
            };
            let Some(turn) = self.calls.take_turn() else { return Ok(()) };
            let Some(set) = self.window.set_mut(first) else { return Ok(()) };
            let batch = match &set.batch {
                Some(batch) => Arc::clone(batch),
                None => Arc::new(self.site.thaw(set)?),
            };
            set.batch = Some(Arc::clone(&batch));
            set.phase = Phase::Calling;
            self.calls.begin(entry, webhook, &batch, set.retries.attempts.saturating_add(1), turn);
        }
    }
}

/// Status, outcome and message of a call, for the delivery log.
fn said(answer: Option<&Answer>, outcome: &Judged) -> (Option<u16>, String, Message) {
    match outcome {
        Judged::Answered(results, _) => (answer.map(|answer| answer.status), ACKNOWLEDGED.to_owned(), brought(results)),
        Judged::Failed(failure) => failed(failure),
        Judged::Unsent => Default::default(),
    }
}

fn failed(failure: &Failure) -> (Option<u16>, String, Message) {
    (failure.status, failure.reason.as_str().to_owned(), failure.message.clone())
}

fn brought(results: &Results) -> Message {
    Message::new(format_args!("{} records", results.records.len()))
}

/// How a call ended, its events named by where they stand in their batch.
enum Judged {
    Answered(Results, Vec<(usize, Action)>),
    Failed(Failure),
    /// There was none.
    Unsent,
}

fn judged(site: &Site, entry: &Arc<SubscriptionEntry>, batch: &Batch, answer: &Answer, now: Timestamp) -> Judged {
    let view = site.shared.context.control.view();
    let source = &entry.config.source.topic;
    let exists = |topic: &TopicName| response::may_receive(topic, source) && view.topic(&entry.tenant, topic).is_some();
    let output = entry.config.output.as_ref().map(|output| &output.topic);
    match response::outcome(answer, &Allowed { output, exists: &exists }, now) {
        Outcome::Acknowledged(mut results) => match named(batch, std::mem::take(&mut results.actions)) {
            Ok(actions) => Judged::Answered(results, actions),
            Err(id) => Judged::Failed(response::no_such_event(answer.status, &id)),
        },
        Outcome::Failed(failure) => Judged::Failed(failure),
    }
}

/// Why a call failed may quote what the endpoint said.
fn without_secrets(outcome: Judged, entry: &SubscriptionEntry, now: Timestamp) -> Judged {
    match (outcome, entry.config.webhook()) {
        (Judged::Failed(failure), Some(webhook)) => {
            let message = reports::hidden(failure.message.to_string(), webhook, entry, now).into();
            Judged::Failed(Failure { message, ..failure })
        }
        (outcome, _) => outcome,
    }
}

/// For each event the first that has its key.
fn same_keys(events: &[Delivery]) -> Vec<usize> {
    let mut firsts = HashMap::new();
    let first = |(index, event): (usize, &Delivery)| {
        event.record.key.as_ref().map_or(index, |key| *firsts.entry(key.clone()).or_insert(index))
    };
    events.iter().enumerate().map(first).collect()
}

/// Which events an answer names; of several things said of one, the last counts. The first id that is none of them.
fn named(batch: &Batch, actions: Vec<(String, Action)>) -> Result<Vec<(usize, Action)>, String> {
    if actions.is_empty() {
        return Ok(Vec::new());
    }
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, event) in batch.events.iter().enumerate().filter(|(index, _)| batch.sends(*index)) {
        places.entry(event.id()).or_default().push(index);
    }
    let mut found = std::collections::BTreeMap::new();
    for (id, action) in actions {
        let indices = places.get(&id).ok_or(id)?;
        found.extend(indices.iter().map(|index| (*index, action)));
    }
    Ok(found.into_iter().collect())
}

/// Where an event is to blame, and is looked for, the endpoint is not.
fn health(outcome: &Judged, policy: &Retry, events: usize) -> Option<Health> {
    match outcome {
        Judged::Answered(..) => Some(Health::Good),
        Judged::Failed(failure) if failure.reason == Reason::Timeout => Some(Health::Overloaded),
        Judged::Failed(failure) if matches!(failure.status, Some(429 | 503)) => Some(Health::Overloaded),
        Judged::Failed(failure) if failure.status.is_some() && settle::halves(policy, events, failure) => None,
        Judged::Failed(_) => Some(Health::Failed),
        Judged::Unsent => None,
    }
}

/// True where calls of both revisions are made to the same endpoint in the same way.
fn is_called_alike(one: &SubscriptionEntry, other: &SubscriptionEntry) -> bool {
    one.config.processor == other.config.processor && one.secret == other.secret
}
