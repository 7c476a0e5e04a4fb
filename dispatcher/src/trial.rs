//! A call that is no delivery: signed, guarded and judged as one, under an id and a header that say what it is. Nothing
//! is frozen, counted or committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::subscription::Subscription;
use fpaas_core::{BatchId, Message, Timestamp, TopicName, TopicPartition, limits};
use fpaas_log::Stored;
use fpaas_state::{Context, SubscriptionEntry, Timings, Trial, Tried, TriedRecord};
use http::HeaderValue;

use crate::batch::{Batcher, Bounds};
use crate::body::{Body, Delivery, Head, Shape};
use crate::client::{Call, Called, Client};
use crate::making::Making;
use crate::request::{self, Attempt};
use crate::response::{self, Allowed, Outcome, Reason};
use crate::{Config, Result};

/// Says to an endpoint that nothing comes of the call.
pub(crate) const HEADER: &str = "fpaas-test";

/// Makes such calls; cheap to clone.
#[derive(Clone, Debug)]
pub struct Trials {
    client: Client,
    context: Context,
    version: String,
    making: Making,
}

impl Trials {
    /// Made once. Opens no connection.
    pub fn new(context: Context, config: &Config) -> Result<Self> {
        Ok(Self { client: Client::new(config)?, context, version: config.version.clone(), making: Making::new() })
    }

    /// Calls the webhook once with the first batch that the events make, and waits for the answer: no longer than
    /// `limits::TRIAL_TIME_MAX`, whatever the subscription says. None of a subscription without a webhook.
    pub async fn call(&self, trial: Trial) -> Option<Tried> {
        let Trial { entry, random, at, events } = trial;
        let webhook = entry.config.webhook()?;
        let events: Arc<[Delivery]> = first_batch(&entry.config, &at, events).into();
        let (id, now) = (BatchId::of_trial(&random), self.context.clock.now());
        let (head, shape) = (Head { subscription: entry.id.clone(), id: id.clone(), lane: at }, Shape::of(webhook));
        let body = match self.making.body(head.clone(), shape.clone(), Arc::clone(&events)).await {
            Ok(body) if body.events > 0 => body,
            Ok(body) => return Some(unsent(&id, body.unsendable.into_iter().map(|(_, why)| why).next())),
            Err(error) => return Some(unsent(&id, Some(Message::new(error)))),
        };
        let attempt = Attempt {
            head: &head,
            events: &events,
            shape: &shape,
            body: &body,
            number: 1,
            timestamp: now.as_millis().div_euclid(1000),
            version: &self.version,
        };
        let mut headers = request::headers(&attempt, webhook, entry.secrets(now));
        headers.insert(HEADER, HeaderValue::from_static("true"));
        let timeout = Duration::from_millis(webhook.timeout_ms).min(limits::TRIAL_TIME_MAX);
        let wants_body = entry.config.output.is_some();
        let (body_bytes, identity) = (body.bytes.clone(), entry.identity());
        let call = Call { url: &webhook.url, headers, body: body_bytes, timeout, wants_body, identity };
        let called = self.client.call(call).await;
        Some(self.tried(&entry, &id, &body, called, now))
    }

    fn tried(&self, entry: &SubscriptionEntry, id: &BatchId, body: &Body, called: Called, now: Timestamp) -> Tried {
        let Called { answer, timings, piece } = called;
        let status = answer.as_ref().ok().map(|answer| answer.status);
        let outcome = match &answer {
            Ok(answer) => {
                let (view, source) = (self.context.control.view(), &entry.config.source.topic);
                let exists = |topic: &TopicName| {
                    response::may_receive(topic, source) && view.topic(&entry.tenant, topic).is_some()
                };
                let output = entry.config.output.as_ref().map(|output| &output.topic);
                response::outcome(answer, &Allowed { output, exists: &exists }, now)
            }
            Err(failure) => Outcome::Failed(failure.clone()),
        };
        judged(Tried { events: body.events, timings, piece, status, ..nothing(id) }, outcome)
    }
}

/// Nothing came of it yet.
fn nothing(id: &BatchId) -> Tried {
    Tried {
        id: id.to_string(),
        events: 0,
        timings: Timings::default(),
        piece: Bytes::new(),
        status: None,
        outcome: "acknowledged",
        message: Message::default(),
        records: Vec::new(),
    }
}

/// There was nothing to call with.
fn unsent(id: &BatchId, why: Option<Message>) -> Tried {
    Tried { outcome: Reason::PayloadFailed.as_str(), message: why.unwrap_or_default(), ..nothing(id) }
}

fn judged(tried: Tried, outcome: Outcome) -> Tried {
    match outcome {
        Outcome::Acknowledged(results) => {
            let message = Message::new(format_args!("{} records", results.records.len()));
            let shown = results.records.into_iter().map(|record| TriedRecord {
                topic: record.topic,
                key: record.key,
                value: record.value,
            });
            Tried { message, records: shown.collect(), ..tried }
        }
        Outcome::Failed(failure) => Tried {
            status: failure.status.or(tried.status),
            outcome: failure.reason.as_str(),
            message: failure.message,
            ..tried
        },
    }
}

fn first_batch(config: &Subscription, at: &TopicPartition, events: Vec<Stored>) -> Vec<Delivery> {
    let mut batcher = Batcher::new(Bounds::of(config));
    events.into_iter().map(|stored| Delivery::new(at, stored)).take_while(|event| batcher.offer(event)).collect()
}
