//! Results in an answer's body: which of the forms of design §7 it is, and its records.
//!
//! Hostile input: nothing is built that is much larger than the body, and the depth of a value costs no stack.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use fpaas_core::{TopicName, limits};
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json;

/// Where results may go.
pub(crate) struct Allowed<'a> {
    /// Where they go when they say nothing.
    pub(crate) output: &'a TopicName,
    /// Whether another topic is the tenant's and takes records.
    pub(crate) exists: &'a (dyn Fn(&TopicName) -> bool + Sync),
}

/// One record of a topic, from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputRecord {
    /// The tenant's name of it.
    pub(crate) topic: TopicName,
    /// Absent, the record has none.
    pub(crate) key: Option<String>,
    /// Compact JSON.
    pub(crate) value: Bytes,
    /// In the order of their names.
    pub(crate) headers: Vec<(String, String)>,
}

/// What a record of an answer looks like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<'a> {
    topic: Option<String>,
    key: Option<String>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
}

/// An object that says what to do. Any of its names makes it one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    records: Option<Elements<'a>>,
    #[serde(borrow, default)]
    results: Option<&'a RawValue>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    batch_item_failures: Option<&'a RawValue>,
}

/// Whether an object has one of those names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(default)]
    records: Seen,
    #[serde(default)]
    results: Seen,
    #[serde(default)]
    state: Seen,
    #[serde(default)]
    batch_item_failures: Seen,
}

#[derive(Default)]
struct Seen(bool);

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// The elements of an array, at most `limits::RESPONSE_RECORDS_MAX`.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor).map(Elements)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == limits::RESPONSE_RECORDS_MAX {
                return Err(A::Error::custom(format!("more than {} records", limits::RESPONSE_RECORDS_MAX)));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

/// The records of `body`, or why it is a `badResponse`. An empty body has none.
pub(crate) fn read(body: &[u8], allowed: &Allowed<'_>) -> Result<Vec<OutputRecord>, String> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let value: &RawValue = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let records = match value.get().as_bytes().first() {
        Some(b'[') => {
            parse::<Elements<'_>>(value)?.0.into_iter().map(|one| loose(one, allowed)).collect::<Result<_, _>>()?
        }
        Some(b'{') if is_envelope(value) => envelope(parse(value)?, allowed)?,
        _ => vec![loose(value, allowed)?],
    };
    check_sizes(&records)?;
    Ok(records)
}

fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(value.get()).map_err(|error| format!("the body cannot be read as results: {error}"))
}

/// An object with one of these names twice is an envelope, too: reading it says what is wrong.
fn is_envelope(value: &RawValue) -> bool {
    let Ok(probe) = serde_json::from_str::<Probe>(value.get()) else { return true };
    probe.records.0 || probe.results.0 || probe.state.0 || probe.batch_item_failures.0
}

fn envelope(envelope: Envelope<'_>, allowed: &Allowed<'_>) -> Result<Vec<OutputRecord>, String> {
    let unbuilt =
        [("results", envelope.results), ("state", envelope.state), ("batchItemFailures", envelope.batch_item_failures)];
    for (name, value) in unbuilt {
        // An empty list asks for nothing: AWS's way to say that all went well.
        if value.is_some_and(|value| json::compact(value) != "[]") {
            return Err(format!("{name} in an answer is not supported yet"));
        }
    }
    let elements = envelope.records.map_or_else(Vec::new, |elements| elements.0);
    elements.into_iter().enumerate().map(|(at, element)| strict(at, element, allowed)).collect()
}

/// An element of `records`: it must be of the form.
fn strict(at: usize, element: &RawValue, allowed: &Allowed<'_>) -> Result<OutputRecord, String> {
    if !element.get().starts_with('{') {
        return Err(format!("records/{at}: must be an object with a value"));
    }
    let form: Form<'_> = serde_json::from_str(element.get()).map_err(|error| format!("records/{at}: {error}"))?;
    record(form, allowed).map_err(|why| format!("records/{at}: {why}"))
}

/// Any value: a record where it is of the form, else what a record holds.
fn loose(value: &RawValue, allowed: &Allowed<'_>) -> Result<OutputRecord, String> {
    match serde_json::from_str::<Form<'_>>(value.get()) {
        Ok(form) if value.get().starts_with('{') => record(form, allowed),
        _ => Ok(OutputRecord {
            topic: allowed.output.clone(),
            key: None,
            value: json::compact(value),
            headers: Vec::new(),
        }),
    }
}

fn record(form: Form<'_>, allowed: &Allowed<'_>) -> Result<OutputRecord, String> {
    let topic = match form.topic {
        None => allowed.output.clone(),
        Some(name) => topic(&name, allowed)?,
    };
    let headers: Vec<_> = form.headers.into_iter().flatten().collect();
    check_headers(&headers)?;
    Ok(OutputRecord { topic, key: form.key, value: json::compact(form.value), headers })
}

fn topic(name: &str, allowed: &Allowed<'_>) -> Result<TopicName, String> {
    let missing = || format!("topic {name:?} is not a topic that results can go to");
    let topic = TopicName::parse(name).map_err(|_| missing())?;
    if topic == *allowed.output || (allowed.exists)(&topic) { Ok(topic) } else { Err(missing()) }
}

fn check_headers(headers: &[(String, String)]) -> Result<(), String> {
    if headers.len() > limits::WEBHOOK_HEADERS_MAX {
        return Err(format!("more than {} headers", limits::WEBHOOK_HEADERS_MAX));
    }
    for (name, value) in headers {
        let named = (1..=255).contains(&name.len()) && !name.starts_with("fpaas.");
        if !named || value.len() > limits::WEBHOOK_HEADER_BYTES_MAX {
            return Err("a header's name is empty, reserved (fpaas.) or too long, or its value is too long".to_owned());
        }
    }
    Ok(())
}

/// The body is bounded, so the records are; this bounds what their topics and headers add.
fn check_sizes(records: &[OutputRecord]) -> Result<(), String> {
    let size = |record: &OutputRecord| {
        let headers = record.headers.iter().map(|(name, value)| name.len() + value.len() + 5).sum::<usize>();
        record.value.len() + record.key.as_ref().map_or(0, String::len) + headers + OVERHEAD
    };
    if records.iter().any(|record| size(record) > limits::SOURCE_RECORD_BYTES_MAX) {
        return Err(format!("a record is larger than {} bytes", limits::SOURCE_RECORD_BYTES_MAX));
    }
    if records.iter().map(size).sum::<usize>() > limits::TRANSACTION_BYTES_MAX / 2 {
        return Err("the records are too large together".to_owned());
    }
    Ok(())
}

/// The header that names the batch, and room.
const OVERHEAD: usize = 128;
