//! A part of a source, delivered once more: `…/{id}:replay` begins it, `…/{id}/replay` says how far it has come, and
//! ends it.
//!
//! It covers what the subscription has passed, and nothing behind that, which will come anyhow. Where it begins and
//! ends becomes offsets here, so that every node means the same.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use fpaas_core::{Offset, TopicPartition, Violation, limits, rfc3339};
use fpaas_state::{Change, Expects, Outcome, Replay, SubscriptionEntry};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::{self, Readable};
use crate::caller::Caller;
use crate::cursor::From;
use crate::params::{Name, Params};
use crate::problem::Problem;
use crate::strict::Parsed;
use crate::{body, conditions, lag, once, starts};

/// What is to be delivered again.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "StartReplay")]
pub(crate) struct Asked {
    /// Where it begins: `earliest`, `latest`, or a time. Absent, `earliest`.
    from: Option<String>,
    /// Where it ends: what came from then on is not in it. Absent, `latest`: all that the subscription has passed.
    to: Option<String>,
    /// That partition of the source alone.
    partition: Option<u32>,
    /// In that partition: where it begins, in place of `from`.
    from_offset: Option<Offset>,
    /// In that partition: where it ends, in place of `to`.
    to_offset: Option<Offset>,
    /// At most so many, in each partition of the source. Absent, as many as can be.
    #[schemars(range(min = 1, max = limits::REPLAY_RATE_MAX))]
    events_per_second: Option<u32>,
}

