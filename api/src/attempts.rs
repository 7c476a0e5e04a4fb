//! `/v1/subscriptions/{id}/attempts`: the delivery log, the newest call first.
//!
//! The calls of all of a tenant's subscriptions stand in one topic: it is read backwards, a stretch at a time, and what
//! is not asked for is passed over. So many records are looked at for one page, and no more. Invariant: bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use fpaas_core::{Message, Offset, Timestamp, TopicPartition, Violation, limits, rfc3339};
use fpaas_log::{Error as LogError, FetchBounds, Log, Stored};
use fpaas_state::{Attempt, Phases, SubscriptionEntry};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::Readable;
use crate::caller::Caller;
use crate::cursor::{Cursor, From};
use crate::params::{Name, Params};
use crate::problem::Problem;

/// How many offsets are read at a time.
const STRETCH: u64 = 500;
/// How long after its beginning a call is written down, at most: it is made twice where a connection was stale.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2 * 900 + 600);
const FOREIGN: &str = "is not a cursor of these attempts: begin anew";

/// Every outcome but `acknowledged`.
const FAILED: &str = "failed";

/// One call of the webhook.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Attempt")]
pub(crate) struct Shown {
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// The batch: its `webhook-id`, the same on every attempt.
    batch: String,
    /// The lane that called.
    lane: u32,
    /// How many events the batch holds.
    events: u32,
    /// From 1.
    attempt: u32,
    /// Scheme, host and port that were called.
    origin: String,
    /// The answer's, if there was one.
    status: Option<u16>,
    /// `acknowledged`, or why not.
    outcome: String,
    message: Message,
    timings: Phases,
    /// The first KiB of the answer's body, decoded, without secrets of the webhook's. Null where there was none.
    body: Option<String>,
}

/// A page of them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOfAttempts")]
pub(crate) struct Page {
    /// The newest first. There may be none, and a cursor: then there may be some further back.
    items: Vec<Shown>,
    /// Of the next page, to be asked for with the same parameters; null at the end.
    cursor: Option<String>,
}

/// What is asked for.
#[derive(Debug, Default)]
struct Wanted {
    outcome: Option<String>,
    status: Option<u16>,
    batch: Option<String>,
    lane: Option<u32>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    limit: usize,
    cursor: Option<Cursor>,
}

impl Wanted {
    fn parse(mut params: Params) -> Result<Self, Problem> {
        let limit = params.limit();
        let mut wanted = Self {
            outcome: params.text("outcome"),
            status: params.number("status", 100..=599),
            batch: params.text("batch"),
            lane: params.number("lane", 0..=limits::LANES_MAX - 1),
            from: time(&mut params, "from"),
            to: time(&mut params, "to"),
            limit,
            cursor: None,
        };
        if let Some(text) = params.text("cursor") {
            wanted.cursor = Cursor::decode(&text);
            if wanted.cursor.is_none() {
                params.wrong("cursor", FOREIGN);
            }
        }
        params.finish()?;
        Ok(wanted)
    }

    /// Is this one of them?
    fn is(&self, entry: &SubscriptionEntry, attempt: &Attempt) -> bool {
        let ours = attempt.subscription == entry.id && attempt.incarnation == entry.incarnation;
        let outcome = match self.outcome.as_deref() {
            None => true,
            Some(FAILED) => attempt.outcome != "acknowledged",
            Some(outcome) => attempt.outcome == outcome,
        };
        ours && outcome
            && self.status.is_none_or(|status| attempt.status == Some(status))
            && self.batch.as_ref().is_none_or(|batch| attempt.batch == *batch)
            && self.lane.is_none_or(|lane| attempt.lane == lane)
            && self.from.is_none_or(|from| attempt.time >= from)
            && self.to.is_none_or(|to| attempt.time < to)
    }

    /// Offsets outside of which there is none of them.
    async fn range(&self, log: &dyn Log, at: &TopicPartition, making: &str) -> Result<(Offset, Offset), Problem> {
        let marks = log.watermarks(at).await?;
        let low = match self.from {
            Some(from) => log.offset_at(at, from).await?.max(marks.low),
            None => marks.low,
        };
        let mut end = match self.to {
            Some(to) => log.offset_at(at, to.plus(WRITTEN_WITHIN)).await?.min(marks.end),
            None => marks.end,
        };
        if let Some(cursor) = &self.cursor {
            if cursor.making != making {
                return Err(Problem::invalid(vec![Violation::new("/cursor", FOREIGN)]));
            }
            end = end.min(cursor.offset);
        }
        Ok((low, end))
    }
}

