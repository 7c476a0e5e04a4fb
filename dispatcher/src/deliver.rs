//! A frozen batch is called until it is done: acknowledged, or given up on.
//!
//! URL, secret, headers, timeout and retry policy are those of the current revision at each attempt; id and body are
//! the batch's. Does not own what follows ([`crate::finish`]). HTTP happens outside of every transaction.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::subscription::{OnExhausted, Webhook};
use fpaas_core::{Message, Timestamp, TopicName, limits};
use fpaas_state::{LastOutcome, SubscriptionEntry};

use crate::client::Call;
use crate::error::{Halt, Step};
use crate::freeze::Batch;
use crate::lane::Lane;
use crate::request::{self, Attempt};
use crate::response::{self, Allowed, Answer, Failure, Outcome, OutputRecord, Reason};
use crate::retry::{self, Next};

/// What becomes of a batch.
#[derive(Debug)]
pub(crate) enum Finish {
    /// Its results, and which attempt brought them.
    Acknowledged { records: Vec<OutputRecord>, attempts: u32 },
    /// Its events are kept as dead letters.
    DeadLetters(GivenUp),
    /// Its events are dropped, counted.
    Dropped,
}

impl Finish {
    /// True when its events are kept.
    pub(crate) const fn is_kept(&self) -> bool {
        matches!(self, Self::DeadLetters(_))
    }
}

/// Why a batch was given up on.
#[derive(Clone, Debug)]
pub(crate) struct GivenUp {
    pub(crate) failure: Failure,
    pub(crate) attempts: u32,
    pub(crate) first_failed: Timestamp,
    pub(crate) last_failed: Timestamp,
    /// Dead letters are not larger than this.
    pub(crate) bytes_max: usize,
}

impl GivenUp {
    pub(crate) const fn new(failure: Failure, attempts: u32, first_failed: Timestamp, last_failed: Timestamp) -> Self {
        Self { failure, attempts, first_failed, last_failed, bytes_max: limits::RECORD_BYTES_MAX }
    }

    /// What the policy makes of it. `block` is for failures that may pass: what can only fail again is kept instead.
    pub(crate) fn finish(self, on_exhausted: OnExhausted) -> Finish {
        match on_exhausted {
            OnExhausted::Drop => Finish::Dropped,
            OnExhausted::DeadLetter | OnExhausted::Block => Finish::DeadLetters(self),
        }
    }
}

/// The attempts of one batch since this process took it up.
#[derive(Debug, Default)]
struct Attempts {
    made: u32,
    first_failed: Option<Timestamp>,
}

impl Lane {
    /// Calls until `batch` is done.
    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Step<Finish> {
        let mut attempts = Attempts::default();
        loop {
            self.refuse_paused()?;
            attempts.made = attempts.made.saturating_add(1);
            match self.attempt(batch, attempts.made).await? {
                Outcome::Acknowledged(records) => {
                    return Ok(Finish::Acknowledged { records, attempts: attempts.made });
                }
                Outcome::Failed(failure) => {
                    if let Some(finish) = self.after(batch, failure, &mut attempts).await? {
                        return Ok(finish);
                    }
                }
            }
        }
    }

    /// Waits for the next attempt, or says that there is none.
    async fn after(&mut self, batch: &Batch, failure: Failure, attempts: &mut Attempts) -> Step<Option<Finish>> {
        if self.shared.draining && failure.reason == Reason::Address {
            // Who drains may permit less than whoever froze it: that is no reason to give up on it.
            return Err(Halt::Stuck(format!("its endpoint may not be called from here: {}", failure.message).into()));
        }
        let now = self.shared.context.clock.now();
        let first_failed = *attempts.first_failed.get_or_insert(now);
        if failure.reason == Reason::Cut && std::mem::take(&mut self.warm) {
            // The connection was kept from an earlier call and may have been stale: one try on a new one.
            return Ok(None);
        }
        let entry = self.current();
        let policy = entry.config.retry;
        // What it stood still for is no time of the endpoint's.
        let since = batch.row.frozen_at.max(entry.active_since);
        drop(entry);
        let next = retry::next(&policy, &failure, attempts.made, now.since(since), jitter());
        let Next::Again(wait) = next else {
            let given_up = GivenUp::new(failure, attempts.made, first_failed, now);
            return Ok(Some(given_up.finish(policy.on_exhausted)));
        };
        // An endpoint may be away for longer than a broker remembers a position that does not move.
        if let Some(position) = self.deliveries.renewable() {
            self.renew(position).await?;
        }
        crashpoint::hit(Point::LaneInBackoff);
        self.wait(wait).await.map(|()| None)
    }

