//! `?dryRun=true`: what a subscription would get, tried on the most recent records of its source. Changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use fpaas_core::subscription::Subscription;
use fpaas_core::{Offset, Timestamp, TopicPartition, limits, rfc3339};
use fpaas_expression::{Facts, Filter};
use fpaas_log::{FetchBounds, Log, Stored};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use crate::app::Readable;
use crate::caller::Caller;
use crate::item;
use crate::problem::Problem;

/// How many records that pass are shown.
const SAMPLES: usize = 5;

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DryRun<'s> {
    /// As it would be, with its defaults.
    subscription: &'s Subscription,
    recent: Recent,
}

/// What was seen of its source.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RecentEvents")]
pub(crate) struct Recent {
    /// How many records were looked at.
    events: usize,
    matched: usize,
    /// A `match` that failed on them: no match.
    match_errors: usize,
    /// Null where there was nothing to look at.
    match_rate: Option<f64>,
    /// Of the records that were looked at.
    from: Option<String>,
    to: Option<String>,
    /// The newest that passed, as records of the topic are shown.
    samples: Vec<Box<RawValue>>,
    /// What the first `match` that failed said.
    #[serde(skip_serializing_if = "Option::is_none")]
    match_error: Option<String>,
}

/// Tries it.
pub(crate) async fn answer(
    caller: &Caller,
    subscription: &Subscription,
    source: &Readable,
) -> Result<Response, Problem> {
    let turn = caller.app.turn(&caller.tenant).await?;
    let recent = recent(&*caller.app.context.log, source).await?;
    let filter = Filter::compile(&subscription.filter);
    let tried = tokio::task::spawn_blocking(move || {
        let tried = tried(&filter, &recent);
        drop(turn);
        tried
    });
    let tried = tried.await.map_err(|error| Problem::internal(&error))?;
    let (recent, _) = tried.map_err(|error| Problem::internal(&error))?;
    Ok(Json(DryRun { subscription, recent }).into_response())
}

/// The last records of each partition, newest first.
pub(crate) async fn recent(log: &dyn Log, source: &Readable) -> Result<Vec<(u32, Stored)>, Problem> {
    let share = limits::DRY_RUN_EVENTS_MAX.div_ceil(source.partitions.max(1) as usize);
    let bytes = limits::PAGE_BYTES_MAX.div_ceil(source.partitions.max(1) as usize);
    let mut found = Vec::new();
    for partition in 0..source.partitions {
        let at = TopicPartition::new(Arc::clone(&source.topic), partition);
        let marks = log.watermarks(&at).await?;
        let mut next = Offset(marks.end.0.saturating_sub(share as u64)).max(marks.low);
        let (mut records, mut left) = (0, bytes);
        while next < marks.end && records < share && left > 0 {
            let bounds = FetchBounds { records: share - records, bytes: left, ..FetchBounds::now() }.of_guest();
            let fetched = log.fetch(&at, next, bounds).await?;
            if fetched.next <= next {
                break;
            }
            next = fetched.next;
            records += fetched.records.len();
            left = left.saturating_sub(fetched.records.iter().map(|stored| stored.record.bytes()).sum());
            found.extend(fetched.records.into_iter().map(|stored| (partition, stored)));
        }
    }
    found.sort_by_key(|(_, stored)| std::cmp::Reverse(stored.record.timestamp));
    Ok(found)
}

/// What the filter makes of them, as far as that can be said in the time there is, and which of them pass.
pub(crate) fn tried(filter: &Filter, records: &[(u32, Stored)]) -> serde_json::Result<(Recent, Vec<usize>)> {
    let (until, mut found) = (Instant::now() + limits::EVALUATION_TIME_MAX, Recent::default());
    let (mut first, mut last) = (None::<Timestamp>, None::<Timestamp>);
    let mut passing = Vec::new();
    for (number, (partition, stored)) in records.iter().enumerate() {
        if Instant::now() >= until {
            break;
        }
        let record = &stored.record;
        (first, last) = (Some(record.timestamp), last.or(Some(record.timestamp)));
        found.events += 1;
        match filter.passes(&Facts::of(record.key.as_deref(), &record.headers), record.value.as_deref()) {
            Ok(true) => {
                found.matched += 1;
                passing.push(number);
                if found.samples.len() < SAMPLES {
                    found.samples.push(to_raw_value(&item::plain(*partition, stored))?);
                }
            }
            Ok(false) => {}
            Err(error) => {
                found.match_errors += 1;
                found.match_error.get_or_insert_with(|| error.to_string());
            }
        }
    }
    found.match_rate = (found.events > 0).then(|| found.matched as f64 / found.events as f64);
    (found.from, found.to) = (first.map(rfc3339::format), last.map(rfc3339::format));
    Ok((found, passing))
}
