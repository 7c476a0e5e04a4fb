//! Calls of a lane's kind, for whoever writes an endpoint: their bodies, signatures, client and the reading of answers
//! are those of deliveries. Nothing is frozen, counted or committed.
//!
//! Does not own what is sent, nor what an endpoint should answer to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::event::header;
use fpaas_core::subscription::{ClientCertificate, Compression, Format, Identity, Scheme, Secret, Webhook};
use fpaas_core::{BatchId, HeadersBuilder, Message, Offset, SubscriptionId, Timestamp, TopicName, TopicPartition};
use fpaas_log::{Record, Stored};
use fpaas_state::Timings;
use http::{HeaderMap, HeaderValue};

use crate::body::{Body, Delivery, Head, Shape};
use crate::client::{Call, Called, Client};
use crate::request::{self, Attempt};
use crate::response::{self, Action, Allowed, Answer, Outcome, Results};
use crate::{Config, Network, Reach, Result, trial};

/// An event that is made up.
#[derive(Clone, Debug)]
pub struct SampleEvent {
    /// As it stands beside the event.
    pub id: String,
    /// Any bytes: JSON stands in the body as it is, what is none as base64, and `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// A batch that nobody froze.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What is sent. Another one in its place is signed as this one is.
    pub body: Bytes,
    head: Head,
    events: Vec<Delivery>,
}

/// How one call with a batch is made.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// One signature each, in this order.
    pub secrets: &'a [Secret],
    /// Of the attempt.
    pub at: Timestamp,
    /// From 1.
    pub attempt: u32,
}

/// What came of a call, as a lane would see it of a subscription with an output.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Absent where there was no answer.
    pub status: Option<u16>,
    /// Why the batch is not acknowledged; `None` where it is.
    pub failure: Option<SampleFailure>,
    /// Whether it asks to be called no more.
    pub disables: bool,
    /// How long the answer's body is, as far as it was needed; `None` where it is longer than is read.
    pub body_bytes: Option<usize>,
    /// How long the phases took. No `connect`: a kept connection was used.
    pub timings: Timings,
    /// The beginning of the answer's body, decoded.
    pub piece: Bytes,
    results: Results,
}

/// See [`Answered::failure`].
#[derive(Clone, Debug)]
pub struct SampleFailure {
    /// As in a status and in dead letters.
    pub reason: &'static str,
    /// A sentence.
    pub message: Message,
    /// Whether a lane would call again.
    pub retryable: bool,
}

/// Makes such calls to one endpoint, wherever it is: loopback and `http` are fine.
#[derive(Clone, Debug)]
pub struct Sampler {
    client: Client,
    webhook: Webhook,
    subscription: SubscriptionId,
    output: TopicName,
    version: String,
}

impl Sampler {
    /// Opens no connection. `subscription` is whose batches they say they are, `timeout` the deadline of a call.
    pub fn new(url: &str, timeout: Duration, subscription: SubscriptionId, output: TopicName) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let config = Config {
            reach: Reach::Dev,
            network: Network::default(),
            version: version.clone(),
            assigned: Arc::default(),
            outside: None,
        };
        let webhook = Webhook {
            url: url.to_owned(),
            payload: None,
            format: Format::default(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            headers: BTreeMap::new(),
            compression: Compression::default(),
            secret: None,
            signing: vec![Scheme::V1],
            client_certificate: None,
        };
        Ok(Self { client: Client::new(&config)?, webhook, subscription, output, version })
    }

    /// A batch of these events. `random` is 16 random bytes in hex: no two batches have the same id.
    pub fn batch(&self, random: &str, events: Vec<SampleEvent>) -> Sample {
        let (id, at) = (BatchId::of_trial(random), TopicPartition::new("sample", 0));
        let delivery = |(offset, SampleEvent { id, value })| {
            let headers = HeadersBuilder::new().with(header::ID, id).build();
            Delivery::new(
                &at,
                Stored { offset: Offset(offset), record: Record { value, headers, ..Record::default() } },
            )
        };
        let events: Vec<_> = (0..).zip(events).map(delivery).collect();
        let head = Head { subscription: self.subscription.clone(), id, lane: at };
        // Nothing of it is made by an expression, or compressed: it cannot fail.
        let body = Body::make(&head, &Shape::default(), &events, &AtomicBool::new(false));
        Sample { body: body.map(|body| body.bytes).unwrap_or_default(), head, events }
    }

