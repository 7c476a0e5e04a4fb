//! `/v1/subscriptions/{id}/status`: how it fares. Positions come from the log, counts from the board.

mod sentence;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use fpaas_core::{Message, Offset, Timestamp, TopicName, TopicPartition, rfc3339, subscription};
use fpaas_log::FetchBounds;
use fpaas_state::{Context, Disabled, Fares, LastOutcome, SubscriptionEntry, View};
use schemars::JsonSchema;
use serde::Serialize;

use crate::caller::Caller;
use crate::lag::{self, Place, Standing};
use crate::params::{Name, Params};
use crate::problem::Problem;
use crate::redrive;
use sentence::Facts;

/// Why a paused one does not move, and what to do.
const PAUSED: &str = "it is paused; it goes on where it stands once it is resumed";

/// The same of one whose endpoint is called no more.
const DISABLED: &str = "its endpoint is not called; mend it, then resume: it goes on where it stands";

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    state: State,
    /// Why it stands still, and what to do; null where it moves, or has nothing to do.
    reason: Option<String>,
    /// The same in any case: what it does, or why it does nothing, and what to do.
    summary: String,
    revision: u64,
    created_at: String,
    updated_at: String,
    source: Source,
    lanes: Vec<Lane>,
    lag: Lag,
    /// When the oldest event came that is delivered and not acknowledged; null where there is none.
    oldest_unacknowledged_at: Option<String>,
    rates: Rates,
    counters: Counts,
    last_outcome: Option<Outcome>,
    /// What its endpoint knows the caller by; null where it shows none.
    client_certificate: Option<Certificate>,
}

/// Of a client certificate.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ClientCertificateStatus")]
struct Certificate {
    /// SHA-256 of the certificate itself, in hex.
    fingerprint: String,
    /// When it ends.
    not_after: String,
}

/// What it is: `stopped` goes on by itself no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "SubscriptionState")]
pub(crate) enum State {
    Active,
    Paused,
    Disabled,
    Stopped,
}

/// Per second, over the last minute, of all nodes together.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Rates {
    matched: f64,
    acknowledged: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SourceStatus")]
struct Source {
    topic: TopicName,
    partitions: Vec<SourcePartition>,
}

