//! The body of a webhook request, serialiser version 1, and how many bytes of it each event takes.
//!
//! Pure. The bytes of a frozen batch are made again after a crash, so nothing here may change within a version: a
//! fixture pins it. Invariant: frozen-batch.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fpaas_core::event::{self, header};
use fpaas_core::{BatchId, Offset, SubscriptionId, TopicPartition};
use fpaas_log::{Record, Stored};
use serde_json::value::RawValue;

/// What makes the bodies of new batches; stands in their rows.
pub(crate) const SERIALISER: u8 = 1;

/// A delivery on its way into a batch.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Where it stands in its lane.
    pub(crate) offset: Offset,
    /// As it was delivered.
    pub(crate) record: Record,
    /// Its event id as JSON, with quotes.
    id: String,
    form: Form,
}

/// How an event stands in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `"event":…`: its bytes are JSON and are copied as they are.
    Json,
    /// `"eventBase64":"…"`: they are not.
    Base64,
    /// `"event":null`: a tombstone.
    Tombstone,
}

impl Delivery {
    /// A record read from the lane `at`.
    pub(crate) fn new(at: &TopicPartition, stored: Stored) -> Self {
        let id = event_id(at, &stored);
        let id = serde_json::Value::String(id.into_owned()).to_string();
        let form = match &stored.record.value {
            None => Form::Tombstone,
            Some(value) if serde_json::from_slice::<&RawValue>(value).is_ok() => Form::Json,
            Some(_) => Form::Base64,
        };
        Self { offset: stored.offset, record: stored.record, id, form }
    }

    /// Its event id.
    pub(crate) fn id(&self) -> String {
        serde_json::from_str(&self.id).unwrap_or_default()
    }

    /// How many bytes of the body it takes, its comma included: what `maxBytes` counts.
    pub(crate) fn body_bytes(&self) -> usize {
        let value = self.record.value.as_ref().map_or(0, Bytes::len);
        let event = match self.form {
            Form::Json => value,
            Form::Base64 => value.div_ceil(3) * 4 + r#"Base64"""#.len(),
            Form::Tombstone => "null".len(),
        };
        r#"{"id":,"event":},"#.len() + self.id.len() + event
    }

    fn write(&self, body: &mut Vec<u8>) {
        let value = self.record.value.as_deref().unwrap_or_default();
        body.extend_from_slice(br#"{"id":"#);
        body.extend_from_slice(self.id.as_bytes());
        match self.form {
            Form::Json => put(body, &[br#","event":"#, value]),
            Form::Base64 => put(body, &[br#","eventBase64":""#, STANDARD.encode(value).as_bytes(), b"\""]),
            Form::Tombstone => put(body, &[br#","event":null"#]),
        }
        body.push(b'}');
    }
}

/// The header, or for a record that is not an event of the firehose the place it first stood at.
fn event_id<'a>(at: &TopicPartition, stored: &'a Stored) -> Cow<'a, str> {
    let headers = &stored.record.headers;
    if let Some(id) = headers.get_str(header::ID) {
        return id.into();
    }
    let number = |name| headers.get_str(name).and_then(|text| text.parse::<u64>().ok());
    let source = headers.get_str(header::SOURCE_TOPIC);
    let place = (source, number(header::SOURCE_PARTITION), number(header::SOURCE_OFFSET));
    let (topic, partition, offset) = match place {
        (Some(topic), Some(partition), Some(offset)) => (topic, u32::try_from(partition).unwrap_or(u32::MAX), offset),
        _ => (&*at.topic, at.partition.0, stored.offset.0),
    };
    event::record_id(topic, 0, partition, offset).into()
}

/// `{"subscription","batch":{"id","lane","firstOffset","lastOffset"},"events":[{"id","event":{…}}]}`, compact.
pub(crate) fn build(subscription: &SubscriptionId, id: &BatchId, lane: &TopicPartition, events: &[Delivery]) -> Bytes {
    let offset = |event: Option<&Delivery>| event.map_or(Offset::ZERO, |event| event.offset);
    let (first, last) = (offset(events.first()), offset(events.last()));
    let partition = lane.partition;
    // Names and ids are of a–z, 0–9, - and _: nothing in them needs escaping.
    let head = format!(
        r#"{{"subscription":"{subscription}","batch":{{"id":"{id}","lane":{partition},"firstOffset":{first},"lastOffset":{last}}},"events":["#
    );
    let mut body = Vec::with_capacity(head.len() + 2 + events.iter().map(Delivery::body_bytes).sum::<usize>());
    body.extend_from_slice(head.as_bytes());
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        event.write(&mut body);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

fn put(body: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| body.extend_from_slice(part));
}

#[cfg(test)]
pub(crate) mod tests;
