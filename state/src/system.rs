//! What happens to a tenant's subscriptions, as its topic `system` tells it, so that alerts are subscriptions like any
//! other. The JSON is documented: consumers read it.
//!
//! Does not own when something happens, nor when it is written.

use bytes::Bytes;
use fpaas_core::{BatchId, Message, SubscriptionId, Timestamp, rfc3339};
use fpaas_log::Record;
use schemars::JsonSchema;
use serde::Serialize;

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemEvent {
    /// What happened.
    #[serde(flatten)]
    pub what: Happened,
    /// When.
    #[serde(serialize_with = "as_rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// To which subscription.
    pub subscription: SubscriptionId,
    /// In which of its lanes.
    pub lane: u32,
    /// A sentence.
    pub message: Message,
}

/// By its name in `type`, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Happened {
    /// Events, or records of an answer, were given up on. Written in the transaction that writes the dead letters.
    DeadLetters {
        /// How many.
        count: usize,
        /// `fpaas.error.reason` of all of them.
        reason: String,
        /// What the endpoint answered, if it did.
        status: Option<u16>,
        /// How often they were tried.
        attempts: u32,
        /// In which batch they were called last.
        batch: String,
    },
    /// An endpoint did nothing but fail: it is let rest, and tried now and then.
    BreakerOpened {
        /// Scheme, host and port of its URL.
        endpoint: String,
    },
    /// It answers again.
    BreakerClosed {
        /// Scheme, host and port of its URL.
        endpoint: String,
    },
    /// It is called no more until somebody sets the subscription active.
    Disabled {
        /// The revision that says so.
        revision: u64,
    },
    /// The log has lost where the lane stood: it stands still rather than begin anew.
    PositionLost {},
}

fn as_rfc3339<S: serde::Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339::format(*time))
}

impl Happened {
    /// Dead letters of a batch that have one cause.
    pub fn dead_letters(batch: &BatchId, count: usize, reason: &str, status: Option<u16>, attempts: u32) -> Self {
        Self::DeadLetters { count, reason: reason.to_owned(), status, attempts, batch: batch.to_string() }
    }
}

impl SystemEvent {
    /// As the topic holds it: what it is about is its key, so that the events of one subscription stay in order.
    pub fn record(&self) -> Record {
        let value = serde_json::to_vec(self).unwrap_or_default();
        Record { key: Some(self.key()), value: Some(value.into()), timestamp: self.time, ..Record::default() }
    }

    /// Of its record.
    pub fn key(&self) -> Bytes {
        format!("subscriptions/{}", self.subscription).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object_that_names_what_happened() {
        let event = |what| SystemEvent {
            what,
            time: Timestamp::from_millis(1_700_000_000_000),
            subscription: SubscriptionId::parse("likes").unwrap(),
            lane: 2,
            message: "no".into(),
        };
        let text = |what| String::from_utf8(event(what).record().value.unwrap().to_vec()).unwrap();
        let rest = r#""time":"2023-11-14T22:13:20.000Z","subscription":"likes","lane":2,"message":"no"}"#;
        let endpoint = || "https://a.example".to_owned();
        let letters = Happened::DeadLetters {
            count: 3,
            reason: "rejected".to_owned(),
            status: Some(200),
            attempts: 1,
            batch: "batch_0a".to_owned(),
        };
        for (what, head) in [
            (
                letters,
                r#"{"type":"deadLetters","count":3,"reason":"rejected","status":200,"attempts":1,"batch":"batch_0a","#,
            ),
            (
                Happened::BreakerOpened { endpoint: endpoint() },
                r#"{"type":"breakerOpened","endpoint":"https://a.example","#,
            ),
            (
                Happened::BreakerClosed { endpoint: endpoint() },
                r#"{"type":"breakerClosed","endpoint":"https://a.example","#,
            ),
            (Happened::Disabled { revision: 7 }, r#"{"type":"disabled","revision":7,"#),
            (Happened::PositionLost {}, r#"{"type":"positionLost","#),
        ] {
            assert_eq!(text(what), [head, rest].concat());
        }
        assert_eq!(event(Happened::PositionLost {}).key(), "subscriptions/likes");
    }
}