#[derive(Debug, Serialize, JsonSchema)]
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

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LaneStatus")]
struct Lane {
    lane: u32,
    #[serde(flatten)]
    place: Place,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Lag {
    source: u64,
    deliveries: u64,
    /// Dead letters that are to be delivered again and are not yet.
    redrive: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
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
    /// Events that wait for a retry now, or behind one of their key that does.
    parked: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LastOutcome")]
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
    let stands = lag::of(&caller.app.context, &caller.app.standings, &entry).await;
    let partitions: Vec<_> =
        stands.source?.iter().map(|of| SourcePartition::new(of, !entry.config.is_paused())).collect();
    let lanes: Vec<_> = stands.lanes?.into_iter().map(|(lane, place)| Lane { lane, place }).collect();
    let key = (entry.tenant.clone(), entry.id.clone(), entry.incarnation);
    let Context { board, node, clock, .. } = &caller.app.context;
    let fares = board.at_all(&key, node, clock.now());
    let lag = Lag {
        source: partitions.iter().map(|of| of.place.lag).sum(),
        // What is parked is passed, and not delivered.
        deliveries: lanes.iter().map(|of| of.place.lag).sum::<u64>() + fares.parked,
        redrive: redrive::remaining(&caller.app.context, &caller.app.standings, &entry).await?,
    };
    let unmade = caller.app.context.control.view().unmade(&entry).map(ToOwned::to_owned);
    let reason = unmade.or_else(|| fares.stopped.clone());
    let (state, reason) = match reason {
        _ if entry.config.state == subscription::State::Disabled => (State::Disabled, Some(why_disabled(&entry))),
        None if entry.config.is_paused() => (State::Paused, Some(PAUSED.to_owned())),
        Some(reason) if entry.config.is_paused() => (State::Paused, Some(format!("{PAUSED}; besides, {reason}"))),
        Some(reason) => (State::Stopped, Some(reason)),
        None => (State::Active, moving(&caller.app.context.control.view(), &entry)),
    };
    let oldest = oldest(&caller, &entry, &lanes).await?;
    let facts = Facts {
        source: lag.source,
        deliveries: lag.deliveries,
        catching_up: partitions.iter().any(|of| of.catching_up),
        last: fares.last.as_ref(),
        retry: entry.config.retry,
        never: lanes.iter().all(|of| of.place.end == Offset::ZERO),
        redrive: lag.redrive,
        replayed: entry.replay.is_some(),
        rate: fares.matched_rate,
        waiting: oldest.map(|oldest| caller.app.context.clock.now().since(oldest)),
        collects: Duration::from_millis(entry.config.collector.max_wait_ms),
    };
    let summary = reason.clone().unwrap_or_else(|| facts.sentence());
    Ok(Json(Status {
        state,
        reason,
        summary,
        oldest_unacknowledged_at: oldest.map(rfc3339::format),
        rates: Rates { matched: fares.matched_rate, acknowledged: fares.acknowledged_rate },
        revision: entry.revision,
        created_at: rfc3339::format(entry.created),
        updated_at: rfc3339::format(entry.updated),
        source: Source { topic: entry.config.source.topic.clone(), partitions },
        lanes,
        lag,
        counters: counts(&fares),
        last_outcome: fares.last.map(outcome),
        client_certificate: certificate(&entry),
    }))
}

fn certificate(entry: &SubscriptionEntry) -> Option<Certificate> {
    let shown = entry.identity()?.certificate;
    Some(Certificate { fingerprint: shown.fingerprint()?, not_after: rfc3339::format(shown.not_after()?) })
}

fn why_disabled(entry: &SubscriptionEntry) -> String {
    let Some(Disabled { since, why }) = &entry.disabled else { return DISABLED.to_owned() };
    format!("disabled since {}: {why}; {DISABLED}", rfc3339::format(*since))
}

/// When the oldest event came that waits in a lane. Each lane's first record is the oldest there is of it.
async fn oldest(caller: &Caller, entry: &SubscriptionEntry, lanes: &[Lane]) -> Result<Option<Timestamp>, Problem> {
    let topic: Arc<str> = caller.app.context.topics.deliveries(&entry.tenant, &entry.id, entry.incarnation).into();
    let mut oldest = None;
    for Lane { lane, place } in lanes.iter().filter(|of| of.place.lag > 0) {
        let at = TopicPartition::new(Arc::clone(&topic), *lane);
        let bounds = FetchBounds { records: 1, ..FetchBounds::now() }.of_guest();
        let fetched = caller.app.context.log.fetch(&at, place.position, bounds).await?;
        let first = fetched.records.first().map(|stored| stored.record.timestamp);
        oldest = oldest.into_iter().chain(first).min();
    }
    Ok(oldest)
}

/// Where it is on its way from and to, and what that means.
fn moving(view: &View, entry: &SubscriptionEntry) -> Option<String> {
    let from = &view.on_the_move(entry)?.from;
    let to = &entry.pool;
    Some(format!("it is moving from the pool {from} to {to}; each part goes on where it stands as soon as it is there"))
}

fn counts(of: &Fares) -> Counts {
    Counts {
        matched: of.matched,
        batches: of.batches,
        calls: of.calls,
        failures: of.failures,
        acknowledged: of.acknowledged,
        results: of.results,
        dead_letters: of.dead_letters,
        bad_responses: of.bad_responses,
        match_errors: of.match_errors,
        dropped: of.dropped,
        lost: of.lost,
        parked: of.parked,
    }
}

fn outcome(of: LastOutcome) -> Outcome {
    let LastOutcome { time, status, outcome, message, attempt } = of;
    Outcome { time: rfc3339::format(time), status, outcome, message, attempt }
}
