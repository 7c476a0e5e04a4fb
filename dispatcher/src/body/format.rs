//! How events stand in a body: a list in an object, one a line, or a list of CloudEvents.

use fpaas_core::Offset;
use fpaas_core::subscription::Format;

use super::{Delivery, Form, Head, cloudevents};

/// What stands for an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Its bytes, which are JSON.
    Json(&'a [u8]),
    /// Its bytes are not.
    Base64(String),
    /// It has none.
    Nothing,
    /// What the expression made of it, as JSON.
    Payload(String),
}

/// The media type of a body.
pub(crate) const fn media_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::Ndjson => "application/x-ndjson",
        Format::CloudeventsBatch => "application/cloudevents-batch+json",
    }
}

/// What base64 has around it that JSON has not.
pub(super) const fn quotes(format: Format) -> usize {
    match format {
        Format::Json | Format::Ndjson => r#"Base64"""#.len(),
        Format::CloudeventsBatch => r#""""#.len(),
    }
}

/// What stands for a tombstone.
pub(super) const fn nothing(format: Format) -> usize {
    match format {
        Format::Json | Format::Ndjson => "null".len(),
        Format::CloudeventsBatch => 0,
    }
}

/// The whole body. `events` are those of the batch, `sent` those of them that are in it.
pub(super) fn write(head: &Head, format: Format, events: &[Delivery], sent: &[(&Delivery, Value<'_>)]) -> Vec<u8> {
    let length: usize = sent.iter().map(|(event, _)| event.body_bytes(format)).sum();
    let (before, between, after) = match format {
        Format::Json => (envelope(head, events), ",", "]}"),
        Format::Ndjson => (String::new(), "\n", if sent.is_empty() { "" } else { "\n" }),
        Format::CloudeventsBatch => ("[".to_owned(), ",", "]"),
    };
    let mut body = Vec::with_capacity(before.len() + length + after.len());
    put(&mut body, &[before.as_bytes()]);
    for (at, (event, value)) in sent.iter().enumerate() {
        if at > 0 {
            put(&mut body, &[between.as_bytes()]);
        }
        match format {
            Format::Json => entry(&mut body, event, value),
            Format::Ndjson => line(&mut body, event, value),
            Format::CloudeventsBatch => cloudevents::write(&mut body, event, value),
        }
    }
    put(&mut body, &[after.as_bytes()]);
    body
}

/// `{"subscription","batch":{"id","lane","firstOffset","lastOffset"},"events":[…`, compact.
fn envelope(head: &Head, events: &[Delivery]) -> String {
    let offset = |event: Option<&Delivery>| event.map_or(Offset::ZERO, |event| event.offset);
    let (first, last) = (offset(events.first()), offset(events.last()));
    let (Head { subscription, id, .. }, lane) = (head, head.lane.partition);
    // Names and ids are of a–z, 0–9, - and _: nothing in them needs escaping.
    format!(
        r#"{{"subscription":"{subscription}","batch":{{"id":"{id}","lane":{lane},"firstOffset":{first},"lastOffset":{last}}},"events":["#
    )
}

/// `{"id":…,"event":…}`, or `"eventBase64"`.
fn entry(body: &mut Vec<u8>, event: &Delivery, value: &Value<'_>) {
    put(body, &[br#"{"id":"#, event.id.as_bytes()]);
    match value {
        Value::Json(json) => put(body, &[br#","event":"#, json]),
        Value::Payload(json) => put(body, &[br#","event":"#, json.as_bytes()]),
        Value::Base64(text) => put(body, &[br#","eventBase64":""#, text.as_bytes(), b"\""]),
        Value::Nothing => put(body, &[br#","event":null"#]),
    }
    body.push(b'}');
}

/// The same in one line: a line break in JSON is only ever white space between its tokens.
fn line(body: &mut Vec<u8>, event: &Delivery, value: &Value<'_>) {
    let start = body.len();
    entry(body, event, value);
    let breaks = body.iter_mut().skip(start).filter(|byte| matches!(**byte, b'\n' | b'\r'));
    breaks.for_each(|byte| *byte = b' ');
}

pub(super) fn put(body: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| body.extend_from_slice(part));
}

impl Form {
    /// True where it has no value.
    pub(super) const fn is_nothing(self) -> bool {
        matches!(self, Self::Tombstone)
    }
}
