//! Dead letters, delivered once more: `…/{id}:redrive` begins it, `…/{id}/redrive` says how far it has come, and ends
//! it.
//!
//! Where it begins and ends becomes offsets of each lane's dead letters here, so that every node means the same, and
//! none that dies again meanwhile is in it. How far it is stands in the rows of the lanes.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use fpaas_core::{Offset, Partition, TopicPartition, Violation, limits, rfc3339};
use fpaas_state::rows::RedriveRow;
use fpaas_state::{Change, Context, Expects, Outcome, REASONS, Redrive, Standings, SubscriptionEntry};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app;
use crate::caller::Caller;
use crate::cursor::From;
use crate::params::{Name, Params};
use crate::problem::Problem;
use crate::strict::Parsed;
use crate::{body, conditions, once, starts};

/// Which dead letters are to be delivered again.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "StartRedrive")]
pub(crate) struct Asked {
    /// Those that were given up on from then on: `earliest`, `latest`, or a time. Absent, `earliest`.
    from: Option<String>,
    /// Those that were given up on before. Absent, `latest`: all that there are.
    to: Option<String>,
    /// Those alone whose `fpaas.error.reason` is one of these. Absent, whatever it is.
    reasons: Option<BTreeSet<String>>,
    /// At most so many, in all lanes together. Absent, as many as can be.
    #[schemars(range(min = 1, max = limits::REPLAY_RATE_MAX))]
    events_per_second: Option<u32>,
}

/// How far it has come.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Redrive")]
pub(crate) struct Shown {
    state: State,
    started_at: String,
    /// Empty where all are asked for.
    reasons: BTreeSet<String>,
    events_per_second: Option<u32>,
    /// From 0 to 1, by offsets: gaps count.
    progress: f64,
    /// How many are in the deliveries again.
    redriven: u64,
    skipped: Skipped,
    /// Offsets that are left, gaps included.
    remaining: u64,
    lanes: Vec<Part>,
}

