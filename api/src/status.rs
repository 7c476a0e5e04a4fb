//! `/v1/subscriptions/{id}/status`: how it fares. Positions come from the log, counts from the board.

use axum::Json;
use fpaas_core::{Message, TopicName, rfc3339};
use fpaas_state::{Counters, LastOutcome, SubscriptionEntry, View};
use serde::Serialize;

use crate::caller::Caller;
use crate::lag::{self, Place, Standing};
use crate::params::{Name, Params};
use crate::problem::Problem;

/// Why a paused one does not move, and what to do.
const PAUSED: &str = "it is paused; it goes on where it stands once it is resumed";

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

impl SourcePartition {
    fn new(standing: &Standing, moves: bool) -> Self {
        let Standing { at, place, catching_up } = standing;
        Self { partition: at.partition.0, place: *place, catching_up: *catching_up && moves }
    }
}

#[derive(Debug, Serialize)]
struct Lane {
    lane: u32,
    #[serde(flatten)]
    place: Place,
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
    message: Message,
    attempt: u32,
}

pub(crate) async fn get(caller: Caller, Name(name): Name, params: Params) -> Result<Json<Status>, Problem> {
    params.finish()?;
    let entry = caller.subscription(&name)?;
    let partitions: Vec<_> = lag::of_source(&caller.app.context, &caller.app.standings, &entry)
        .await?
        .iter()
        .map(|of| SourcePartition::new(of, !entry.config.is_paused()))
        .collect();
    let lanes = lag::of_lanes(&caller.app.context, &entry).await?;
    let lanes: Vec<_> = lanes.into_iter().map(|(lane, place)| Lane { lane, place }).collect();
    let lag = Lag {
        source: partitions.iter().map(|of| of.place.lag).sum(),
        deliveries: lanes.iter().map(|of| of.place.lag).sum(),
    };
    let counters = caller.app.context.board.of(&entry.tenant, &entry.id, entry.incarnation);
    let reason = caller.app.context.control.view().unmade(&entry).map(ToOwned::to_owned).or_else(|| counters.stopped());
    let (state, reason) = match reason {
        None if entry.config.is_paused() => ("paused", Some(PAUSED.to_owned())),
        Some(reason) if entry.config.is_paused() => ("paused", Some(format!("{PAUSED}; besides, {reason}"))),
        Some(reason) => ("stopped", Some(reason)),
        None => ("active", moving(&caller.app.context.control.view(), &entry)),
    };
    Ok(Json(Status {
        state,
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

/// Where it is on its way from and to, and what that means.
fn moving(view: &View, entry: &SubscriptionEntry) -> Option<String> {
    let from = &view.on_the_move(entry)?.from;
    let to = &entry.pool;
    Some(format!("it is moving from the pool {from} to {to}; each part goes on where it stands as soon as it is there"))
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