fn time(params: &mut Params, name: &str) -> Option<Timestamp> {
    let text = params.text(name)?;
    let Some(From::At(time)) = From::parse(&text) else {
        params.wrong(name, "must be a time such as 2026-11-23T20:00:00Z");
        return None;
    };
    Some(time)
}

pub(crate) async fn get(caller: Caller, Name(name): Name, params: Params) -> Result<Response, Problem> {
    let (entry, wanted) = (caller.subscription(&name)?, Wanted::parse(params)?);
    let topic = caller.app.context.topics.attempts(&entry.tenant);
    let log = &*caller.app.context.log;
    if log.describe_topic(&topic).await?.is_none() {
        // It is made with the first call.
        return Ok(Json(Page { items: Vec::new(), cursor: None }).into_response());
    }
    let readable = caller.app.describe(topic, 0).await?;
    Ok(Json(page(log, &readable, &entry, &wanted).await?).into_response())
}

async fn page(log: &dyn Log, readable: &Readable, entry: &SubscriptionEntry, wanted: &Wanted) -> Result<Page, Problem> {
    let at = TopicPartition::new(Arc::clone(&readable.topic), 0);
    let (low, mut end) = wanted.range(log, &at, &readable.making).await?;
    let (mut items, mut seen) = (Vec::new(), 0);
    while end > low && items.len() < wanted.limit && seen < limits::ATTEMPTS_SEEN_MAX {
        let begin = low.max(Offset(end.0.saturating_sub(STRETCH)));
        let records = stretch(log, &at, begin, end).await?;
        seen += usize::try_from(end.0 - begin.0).unwrap_or(usize::MAX);
        end = begin;
        for stored in records.iter().rev() {
            let attempt = stored.record.value.as_deref().and_then(Attempt::decode);
            let Some(attempt) = attempt.filter(|attempt| wanted.is(entry, attempt)) else { continue };
            items.push(shown(attempt));
            if items.len() == wanted.limit {
                end = stored.offset;
                break;
            }
        }
    }
    let making = readable.making.clone();
    let more = (end > low).then(|| Cursor { making, partition: 0, offset: end, then: None }.encode());
    Ok(Page { items, cursor: more })
}

/// The records from `begin` on, up to `end`.
async fn stretch(log: &dyn Log, at: &TopicPartition, begin: Offset, end: Offset) -> Result<Vec<Stored>, LogError> {
    let (mut records, mut next) = (Vec::new(), begin);
    while next < end {
        let bounds = FetchBounds { bytes: limits::PAGE_BYTES_MAX, ..FetchBounds::now() }.of_guest();
        let fetched = log.fetch(at, next, bounds).await?;
        if fetched.records.is_empty() && fetched.next <= next {
            break;
        }
        next = fetched.next;
        records.extend(fetched.records.into_iter().filter(|stored| stored.offset < end));
    }
    Ok(records)
}

fn shown(attempt: Attempt) -> Shown {
    Shown {
        time: rfc3339::format(attempt.time),
        batch: attempt.batch,
        lane: attempt.lane,
        events: attempt.events,
        attempt: attempt.attempt,
        origin: attempt.origin,
        status: attempt.status,
        outcome: attempt.outcome,
        message: attempt.message,
        timings: attempt.timings,
        body: attempt.body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::FromRequestParts as _;
    use http::Request;

    #[tokio::test]
    async fn what_is_asked_for_is_checked() {
        for (query, status) in [
            ("", 200),
            ("outcome=failed&status=503&batch=batch_0a&lane=3&limit=7&from=2026-11-23T20:00:00Z", 200),
            ("status=99", 400),
            ("status=x", 400),
            ("lane=64", 400),
            ("from=earliest", 400),
            ("to=yesterday", 400),
            ("cursor=x", 400),
            ("limit=0", 400),
            ("reason=timeout", 400),
        ] {
            let (mut parts, ()) = Request::get(format!("/x?{query}")).body(()).unwrap().into_parts();
            let params = Params::from_request_parts(&mut parts, &()).await.unwrap();
            let found = Wanted::parse(params).map_err(|problem| problem.into_response().status().as_u16());
            assert_eq!(found.map_or_else(|status| status, |_| 200), status, "{query}");
        }
    }
}
