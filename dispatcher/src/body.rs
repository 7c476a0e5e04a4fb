//! The body of a webhook request, serialiser version 1, and how many bytes of it each event takes.
//!
//! Pure. The bytes of a frozen batch are made again after a crash, so nothing here may change within a version:
//! fixtures pin it. Does not own how an event stands in a body ([`mod@format`]), what stands there in its place
//! ([`payload`]) and how it is compressed ([`compress`]). Invariant: frozen-batch.

use std::borrow::Cow;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fpaas_core::event::{self, header};
use fpaas_core::subscription::{Compression, Format, Webhook};
use fpaas_core::{BatchId, Message, Offset, SubscriptionId, TopicPartition, limits};
use fpaas_log::{Record, Stored};
use fpaas_state::rows::BatchRow;
use serde_json::value::RawValue;

pub(crate) use format::media_type;

use format::Value;

mod cloudevents;
mod compress;
mod format;
mod payload;

/// What makes the bodies of new batches; stands in their rows.
///
/// Part of a version are the compressors at their levels, and the results of JMESPath as text: `Cargo.lock` pins the
/// crates that make both. An update of one that moves a fixture of `body/tests.rs` needs another version here, and the
/// old crate beside the new one until no batch of version 1 is left.
pub(crate) const SERIALISER: u8 = 1;

/// What of a subscription shapes a body: a batch keeps what it was frozen with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) format: Format,
    pub(crate) compression: Compression,
    pub(crate) payload: Option<String>,
}

impl Shape {
    /// Of batches that are frozen now.
    pub(crate) fn of(webhook: &Webhook) -> Self {
        let Webhook { format, compression, payload, .. } = webhook;
        Self { format: *format, compression: *compression, payload: payload.clone() }
    }

    /// Of a batch that is frozen.
    pub(crate) fn frozen(row: &BatchRow) -> Self {
        let BatchRow { format, compression, payload, .. } = row;
        Self { format: *format, compression: *compression, payload: payload.clone() }
    }
}

/// Whose batch a body is, and which.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) subscription: SubscriptionId,
    pub(crate) id: BatchId,
    /// The lane, as the partition of its deliveries.
    pub(crate) lane: TopicPartition,
}

/// What is sent, each time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    /// How many events are in it.
    pub(crate) events: usize,
    /// Which events are not, and why: no payload can be made of them.
    pub(crate) unsendable: Vec<(usize, Message)>,
}

impl Body {
    /// The same for the same batch, whoever makes it. Ends early with an error once `given_up` is true: nobody waits
    /// for it any more.
    pub(crate) fn make(head: &Head, shape: &Shape, events: &[Delivery], given_up: &AtomicBool) -> io::Result<Self> {
        let (payloads, unsendable) = payload::of(shape.payload.as_deref(), events, given_up)?;
        let sent = events.iter().enumerate().zip(payloads).filter_map(|((index, event), payload)| {
            let is_sent = unsendable.binary_search_by_key(&index, |(at, _)| *at).is_err();
            is_sent.then(|| (event, payload.map_or_else(|| event.value(), Value::Payload)))
        });
        let sent: Vec<_> = sent.collect();
        let written = format::write(head, shape.format, events, &sent);
        let bytes = compress::compress(shape.compression, written)?;
        Ok(Self { bytes, events: sent.len(), unsendable })
    }

    /// Whether an event of the batch is in it.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.unsendable.binary_search_by_key(&index, |(at, _)| *at).is_err()
    }
}

/// True of bodies that take so long to make that nothing else may wait for it.
pub(crate) fn is_work(shape: &Shape, events: &[Delivery]) -> bool {
    let bytes: usize = events.iter().map(|event| event.body_bytes(shape.format)).sum();
    shape.payload.is_some() || bytes > limits::BODY_AT_ONCE_BYTES_MAX
}

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
    /// How long its attributes are as a CloudEvent, once that was asked for.
    attributes: OnceLock<usize>,
}

/// What its value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// JSON, which is copied as it is.
    Json,
    /// Other bytes.
    Base64,
    /// None: a tombstone.
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
        Self { offset: stored.offset, record: stored.record, id, form, attributes: OnceLock::new() }
    }

    /// Its event id.
    pub(crate) fn id(&self) -> String {
        serde_json::from_str(&self.id).unwrap_or_default()
    }

    /// How many bytes of an uncompressed body it takes, what stands between it and the next one included, and without a
    /// payload in its place: what `maxBytes` counts.
    pub(crate) fn body_bytes(&self, format: Format) -> usize {
        let value = self.record.value.as_ref().map_or(0, Bytes::len);
        let value = match self.form {
            Form::Json => value,
            Form::Base64 => value.div_ceil(3) * 4 + format::quotes(format),
            Form::Tombstone => format::nothing(format),
        };
        let frame = match format {
            Format::Json | Format::Ndjson => r#"{"id":,"event":},"#.len() + self.id.len(),
            Format::CloudeventsBatch => {
                *self.attributes.get_or_init(|| cloudevents::attributes(self).len()) + cloudevents::frame(self.form)
            }
        };
        frame + value
    }

    fn value(&self) -> Value<'_> {
        let value = self.record.value.as_deref().unwrap_or_default();
        match self.form {
            Form::Json => Value::Json(value),
            Form::Base64 => Value::Base64(STANDARD.encode(value)),
            Form::Tombstone => Value::Nothing,
        }
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

#[cfg(test)]
pub(crate) mod tests;
