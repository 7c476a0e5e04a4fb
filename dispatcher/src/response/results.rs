//! Results in an answer's body: which of the forms of design §7 it is, and its records.
//!
//! Hostile input: nothing is built that is much larger than the body, and the depth of a value costs no stack.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::{TopicName, limits};
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json;

/// Where results may go.
pub(crate) struct Allowed<'a> {
    /// Where they go when they say nothing; without it only an object that says what to do is read, and any other body
    /// means nothing.
    pub(crate) output: Option<&'a TopicName>,
    /// Whether another topic is the tenant's and takes records.
    pub(crate) exists: &'a (dyn Fn(&TopicName) -> bool + Sync),
}

/// What a body says: nothing of it where it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    /// To be written.
    pub(crate) records: Vec<OutputRecord>,
    /// Not to be written, and why.
    pub(crate) refused: Vec<RefusedRecord>,
    /// What becomes of single events, by their ids; all others are acknowledged.
    pub(crate) actions: Vec<(String, Action)>,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is done.
    Ack,
    /// The endpoint is called with it again, after so long where it says so.
    Retry(Option<Duration>),
    /// It is given up on.
    Reject,
}

/// A record that goes nowhere: it is kept as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedRecord {
    /// As it was answered.
    pub(crate) key: Option<String>,
    /// Compact JSON.
    pub(crate) value: Bytes,
    pub(crate) headers: Vec<(String, String)>,
    /// A sentence.
    pub(crate) why: String,
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
    results: Option<Elements<'a>>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    batch_item_failures: Option<Elements<'a>>,
}

/// An element of `results`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ActionForm {
    id: String,
    action: ActionName,
    #[serde(default)]
    delay_ms: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionName {
    Ack,
    Retry,
    Reject,
}

/// An element of `batchItemFailures`, as AWS Lambda answers it
/// (<https://docs.aws.amazon.com/lambda/latest/dg/example_serverless_SQS_Lambda_batch_item_failures_section.html>).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
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

/// What `body` says, or why it is a `badResponse`. An empty body says nothing.
pub(crate) fn read(body: &[u8], allowed: &Allowed<'_>) -> Result<Results, String> {
    if body.trim_ascii().is_empty() {
        return Ok(Results::default());
    }
    let value: &RawValue = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(_) if allowed.output.is_none() => return Ok(Results::default()),
        Err(error) => return Err(format!("the body is not JSON: {error}")),
    };
    let mut results = Results::default();
    match value.get().as_bytes().first() {
        Some(b'{') if is_envelope(value) => envelope(parse(value)?, allowed, &mut results)?,
        _ if allowed.output.is_none() => {}
        Some(b'[') => {
            for element in parse::<Elements<'_>>(value)?.0 {
                results.take(loose(element)?, allowed)?;
            }
        }
        _ => results.take(loose(value)?, allowed)?,
    }
    check_sizes(&results)?;
    Ok(results)
}

fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(value.get()).map_err(|error| format!("the body cannot be read as results: {error}"))
}

/// An object with one of these names twice is an envelope, too: reading it says what is wrong.
fn is_envelope(value: &RawValue) -> bool {
    let Ok(probe) = serde_json::from_str::<Probe>(value.get()) else { return true };
    probe.records.0 || probe.results.0 || probe.state.0 || probe.batch_item_failures.0
}

fn envelope(envelope: Envelope<'_>, allowed: &Allowed<'_>, results: &mut Results) -> Result<(), String> {
    // An empty list asks for nothing.
    if envelope.state.is_some_and(|value| json::compact(value) != "[]") {
        return Err("state in an answer is refused: there are no buckets yet".to_owned());
    }
    for (at, element) in elements(envelope.results) {
        let form: ActionForm = object("results", at, element)?;
        let action = match form.action {
            ActionName::Ack => Action::Ack,
            ActionName::Reject => Action::Reject,
            ActionName::Retry => Action::Retry(form.delay_ms.map(Duration::from_millis)),
        };
        results.actions.push((form.id, action));
    }
    for (at, element) in elements(envelope.batch_item_failures) {
        let ItemFailure { item_identifier } = object("batchItemFailures", at, element)?;
        results.actions.push((item_identifier, Action::Retry(None)));
    }
    for (at, element) in elements(envelope.records) {
        let form = object("records", at, element)?;
        results.take(form, allowed).map_err(|why| format!("records/{at}: {why}"))?;
    }
    Ok(())
}

