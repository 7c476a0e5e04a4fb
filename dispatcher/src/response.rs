//! What an endpoint's answer means. Pure (design §7, Webhook response).
//!
//! Does not own when a failure is tried again ([`crate::retry`]) or how results are read ([`results`]).

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use fpaas_core::{Message, Timestamp, TopicName};

mod results;

pub(crate) use results::{Action, Allowed, OutputRecord, RefusedRecord, Results};

/// An answer as the client read it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// `Retry-After`, if it is text.
    pub(crate) retry_after: Option<String>,
    /// `webhook-delivery`, if it is text.
    pub(crate) delivery: Option<String>,
    /// What was read of its body.
    pub(crate) body: Body,
}

impl Answer {
    /// True where it asks to be called no more, whatever becomes of its batch.
    pub(crate) fn disables(&self) -> bool {
        self.delivery.as_deref().map(str::trim) == Some("disable")
    }
}

/// Of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Nobody needs it.
    Unread,
    /// All of it.
    Whole(Bytes),
    /// It is longer than `limits::RESPONSE_BYTES_MAX`.
    TooLong,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The batch is acknowledged, but for what this says of single events.
    Acknowledged(Results),
    /// It is not.
    Failed(Failure),
}

/// Why a call did not acknowledge its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Named.
    pub(crate) reason: Reason,
    /// The answer's status, if there was one.
    pub(crate) status: Option<u16>,
    /// A sentence, free of secrets.
    pub(crate) message: Message,
    /// Whether the same call may succeed later.
    pub(crate) retryable: bool,
    /// How long the endpoint asked to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// The names of failures, as in `/status` and in dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No whole answer before the deadline.
    Timeout,
    /// No connection: name, network, TLS.
    Connect,
    /// The endpoint's address may not be called.
    Address,
    /// The URL cannot be called.
    Url,
    /// The connection ended in the middle of the call.
    Cut,
    /// A status that does not acknowledge.
    Status,
    /// The endpoint says that it is no more.
    Gone,
    /// A redirect: never followed.
    Redirect,
    /// The endpoint asked for no more attempts.
    Aborted,
    /// A body that cannot be read as results.
    BadResponse,
    /// A result that the log refuses.
    Output,
    /// The endpoint asked to be called with an event once more.
    Retry,
    /// The endpoint rejected an event.
    Rejected,
    /// The subscription's expression makes no payload of an event.
    PayloadFailed,
}

impl Reason {
    /// As it is written.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Address => "address",
            Self::Url => "url",
            Self::Cut => "cut",
            Self::Status => "status",
            Self::Gone => "gone",
            Self::Redirect => "redirect",
            Self::Aborted => "aborted",
            Self::BadResponse => "badResponse",
            Self::Output => "output",
            Self::Retry => "retry",
            Self::Rejected => "rejected",
            Self::PayloadFailed => "payloadFailed",
        }
    }
}

impl Failure {
    /// Without an answer; it may go better next time.
    pub(crate) fn new(reason: Reason, message: impl Into<Message>) -> Self {
        Self { reason, status: None, message: message.into(), retryable: true, retry_after: None }
    }
}

/// Reads `answer`. `allowed` is where results may go.
pub(crate) fn outcome(answer: &Answer, allowed: &Allowed<'_>, now: Timestamp) -> Outcome {
    if !(200..300).contains(&answer.status) {
        return Outcome::Failed(failure(answer, now));
    }
    let read = match &answer.body {
        _ if answer.status == 204 => Ok(Results::default()),
        Body::Unread => Ok(Results::default()),
        Body::Whole(body) => results::read(body, allowed),
        // Nobody would have read it.
        Body::TooLong if allowed.output.is_none() => Ok(Results::default()),
        Body::TooLong => Err("the answer's body is too long".to_owned()),
    };
    match read {
        Ok(results) => Outcome::Acknowledged(results),
        Err(why) => Outcome::Failed(bad_response(answer.status, why)),
    }
}

/// What an answer says of events that were not sent.
pub(crate) fn no_such_event(status: u16, id: &str) -> Failure {
    bad_response(status, format!("the answer names the event {id:?}, which is not in the batch"))
}

fn bad_response(status: u16, why: String) -> Failure {
    Failure { status: Some(status), ..Failure::new(Reason::BadResponse, why) }
}

fn failure(answer: &Answer, now: Timestamp) -> Failure {
    let status = answer.status;
    let answered = format!("the endpoint answered {status}");
    let (reason, retryable) = match (status, answer.delivery.as_deref().map(str::trim)) {
        (410, _) | (_, Some("disable")) => (Reason::Gone, false),
        (_, Some("abort-message")) => (Reason::Aborted, false),
        (300..400, _) => (Reason::Redirect, false),
        (408 | 429, _) => (Reason::Status, true),
        (501, _) => (Reason::Status, false),
        (500..600, _) => (Reason::Status, true),
        _ => (Reason::Status, false),
    };
    let retry_after = answer.retry_after.as_deref().and_then(|text| retry_after(text, now));
    Failure { status: Some(status), retryable, retry_after, ..Failure::new(reason, answered) }
}

/// Seconds, or an HTTP date (RFC 9110 §10.2.3). What is neither counts as absent.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(0).plus(since_epoch).since(now))
}

/// True of names that results may carry: the tenant's topics, never the built-in ones.
pub(crate) fn may_receive(topic: &TopicName, source: &TopicName) -> bool {
    !topic.is_reserved() && topic != source
}

#[cfg(test)]
mod tests;
