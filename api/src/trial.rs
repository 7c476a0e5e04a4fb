//! `…/{id}:test`: a subscription's filter on recent or given events, and, where that is asked for, its webhook with a
//! batch of those that pass, marked as a test. Changes nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use fpaas_core::event::{self, header};
use fpaas_core::{
    Headers, HeadersBuilder, Message, Offset, Scope, Timestamp, TopicName, TopicPartition, Violation, hash, limits,
};
use fpaas_expression::Filter;
use fpaas_log::{Record, Stored};
use fpaas_state::{Phases, SubscriptionEntry, Trial, Tried};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::caller::Caller;
use crate::dry_run::{self, Recent};
use crate::problem::Problem;
use crate::strict::Parsed;
use crate::{app, body};

/// What is to be tried.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Test")]
pub(crate) struct Asked {
    /// Events as they stand in the source; absent, its most recent ones are taken.
    #[schemars(length(max = limits::EVALUATE_EVENTS_MAX))]
    events: Option<Vec<Value>>,
    /// True to call the webhook with a batch of those that pass: signed like any other, with an id that begins with
    /// `test_` and the header `fpaas-test: true`. What it answers is shown and kept nowhere.
    call: bool,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tested")]
pub(crate) struct Answer {
    /// What the filter made of the events.
    filter: Recent,
    /// What the webhook answered; null where it was not asked for, and where nothing has passed.
    call: Option<Called>,
}

/// A call of a webhook.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Called {
    webhook_id: String,
    /// How many were sent.
    events: usize,
    took_ms: u64,
    timings: Phases,
    /// The answer's, if there was one.
    status: Option<u16>,
    /// `acknowledged`, or why not.
    outcome: &'static str,
    message: Message,
    /// The first KiB of the answer's body, decoded; what is no text is replaced. Null where there was none.
    body: Option<String>,
    /// How many records would have been written, and the first of them.
    results: usize,
    records: Vec<ResultRecord>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ResultRecord {
    topic: TopicName,
    key: Option<String>,
    value: Box<RawValue>,
}

/// How many records of an answer are shown, and how large they may be together.
const SHOWN: usize = 20;
const SHOWN_BYTES: usize = 256 * 1024;

pub(crate) async fn run(caller: &Caller, name: &str, request: Request) -> Result<Response, Problem> {
    let entry = caller.subscription(name)?;
    let (parts, body) = request.into_parts();
    let (bytes, _counted) = body::read_kept(&parts, body).await?;
    // Nobody waits with what has to be read, or parsed.
    let turn = caller.app.turn(&caller.tenant).await?;
    let asked = if bytes.is_empty() { Asked::default() } else { read(&bytes)? };
    // Whoever may only read cannot have a webhook called.
    if asked.call && !caller.permits(Scope::Write) {
        return Err(Problem::insufficient(Scope::Write));
    }
    let source = caller.readable(entry.config.source.topic.as_str()).await?;
    let events = match asked.events {
        Some(given) => {
            let now = caller.app.context.clock.now();
            given.iter().enumerate().map(|(at, event)| (0, stored(at, event, now))).collect()
        }
        None => dry_run::recent(&*caller.app.context.log, &source).await?,
    };
    let (filter, topic) = (Filter::compile(&entry.config.filter), Arc::clone(&source.topic));
    let view = caller.app.context.control.view();
    let made = view.topics.get(&(entry.tenant.clone(), entry.config.source.topic.clone())).map(|of| of.incarnation);
    let tried = tokio::task::spawn_blocking(move || {
        let tried = dry_run::tried(&filter, &events);
        drop(turn);
        let (found, passing) = tried?;
        Ok::<_, serde_json::Error>((found, delivered((&topic, made.unwrap_or(0)), &events, &passing)))
    });
    let tried = tried.await.map_err(|error| Problem::internal(&error))?;
    let (filter, passing) = tried.map_err(|error| Problem::internal(&error))?;
    let call = if asked.call && !passing.is_empty() { Some(call(caller, &entry, passing).await?) } else { None };
    Ok(Json(Answer { filter, call }).into_response())
}

fn read(bytes: &[u8]) -> Result<Asked, Problem> {
    let checked = Parsed::<Asked>::of(bytes).checked(|asked| {
        let most = limits::EVALUATE_EVENTS_MAX;
        let many = asked.events.as_ref().is_some_and(|events| events.len() > most);
        many.then(|| Violation::new("/events", format!("must be at most {most}"))).into_iter().collect()
    });
    checked.map_err(Problem::invalid)
}

/// An event that was given, as it would stand in the firehose: what its headers would say is read from it.
fn stored(at: usize, event: &Value, timestamp: Timestamp) -> Stored {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let mut headers = HeadersBuilder::new();
    let named =
        [(header::KIND, "/kind"), (header::COLLECTION, "/commit/collection"), (header::OPERATION, "/commit/operation")];
    for (name, pointer) in named {
        if let Some(value) = text(pointer) {
            headers = headers.with(name, value);
        }
    }
    let of_commit = [text("/did"), text("/commit/collection"), text("/commit/rkey"), text("/commit/rev")];
    if let [Some(did), Some(collection), Some(rkey), Some(rev)] = of_commit {
        headers = headers.with(header::ID, event::commit_id(did, collection, rkey, rev));
    }
    let key = text("/did").map(|did| did.to_owned().into());
    let record = Record { key, value: Some(event.to_string().into()), headers: headers.build(), timestamp };
    Stored { offset: Offset(at as u64), record }
}

/// Those that pass as they would be delivered, in the order in which they stand.
fn delivered(of: (&Arc<str>, u64), events: &[(u32, Stored)], passing: &[usize]) -> Vec<Stored> {
    let mut passing: Vec<_> = passing.iter().filter_map(|number| events.get(*number)).collect();
    passing.sort_by_key(|(partition, stored)| (stored.record.timestamp, *partition, stored.offset));
    let delivered = passing.into_iter().map(|(partition, stored)| {
        let headers = sourced(of, *partition, stored);
        Stored { offset: stored.offset, record: Record { headers, ..stored.record.clone() } }
    });
    delivered.collect()
}

fn sourced((topic, incarnation): (&Arc<str>, u64), partition: u32, stored: &Stored) -> Headers {
    let mut headers = HeadersBuilder::from_headers(&stored.record.headers);
    if stored.record.headers.get(header::ID).is_none() {
        headers.push(header::ID, event::record_id(topic, incarnation, partition, stored.offset.0).as_bytes());
    }
    headers.push(header::SOURCE_TOPIC, topic.as_bytes());
    headers.push(header::SOURCE_PARTITION, partition.to_string().as_bytes());
    headers.push(header::SOURCE_OFFSET, stored.offset.to_string().as_bytes());
    headers.build()
}

async fn call(caller: &Caller, entry: &Arc<SubscriptionEntry>, events: Vec<Stored>) -> Result<Called, Problem> {
    let mut turn = caller.app.trials.of(&caller.tenant);
    turn.grow(1).map_err(|full| Problem::full(&full, "webhooks that are tried"))?;
    let topics = &caller.app.context.topics;
    let at = TopicPartition::new(topics.deliveries(&entry.tenant, &entry.id, entry.incarnation), 0);
    let random = hash::to_hex(&app::random::<16>()?, 32);
    let trial = Trial { entry: Arc::clone(entry), random, at, events };
    let tried = caller.app.config.webhooks.call(trial).await;
    tried.map(called).ok_or_else(|| Problem::internal(&"a subscription without a webhook"))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn called(tried: Tried) -> Called {
    let (results, mut left) = (tried.records.len(), SHOWN_BYTES);
    let shown = tried.records.into_iter().take(SHOWN).map_while(|record| {
        left = left.checked_sub(record.value.len())?;
        let value = serde_json::from_slice(&record.value).ok()?;
        Some(ResultRecord { topic: record.topic, key: record.key, value })
    });
    Called {
        webhook_id: tried.id,
        events: tried.events,
        took_ms: milliseconds(tried.timings.total),
        timings: tried.timings.into(),
        status: tried.status,
        outcome: tried.outcome,
        message: tried.message,
        body: (!tried.piece.is_empty()).then(|| String::from_utf8_lossy(&tried.piece).into_owned()),
        results,
        records: shown.collect(),
    }
}