    /// The headers of a call with `sample`, and the one that says that nothing comes of it.
    pub fn headers(&self, sample: &Sample, signing: Signing<'_>) -> HeaderMap {
        let attempt = Attempt {
            head: &sample.head,
            events: &sample.events,
            shape: &Shape::default(),
            body: &Body { bytes: sample.body.clone(), events: sample.events.len(), unsendable: Vec::new() },
            number: signing.attempt,
            timestamp: signing.at.as_millis().div_euclid(1000),
            version: &self.version,
        };
        let mut headers = request::headers(&attempt, &self.webhook, signing.secrets.iter());
        headers.insert(trial::HEADER, HeaderValue::from_static("true"));
        headers
    }

    /// The same, showing a certificate with its key, if there is one. The URL is then `https`.
    #[must_use]
    pub fn showing(mut self, certificate: Option<ClientCertificate>) -> Self {
        self.webhook.client_certificate = certificate;
        self
    }

    /// Calls with the body of `sample` under `headers`, which need not be its own.
    pub async fn call(&self, sample: &Sample, headers: HeaderMap, now: Timestamp) -> Answered {
        let timeout = Duration::from_millis(self.webhook.timeout_ms);
        let (url, body) = (&self.webhook.url, sample.body.clone());
        let call = Call { url, headers, body, timeout, wants_body: true, identity: self.identity() };
        let Called { answer, timings, piece } = self.client.call(call).await;
        let status = answer.as_ref().ok().map(|answer| answer.status);
        let (disables, body_bytes) = answer.as_ref().map_or((false, Some(0)), |of| (of.disables(), length(of)));
        let outcome = match &answer {
            Ok(answer) => self.outcome(sample, answer, now),
            Err(failure) => Outcome::Failed(failure.clone()),
        };
        let called =
            Answered { status, failure: None, disables, body_bytes, timings, piece, results: Results::default() };
        match outcome {
            Outcome::Acknowledged(results) => Answered { results, ..called },
            Outcome::Failed(failure) => {
                let (reason, message) = (failure.reason.as_str(), failure.message);
                let status = status.or(failure.status);
                let failure = Some(SampleFailure { reason, message, retryable: failure.retryable });
                Answered { status, failure, ..called }
            }
        }
    }

    fn identity(&self) -> Option<Identity<'_>> {
        self.webhook.client_certificate.as_ref()?.identity()
    }

    /// Any name that could be a tenant's topic is taken for one.
    fn outcome(&self, sample: &Sample, answer: &Answer, now: Timestamp) -> Outcome {
        let exists = |topic: &TopicName| !topic.is_reserved();
        match response::outcome(answer, &Allowed { output: Some(&self.output), exists: &exists }, now) {
            Outcome::Acknowledged(results) => {
                let stranger = results.actions.iter().find(|(id, _)| !sample.has(id));
                match stranger {
                    Some((id, _)) => Outcome::Failed(response::no_such_event(answer.status, id)),
                    None => Outcome::Acknowledged(results),
                }
            }
            failed @ Outcome::Failed(_) => failed,
        }
    }
}

fn length(answer: &Answer) -> Option<usize> {
    match &answer.body {
        response::Body::Unread => Some(0),
        response::Body::Whole(body) => Some(body.len()),
        response::Body::TooLong => None,
    }
}

impl Sample {
    /// Its `webhook-id`.
    pub fn id(&self) -> &str {
        self.head.id.as_str()
    }

    fn has(&self, id: &str) -> bool {
        self.events.iter().any(|event| event.id() == id)
    }

    /// How many events are in it.
    pub fn events(&self) -> usize {
        self.events.len()
    }
}

impl Answered {
    /// True where two answers have the same effect.
    pub fn means_the_same(&self, other: &Self) -> bool {
        self.failure.is_none() && other.failure.is_none() && self.results == other.results
    }

    /// Records that would be written.
    pub fn records(&self) -> usize {
        self.results.records.len()
    }

    /// Why a record would become a dead letter; the first such.
    pub fn refused(&self) -> Option<&str> {
        self.results.refused.first().map(|record| record.why.as_str())
    }

    /// Events that would be called with again, and those that would be given up on.
    pub fn left_over(&self) -> (usize, usize) {
        let count = |of: fn(&Action) -> bool| self.results.actions.iter().filter(|(_, action)| of(action)).count();
        (count(|action| matches!(action, Action::Retry(_))), count(|action| *action == Action::Reject))
    }
}

#[cfg(test)]
mod tests;
