//! `/v1/subscriptions/{id}/status`: how it fares. Positions come from the log, counts from the board.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicName, TopicPartition, rfc3339};
use fpaas_state::{Counters, LastOutcome, SubscriptionEntry};
use serde::Serialize;

use crate::app::{App, Readable};
use crate::params::{Name, Params};
use crate::problem::Problem;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    state: &'static str,
    /// Why it stands still.
    reason: Option<String>,
    revision: u64,
    created_at: String,
    updated_at: String,
    source: Source,
    lanes: Vec<Lane>,
    lag: Lag,
    counters: Counts,
    last_outcome: Option<Outcome>,
}

#[derive(Debug, Serialize)]
struct Source {
    topic: TopicName,
    partitions: Vec<SourcePartition>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SourcePartition {
    partition: u32,
    #[serde(flatten)]
    place: Place,
    /// True while it reads the past beside the scan.
    catching_up: bool,
}

#[derive(Debug, Serialize)]
struct Lane {
    lane: u32,
    #[serde(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Place {
    position: Offset,
    end: Offset,
    /// Offsets between them, gaps included: 0 means that nothing is left, and it is never too low.
    lag: u64,
}

#[derive(Debug, Serialize)]
struct Lag {
    source: u64,
    deliveries: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    matched: u64,
    batches: u64,
    calls: u64,
    failures: u64,
    acknowledged: u64,
    results: u64,
    dead_letters: u64,
    bad_responses: u64,
    match_errors: u64,
    dropped: u64,
    lost: u64,
}

#[derive(Debug, Serialize)]
struct Outcome {
    time: String,
    status: Option<u16>,
    outcome: String,
    message: String,
    attempt: u32,
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Name(name): Name,
    params: Params,
) -> Result<Json<Status>, Problem> {
    params.finish()?;
    let entry = app.subscription(&name)?;
    let partitions = source(&app, &entry).await?;
    let lanes = lanes(&app, &entry).await?;
    let lag = Lag {
        source: partitions.iter().map(|of| of.place.lag).sum(),
        deliveries: lanes.iter().map(|of| of.place.lag).sum(),
    };
    let counters = app.context.board.of(&entry.tenant, &entry.id, entry.incarnation);
    let reason = counters.stopped();
    Ok(Json(Status {
        state: if reason.is_some() { "stopped" } else { "active" },
        reason,
        revision: entry.revision,
        created_at: rfc3339::format(entry.created),
        updated_at: rfc3339::format(entry.updated),
        source: Source { topic: entry.config.source.topic.clone(), partitions },
        lanes,
        lag,
        counters: counts(&counters),
        last_outcome: counters.last_outcome().map(outcome),
    }))
}

async fn source(app: &App, entry: &SubscriptionEntry) -> Result<Vec<SourcePartition>, Problem> {
    let readable = app.readable(entry.config.source.topic.as_str()).await?;
    let mut partitions = Vec::new();
    for (at, scan, end) in places(app, entry, &readable, Stage::Router).await? {
        let start = entry.starts.get(at.partition.0 as usize).copied().unwrap_or_default();
        let row = app.standings.of(&app.context, entry, &at).await?;
        // In the scan it is where the scan is, and not before it was let in.
        let (position, in_scan) = match row {
            Some(row) if row.in_scan => (scan.unwrap_or_default().max(row.position), true),
            Some(row) => (row.position, false),
            None => (start, scan.is_none_or(|scan| scan <= start)),
        };
        partitions.push(SourcePartition {
            partition: at.partition.0,
            place: Place::new(position, end),
            catching_up: !in_scan && position < end,
        });
    }
    Ok(partitions)
}

async fn lanes(app: &App, entry: &SubscriptionEntry) -> Result<Vec<Lane>, Problem> {
    let deliveries = app.context.topics.deliveries(&entry.tenant, &entry.id, entry.incarnation);
    let readable = app.describe(deliveries).await?;
    let places = places(app, entry, &readable, Stage::Dispatcher).await?.into_iter();
    let lane = |(at, position, end): (TopicPartition, Option<Offset>, Offset)| Lane {
        lane: at.partition.0,
        place: Place::new(position.unwrap_or_default(), end),
    };
    Ok(places.map(lane).collect())
}

/// Position of the stage's group and end, per partition.
async fn places(
    app: &App,
    entry: &SubscriptionEntry,
    readable: &Readable,
    stage: Stage,
) -> Result<Vec<(TopicPartition, Option<Offset>, Offset)>, Problem> {
    let (log, group) = (&app.context.log, app.context.topics.group(&entry.pool, stage));
    let at = |partition| TopicPartition::new(Arc::clone(&readable.topic), partition);
    let partitions: Vec<_> = (0..readable.partitions).map(at).collect();
    // Positions before ends: the other way round a position could seem to be beyond the end.
    let positions = log.positions(&group, &partitions).await?;
    let mut places = Vec::new();
    for (at, position) in partitions.into_iter().zip(positions) {
        let end = log.watermarks(&at).await?.end;
        places.push((at, position.map(|position| position.offset), end));
    }
    Ok(places)
}

impl Place {
    fn new(position: Offset, end: Offset) -> Self {
        Self { position, end, lag: end.0.saturating_sub(position.0) }
    }
}

fn counts(of: &Counters) -> Counts {
    Counts {
        matched: of.matched.get(),
        batches: of.batches.get(),
        calls: of.calls.get(),
        failures: of.failures.get(),
        acknowledged: of.acknowledged.get(),
        results: of.results.get(),
        dead_letters: of.dead_letters.get(),
        bad_responses: of.bad_responses.get(),
        match_errors: of.match_errors.get(),
        dropped: of.dropped.get(),
        lost: of.lost.get(),
    }
}

fn outcome(of: LastOutcome) -> Outcome {
    let LastOutcome { time, status, outcome, message, attempt } = of;
    Outcome { time: rfc3339::format(time), status, outcome, message, attempt }
}