fn elements(list: Option<Elements<'_>>) -> impl Iterator<Item = (usize, &RawValue)> {
    list.map_or_else(Vec::new, |elements| elements.0).into_iter().enumerate()
}

/// An element of a list of an envelope: it must be of the form.
fn object<'a, T: Deserialize<'a>>(list: &str, at: usize, element: &'a RawValue) -> Result<T, String> {
    if !element.get().starts_with('{') {
        return Err(format!("{list}/{at}: must be an object"));
    }
    serde_json::from_str(element.get()).map_err(|error| format!("{list}/{at}: {error}"))
}

/// Any value: a record where it is of the form, else what a record holds.
fn loose(value: &RawValue) -> Result<Form<'_>, String> {
    match serde_json::from_str::<Form<'_>>(value.get()) {
        Ok(form) if value.get().starts_with('{') => Ok(form),
        _ => Ok(Form { topic: None, key: None, value, headers: None }),
    }
}

impl Results {
    /// A record that is of the form: written, or refused by itself.
    fn take(&mut self, form: Form<'_>, allowed: &Allowed<'_>) -> Result<(), String> {
        let headers: Vec<_> = form.headers.into_iter().flatten().collect();
        check_headers(&headers)?;
        let (key, value) = (form.key, json::compact(form.value));
        let topic = match (form.topic, allowed.output) {
            (Some(name), _) => topic(&name, allowed),
            (None, Some(output)) => Ok(output.clone()),
            (None, None) => Err("the subscription has no output, and the record names no topic".to_owned()),
        };
        match topic {
            Ok(topic) => {
                let record = OutputRecord { topic, key, value, headers };
                match too_large(&record) {
                    None => self.records.push(record),
                    Some(why) => {
                        let OutputRecord { key, value, headers, .. } = record;
                        self.refused.push(RefusedRecord { key, value, headers, why });
                    }
                }
            }
            Err(why) => self.refused.push(RefusedRecord { key, value, headers, why }),
        }
        Ok(())
    }
}

fn topic(name: &str, allowed: &Allowed<'_>) -> Result<TopicName, String> {
    let missing = || format!("topic {name:?} is not a topic that results can go to");
    let topic = TopicName::parse(name).map_err(|_| missing())?;
    if allowed.output == Some(&topic) || (allowed.exists)(&topic) { Ok(topic) } else { Err(missing()) }
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

fn too_large(record: &OutputRecord) -> Option<String> {
    let most = limits::SOURCE_RECORD_BYTES_MAX;
    (size(record) > most).then(|| format!("the record is larger than {most} bytes"))
}

fn size(record: &OutputRecord) -> usize {
    size_of(&record.value, record.key.as_deref(), &record.headers)
}

fn size_of(value: &Bytes, key: Option<&str>, headers: &[(String, String)]) -> usize {
    let headers = headers.iter().map(|(name, value)| name.len() + value.len() + 5).sum::<usize>();
    value.len() + key.map_or(0, str::len) + headers + OVERHEAD
}

/// The body is bounded, so the records are; this bounds what their topics and headers add.
fn check_sizes(results: &Results) -> Result<(), String> {
    let kept = |record: &RefusedRecord| size_of(&record.value, record.key.as_deref(), &record.headers);
    let all = results.records.iter().map(size).chain(results.refused.iter().map(kept));
    if all.sum::<usize>() > limits::TRANSACTION_BYTES_MAX / 2 {
        return Err("the records are too large together".to_owned());
    }
    Ok(())
}

/// The header that names the batch, and room.
const OVERHEAD: usize = 128;