/// Dead letters that it has passed and not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RedriveSkipped")]
struct Skipped {
    /// Results that went nowhere (`output`): they are no events.
    results: u64,
    /// Their values were left out when they were written: what was delivered is not known any more.
    cut: u64,
    /// The log does not take them.
    refused: u64,
    /// Given up on for another reason than those that are asked for.
    other_reasons: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RedriveState")]
enum State {
    /// There is something left of it.
    Running,
    /// There is, and its subscription is paused or disabled.
    Paused,
    /// All of it is in the subscription's deliveries.
    Done,
    /// It was cancelled before that.
    Cancelled,
    /// Another one has followed it: how far it came is not known any more, and what is said of it is where it began. In
    /// the answer to a request that is sent again.
    Ended,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RedriveLane")]
struct Part {
    lane: u32,
    from: Offset,
    to: Offset,
    /// Where it goes on.
    position: Offset,
    redriven: u64,
}

pub(crate) async fn start(caller: &Caller, name: &str, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read_parts(&parts, body).await?;
    let expects = conditions::expects(&parts.headers)?;
    let entry = caller.subscription(name)?;
    let once = once::of(&parts.headers, parts.uri.path(), &bytes, Some(entry.incarnation))?;
    let asked = if bytes.is_empty() { Asked::default() } else { read(&bytes)? };
    if entry.config.webhook().is_none() {
        let why = "has no webhook: its dead letters are those of records too large to be delivered";
        return Err(Problem::conflict(vec![Violation::new("/processor", why)]));
    }
    // One that is not over is refused where the command is applied: it may have been begun by this very request.
    let instead_of = match &entry.redrive {
        Some(redrive) if shown(caller, &entry, redrive).await?.is_over() => Some(redrive.since),
        _ => None,
    };
    let (from, to) = range(caller, &entry, &asked).await?;
    let change = Change::StartRedrive {
        id: entry.id.clone(),
        of: entry.incarnation,
        instead_of,
        from,
        to,
        reasons: asked.reasons.unwrap_or_default(),
        events_per_second: asked.events_per_second,
    };
    let applied = caller.submit_once(expects, once, change).await?;
    match (&applied.outcome, &applied.subscription) {
        (Outcome::Replaced, Some(entry)) => {
            let redrive = applied.redrive.as_ref().or(entry.redrive.as_ref());
            Ok(once::marked(applied.repeated, answer(caller, entry, redrive).await?))
        }
        (Outcome::NotFound | Outcome::Replaced, _) => Err(Problem::not_found("subscription", name)),
        (outcome, _) => Err(app::unexpected(outcome)),
    }
}

fn read(bytes: &[u8]) -> Result<Asked, Problem> {
    let checked = Parsed::<Asked>::of(bytes).checked(|asked| {
        let mut found = Vec::new();
        let mut wrong = |pointer: &str, detail: String| found.push(Violation::new(pointer, detail));
        for (pointer, text) in [("/from", &asked.from), ("/to", &asked.to)] {
            if text.as_deref().is_some_and(|text| From::parse(text).is_none()) {
                wrong(pointer, "must be earliest, latest or a time such as 2026-11-23T20:00:00Z".to_owned());
            }
        }
        if asked.reasons.as_ref().is_some_and(BTreeSet::is_empty) {
            wrong("/reasons", "must name one at least: leave it out for all of them".to_owned());
        }
        let unknown = |reason: &&String| !REASONS.contains(&reason.as_str());
        if asked.reasons.iter().flatten().any(|reason| unknown(&reason)) {
            wrong("/reasons", format!("must be of {}: refused results (output) are no events", REASONS.join(", ")));
        }
        if asked.events_per_second.is_some_and(|rate| !(1..=limits::REPLAY_RATE_MAX).contains(&rate)) {
            wrong("/eventsPerSecond", format!("must be 1 to {}", limits::REPLAY_RATE_MAX));
        }
        found
    });
    checked.map_err(Problem::invalid)
}

/// Where it begins and ends in each lane's dead letters.
async fn range(
    caller: &Caller,
    entry: &SubscriptionEntry,
    asked: &Asked,
) -> Result<(Vec<Offset>, Vec<Offset>), Problem> {
    let context = &caller.app.context;
    let topic: Arc<str> = context.topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation).into();
    let place = |text: &Option<String>, default| text.as_deref().and_then(From::parse).unwrap_or(default);
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for lane in (0..entry.config.lanes).map(Partition) {
        let at = TopicPartition { topic: Arc::clone(&topic), partition: lane };
        let begin = starts::resolve(&*context.log, &at, place(&asked.from, From::Earliest)).await?;
        let end = starts::resolve(&*context.log, &at, place(&asked.to, From::Latest)).await?;
        from.push(begin.min(end));
        to.push(end);
    }
    Ok((from, to))
}

pub(crate) async fn get(caller: Caller, Name(name): Name, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    let entry = caller.subscription(&name)?;
    answer(&caller, &entry, entry.redrive.as_ref()).await
}

async fn answer(caller: &Caller, entry: &SubscriptionEntry, redrive: Option<&Redrive>) -> Result<Response, Problem> {
    let redrive = redrive.ok_or_else(|| Problem::not_found("redrive of", entry.id.as_str()))?;
    Ok(Json(shown(caller, entry, redrive).await?).into_response())
}

async fn shown(caller: &Caller, entry: &SubscriptionEntry, redrive: &Redrive) -> Result<Shown, Problem> {
    // What is known of it now: it may have been cancelled since it was begun.
    let current = entry.redrive.as_ref().filter(|current| current.since == redrive.since);
    let rows = match current {
        Some(current) => rows(&caller.app.context, &caller.app.standings, entry, current).await?,
        None => redrive.from.iter().map(|from| begun(*from)).collect(),
    };
    let mut lanes = Vec::new();
    for (((lane, from), to), row) in (0u32..).zip(&redrive.from).zip(&redrive.to).zip(&rows) {
        lanes.push(Part { lane, from: *from, to: *to, position: row.position, redriven: row.redriven });
    }
    let all: u64 = lanes.iter().map(|part| part.to.0.saturating_sub(part.from.0)).sum();
    let remaining: u64 = lanes.iter().map(|part| part.to.0.saturating_sub(part.position.0)).sum();
    let state = match current {
        None => State::Ended,
        Some(_) if remaining == 0 => State::Done,
        Some(current) if current.cancelled.is_some() => State::Cancelled,
        Some(_) if entry.config.is_paused() => State::Paused,
        Some(_) => State::Running,
    };
    let sum = |of: fn(&RedriveRow) -> u64| rows.iter().map(of).sum::<u64>();
    Ok(Shown {
        state,
        started_at: rfc3339::format(redrive.asked),
        reasons: redrive.reasons.clone(),
        events_per_second: redrive.events_per_second,
        progress: if all == 0 { 1.0 } else { all.saturating_sub(remaining) as f64 / all as f64 },
        redriven: sum(|row| row.redriven),
        skipped: Skipped {
            results: sum(|row| row.results),
            cut: sum(|row| row.cut),
            refused: sum(|row| row.refused),
            other_reasons: sum(|row| row.others),
        },
        remaining,
        lanes,
    })
}

impl Shown {
    fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Cancelled)
    }
}