    /// One call and what its answer means.
    async fn attempt(&mut self, batch: &Batch, number: u32) -> Step<Outcome> {
        if self.stop.is_cancelled() {
            return Err(Halt::Stopped);
        }
        let entry = self.current();
        let Some(webhook) = entry.config.webhook() else {
            return Err(Halt::Stuck("the subscription has no webhook".into()));
        };
        self.counters.calls.add(1);
        let call = self.call(&entry, webhook, batch, number);
        let answer = tokio::select! {
            called = self.shared.client.call(call) => called.answer,
            () = self.overdue() => return Err(Halt::Stopped),
        };
        crashpoint::hit(Point::LaneAfterAnswer);
        self.warm |= answer.is_ok();
        let outcome = match &answer {
            Ok(answer) => self.judge(&entry, answer),
            Err(failure) => Outcome::Failed(failure.clone()),
        };
        match &outcome {
            Outcome::Acknowledged(records) => self.note_acknowledged(&answer, records.len(), number),
            Outcome::Failed(failure) => self.note_failure(failure, number),
        }
        Ok(outcome)
    }

    fn call<'a>(&self, entry: &SubscriptionEntry, webhook: &'a Webhook, batch: &Batch, number: u32) -> Call<'a> {
        let now = self.shared.context.clock.now();
        let attempt = Attempt {
            subscription: &entry.id,
            batch: &batch.id,
            body: &batch.body,
            events: batch.events.len(),
            number,
            timestamp: now.as_millis().div_euclid(1000),
            version: &self.shared.version,
        };
        Call {
            url: &webhook.url,
            headers: request::headers(&attempt, webhook, entry.secrets(now)),
            body: batch.body.clone(),
            timeout: Duration::from_millis(webhook.timeout_ms),
            wants_body: entry.config.output.is_some(),
        }
    }

    /// A call in flight may end after the lane was asked to stop, so that the endpoint is not called again for nothing;
    /// but not for ever.
    async fn overdue(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(limits::DRAIN / 2).await;
    }

    fn judge(&self, entry: &Arc<SubscriptionEntry>, answer: &Answer) -> Outcome {
        let context = &self.shared.context;
        let view = context.control.view();
        let source = &entry.config.source.topic;
        let exists =
            |topic: &TopicName| response::may_receive(topic, source) && view.topic(&entry.tenant, topic).is_some();
        let allowed = entry.config.output.as_ref().map(|output| Allowed { output: &output.topic, exists: &exists });
        response::outcome(answer, allowed.as_ref(), context.clock.now())
    }

    fn note_acknowledged(&self, answer: &Result<Answer, Failure>, records: usize, attempt: u32) {
        let status = answer.as_ref().ok().map(|answer| answer.status);
        self.note(status, "acknowledged", Message::new(format_args!("{records} records")), attempt);
    }

    /// Counts a call that did not acknowledge, for `/status`.
    pub(crate) fn note_failure(&self, failure: &Failure, attempt: u32) {
        self.counters.failures.add(1);
        if failure.reason == Reason::BadResponse {
            self.counters.bad_responses.add(1);
        }
        self.note(failure.status, failure.reason.as_str(), failure.message.clone(), attempt);
    }

    fn note(&self, status: Option<u16>, outcome: &str, message: Message, attempt: u32) {
        let time = self.shared.context.clock.now();
        self.counters.note(LastOutcome { time, status, outcome: outcome.to_owned(), message, attempt });
    }
}

/// Uniform in 0..1. Only spreads retries, so that a failing source of randomness costs nothing but that.
pub(crate) fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}
