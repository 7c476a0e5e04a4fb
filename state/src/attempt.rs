//! An attempt: one call of a webhook, as the delivery log keeps it. What the dispatcher writes and the API shows, in
//! the
//! words of both.
//!
//! Of the URL only the origin is in it, and of the answer the beginning, from which the caller's own secrets have been
//! taken out: whoever reads the delivery log may know less than whoever has set the webhook up.

use std::time::Duration;

use bytes::Bytes;
use fpaas_core::{BatchId, Incarnation, Message, SubscriptionId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Timings};

const VERSION: u8 = 1;

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attempt {
    v: u8,
    /// When it began.
    pub time: Timestamp,
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// And which of that id.
    pub incarnation: Incarnation,
    /// The lane that called.
    pub lane: u32,
    /// The batch: its `webhook-id`.
    pub batch: String,
    /// How many events it holds.
    pub events: u32,
    /// From 1.
    pub attempt: u32,
    /// Scheme, host and port that were called.
    pub origin: String,
    /// The answer's, if there was one.
    pub status: Option<u16>,
    /// `acknowledged`, or why not.
    pub outcome: String,
    /// A sentence about it, free of secrets.
    pub message: Message,
    /// How long its phases took.
    pub timings: Phases,
    /// The beginning of the answer's body, as text.
    pub body: Option<String>,
}

/// Milliseconds. Null where a phase did not end, and where it was no part of the call: its connection was kept from an
/// earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Phases {
    /// Looking the name up; null where the host is an address, too.
    pub dns_ms: Option<u64>,
    /// To an address, or through a proxy to the endpoint.
    pub connect_ms: Option<u64>,
    /// The handshake.
    pub tls_ms: Option<u64>,
    /// From the beginning of the call to the head of its answer.
    pub first_byte_ms: Option<u64>,
    /// From the beginning of the call to its end.
    pub total_ms: u64,
}

impl From<Timings> for Phases {
    fn from(timings: Timings) -> Self {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            dns_ms: timings.dns.map(milliseconds),
            connect_ms: timings.connect.map(milliseconds),
            tls_ms: timings.tls.map(milliseconds),
            first_byte_ms: timings.first_byte.map(milliseconds),
            total_ms: milliseconds(timings.total),
        }
    }
}

/// What was called, and when.
#[derive(Clone, Debug)]
pub struct CallOf<'a> {
    /// When it began.
    pub time: Timestamp,
    /// Of which subscription.
    pub subscription: &'a SubscriptionId,
    /// And which of that id.
    pub incarnation: Incarnation,
    /// The lane that called.
    pub lane: u32,
    /// The batch.
    pub batch: &'a BatchId,
    /// How many events it holds.
    pub events: usize,
    /// From 1.
    pub attempt: u32,
    /// Scheme, host and port.
    pub origin: String,
}

impl Attempt {
    /// A call that is over; how it ended is to be filled in.
    pub fn new(call: CallOf<'_>, timings: Timings, body: Option<String>) -> Self {
        let CallOf { time, subscription, incarnation, lane, batch, events, attempt, origin } = call;
        Self {
            v: VERSION,
            time,
            subscription: subscription.clone(),
            incarnation,
            lane,
            batch: batch.to_string(),
            events: u32::try_from(events).unwrap_or(u32::MAX),
            attempt,
            origin,
            status: None,
            outcome: String::new(),
            message: Message::default(),
            timings: timings.into(),
            body,
        }
    }

    /// As the topic holds it.
    pub fn encode(&self) -> Result<Bytes> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|error| corrupt(&error.to_string()))
    }

    /// From the topic. None of a version that this program does not know: a newer node has written it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|attempt| attempt.v == VERSION)
    }
}

fn corrupt(why: &str) -> Error {
    Error::Corrupt { what: "an attempt".to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the topic stays readable.
    #[test]
    fn an_attempt_is_written_as_before_and_read_back() {
        let text = r#"{"v":1,"time":1700000000000000,"subscription":"likes","incarnation":7,"lane":2,"batch":"batch_0a","events":3,"attempt":4,"origin":"https://a.example","status":503,"outcome":"status","message":"no","timings":{"dnsMs":1,"connectMs":null,"tlsMs":2,"firstByteMs":null,"totalMs":9},"body":"later"}"#;
        let attempt = Attempt::decode(text.as_bytes()).unwrap();
        assert_eq!(attempt.encode().unwrap(), text);
        assert_eq!(Attempt::decode(text.replace("\"v\":1", "\"v\":2").as_bytes()), None);
        assert_eq!(Attempt::decode(b"{}"), None);
    }
}