/// How far it has come.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Replay")]
pub(crate) struct Shown {
    state: State,
    started_at: String,
    events_per_second: Option<u32>,
    /// From 0 to 1, by offsets: gaps count.
    progress: f64,
    partitions: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ReplayState")]
enum State {
    /// There is something left of it.
    Running,
    /// There is, and its subscription is paused.
    Paused,
    /// All of it is in the subscription's deliveries.
    Done,
    /// It was cancelled, or another one has followed it: how far it came is not known any more, and what is said of it
    /// is where it began. In the answer to a request that is sent again.
    Ended,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ReplayPartition")]
struct Part {
    partition: u32,
    from: Offset,
    to: Offset,
    /// Where it goes on.
    position: Offset,
}

pub(crate) async fn start(caller: &Caller, name: &str, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read_parts(&parts, body).await?;
    let expects = conditions::expects(&parts.headers)?;
    let entry = caller.subscription(name)?;
    let once = once::of(&parts.headers, parts.uri.path(), &bytes, Some(entry.incarnation))?;
    let source = caller.readable(entry.config.source.topic.as_str()).await?;
    let asked = if bytes.is_empty() { Asked::default() } else { read(&bytes, source.partitions)? };
    // One that is not over is refused where the command is applied: it may have been begun by this very request.
    let instead_of = match &entry.replay {
        Some(replay) if shown(caller, &entry, replay).await?.state == State::Done => Some(replay.since),
        _ => None,
    };
    let (from, to) = range(caller, &entry, &source, &asked).await?;
    let change = Change::StartReplay {
        id: entry.id.clone(),
        of: entry.incarnation,
        instead_of,
        source: entry.config.source.topic.clone(),
        from,
        to,
        events_per_second: asked.events_per_second,
    };
    let applied = caller.submit_once(expects, once, change).await?;
    match (&applied.outcome, &applied.subscription) {
        (Outcome::Replaced, Some(entry)) => {
            let began = applied.began.as_ref();
            Ok(once::marked(applied.repeated, answer(caller, entry, began.or(entry.replay.as_ref())).await?))
        }
        (Outcome::NotFound | Outcome::Replaced, _) => Err(Problem::not_found("subscription", name)),
        (outcome, _) => Err(app::unexpected(outcome)),
    }
}

fn read(bytes: &[u8], partitions: u32) -> Result<Asked, Problem> {
    let checked = Parsed::<Asked>::of(bytes).checked(|asked| {
        let mut found = Vec::new();
        let mut wrong = |pointer: &str, detail: String| found.push(Violation::new(pointer, detail));
        for (pointer, text) in [("/from", &asked.from), ("/to", &asked.to)] {
            if text.as_deref().is_some_and(|text| From::parse(text).is_none()) {
                wrong(pointer, "must be earliest, latest or a time such as 2026-11-23T20:00:00Z".to_owned());
            }
        }
        if asked.partition.is_some_and(|partition| partition >= partitions) {
            wrong("/partition", format!("must be 0 to {}", partitions.saturating_sub(1)));
        }
        let pairs = [
            ("/fromOffset", asked.from_offset.is_some(), asked.from.is_some()),
            ("/toOffset", asked.to_offset.is_some(), asked.to.is_some()),
        ];
        for (pointer, is_given, other) in pairs {
            if is_given && asked.partition.is_none() {
                wrong(pointer, "needs a partition, since each counts its own".to_owned());
            }
            if is_given && other {
                wrong(pointer, "cannot stand beside a time: both say the same".to_owned());
            }
        }
        if asked.from_offset.zip(asked.to_offset).is_some_and(|(from, to)| to < from) {
            wrong("/toOffset", "must not be below fromOffset".to_owned());
        }
        if asked.events_per_second.is_some_and(|rate| !(1..=limits::REPLAY_RATE_MAX).contains(&rate)) {
            wrong("/eventsPerSecond", format!("must be 1 to {}", limits::REPLAY_RATE_MAX));
        }
        found
    });
    checked.map_err(Problem::invalid)
}

/// Where it begins and ends in each partition: the same where nothing is asked for, or nothing was passed yet.
async fn range(
    caller: &Caller,
    entry: &SubscriptionEntry,
    source: &Readable,
    asked: &Asked,
) -> Result<(Vec<Offset>, Vec<Offset>), Problem> {
    let log = &*caller.app.context.log;
    let passed = lag::of(&caller.app.context, &caller.app.standings, entry).await.source?;
    let place = |text: &Option<String>, default| text.as_deref().and_then(From::parse).unwrap_or(default);
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for partition in 0..source.partitions {
        let at = TopicPartition::new(source.topic.clone(), partition);
        let passed = passed.iter().find(|of| of.at == at).map_or(Offset::ZERO, |of| of.place.position);
        if asked.partition.is_some_and(|only| only != partition) {
            from.push(passed);
            to.push(passed);
            continue;
        }
        let begin = match asked.from_offset {
            Some(offset) => offset.max(log.watermarks(&at).await?.low),
            None => starts::resolve(log, &at, place(&asked.from, From::Earliest)).await?,
        };
        let end = match asked.to_offset {
            Some(offset) => offset,
            None => starts::resolve(log, &at, place(&asked.to, From::Latest)).await?,
        };
        let end = end.min(passed);
        from.push(begin.min(end));
        to.push(end);
    }
    Ok((from, to))
}

pub(crate) async fn get(caller: Caller, Name(name): Name, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    let entry = caller.subscription(&name)?;
    answer(&caller, &entry, entry.replay.as_ref()).await
}

async fn answer(caller: &Caller, entry: &SubscriptionEntry, replay: Option<&Replay>) -> Result<Response, Problem> {
    let replay = replay.ok_or_else(|| Problem::not_found("replay of", entry.id.as_str()))?;
    Ok(Json(shown(caller, entry, replay).await?).into_response())
}

async fn shown(caller: &Caller, entry: &SubscriptionEntry, replay: &Replay) -> Result<Shown, Problem> {
    let context = &caller.app.context;
    let topic = context.topics.of_tenant(&entry.tenant, &entry.config.source.topic);
    let ended = entry.replay.as_ref().is_none_or(|current| current.since != replay.since);
    let mut partitions = Vec::new();
    for ((partition, from), to) in (0u32..).zip(&replay.from).zip(&replay.to) {
        let at = TopicPartition::new(topic.as_str(), partition);
        let position = if ended {
            *from
        } else if from < to {
            let row = caller.app.standings.of_replay(context, entry, replay.since, &at).await?;
            row.map_or(*from, |row| row.position)
        } else {
            *to
        };
        partitions.push(Part { partition, from: *from, to: *to, position });
    }
    let sum = |of: fn(&Part) -> u64| partitions.iter().map(of).sum::<u64>();
    let all = sum(|part| part.to.0.saturating_sub(part.from.0));
    let done = sum(|part| part.position.min(part.to).0.saturating_sub(part.from.0));
    let state = match () {
        () if ended => State::Ended,
        () if done >= all => State::Done,
        () if entry.config.is_paused() => State::Paused,
        () => State::Running,
    };
    let progress = if all == 0 { 1.0 } else { done as f64 / all as f64 };
    let (started_at, events_per_second) = (rfc3339::format(replay.asked), replay.events_per_second);
    Ok(Shown { state, started_at, events_per_second, progress, partitions })
}

pub(crate) async fn cancel(caller: Caller, Name(name): Name, params: Params) -> Result<StatusCode, Problem> {
    params.finish()?;
    let entry = caller.subscription(&name)?;
    let Some(replay) = &entry.replay else { return Err(Problem::not_found("replay of", &name)) };
    let change = Change::CancelReplay { id: entry.id.clone(), of: entry.incarnation, since: replay.since };
    match caller.submit(Expects::Anything, change).await?.outcome {
        Outcome::Replaced => Ok(StatusCode::NO_CONTENT),
        Outcome::NotFound => Err(Problem::not_found("subscription", &name)),
        outcome => Err(app::unexpected(&outcome)),
    }
}