/// Dead letters that are to be delivered again and are not yet: offsets, gaps included.
pub async fn remaining(
    context: &Context,
    standings: &Standings,
    entry: &SubscriptionEntry,
) -> fpaas_state::Result<u64> {
    let Some(redrive) = entry.redrive.as_ref().filter(|redrive| redrive.cancelled.is_none()) else { return Ok(0) };
    let rows = rows(context, standings, entry, redrive).await?;
    Ok(redrive.to.iter().zip(rows).map(|(to, row)| to.0.saturating_sub(row.position.0)).sum())
}

/// How far each lane is.
async fn rows(
    context: &Context,
    standings: &Standings,
    entry: &SubscriptionEntry,
    redrive: &Redrive,
) -> fpaas_state::Result<Vec<RedriveRow>> {
    let deliveries: Arc<str> = context.topics.deliveries(&entry.tenant, &entry.id, entry.incarnation).into();
    // What has not come into its pool yet is where it was in the one before.
    let before = context.control.view().on_the_move(entry).map(|moving| moving.from.clone());
    let before = before.map(|pool| SubscriptionEntry { pool, ..entry.clone() });
    let mut rows = Vec::new();
    for ((lane, from), to) in (0u32..).map(Partition).zip(&redrive.from).zip(&redrive.to) {
        let at = TopicPartition { topic: Arc::clone(&deliveries), partition: lane };
        let mut row = None;
        for entry in [Some(entry), before.as_ref()].into_iter().flatten().filter(|_| from < to) {
            if row.is_none() {
                row = standings.of_redrive(context, entry, redrive.since, &at).await?;
            }
        }
        rows.push(row.unwrap_or_else(|| begun(*from)));
    }
    Ok(rows)
}

/// Nothing is written of it yet.
fn begun(from: Offset) -> RedriveRow {
    RedriveRow { position: from, ..RedriveRow::default() }
}

pub(crate) async fn cancel(caller: Caller, Name(name): Name, params: Params) -> Result<StatusCode, Problem> {
    params.finish()?;
    let entry = caller.subscription(&name)?;
    let Some(redrive) = &entry.redrive else { return Err(Problem::not_found("redrive of", &name)) };
    let change = Change::CancelRedrive { id: entry.id.clone(), of: entry.incarnation, since: redrive.since };
    match caller.submit(Expects::Anything, change).await?.outcome {
        Outcome::Replaced => Ok(StatusCode::NO_CONTENT),
        Outcome::NotFound => Err(Problem::not_found("subscription", &name)),
        outcome => Err(app::unexpected(&outcome)),
    }
}
