//! `/v1/topics`: put, get, list, and browsing records.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fpaas_core::topic::TopicSettings;
use fpaas_core::{TenantId, TopicName, Violation, limits};
use fpaas_log::TopicSpec;
use fpaas_state::{Change, Command, Expects, Machine, Outcome, View};
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app;
use crate::browse::{self, Wanted as WantedRecords};
use crate::caller::Caller;
use crate::list::{Page, Wanted};
use crate::params::{Name, Params};
use crate::problem::Problem;
use crate::strict::Parsed;
use crate::{body, conditions, etag, item, quota};

/// A topic as it is put and given back: its settings and its name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Topic {
    /// Must equal the path; absent, it is the path's.
    name: Option<TopicName>,
    /// How many; fixed when the topic is made.
    #[schemars(range(min = 1, max = limits::PARTITIONS_MAX))]
    partitions: u32,
    /// Records older than this go; null keeps them.
    #[schemars(range(min = 1000))]
    retention_ms: Option<u64>,
    /// Of one partition: beyond it the oldest records go; null is no limit.
    #[schemars(range(min = 1_048_576))]
    retention_bytes: Option<u64>,
    /// True to keep only the last record of each key; fixed when the topic is made.
    compacted: bool,
}

impl Default for Topic {
    fn default() -> Self {
        Self::new(None, TopicSettings::default())
    }
}

impl Topic {
    fn new(name: Option<TopicName>, settings: TopicSettings) -> Self {
        let TopicSettings { partitions, retention_ms, retention_bytes, compacted } = settings;
        Self { name, partitions, retention_ms, retention_bytes, compacted }
    }

    /// As it is in the log, the built-in source like any other.
    fn described(name: TopicName, spec: &TopicSpec) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: Some(name),
            partitions: spec.partitions,
            retention_ms: spec.retention.time.map(millis),
            retention_bytes: spec.retention.bytes,
            compacted: spec.compacted,
        }
    }

    fn settings(&self) -> TopicSettings {
        TopicSettings {
            partitions: self.partitions,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            compacted: self.compacted,
        }
    }
}

pub(crate) async fn put(
    caller: Caller,
    Name(name): Name,
    mut params: Params,
    request: Request,
) -> Result<Response, Problem> {
    let dry = params.flag("dryRun");
    params.finish()?;
    let expects = conditions::expects(request.headers())?;
    let (name, settings) = read(&name, &body::read(request).await?)?;
    quota::check_topic(&caller, &name)?;
    if dry {
        return tried(&caller, expects, name, settings).await;
    }
    let applied = caller.submit(expects, Change::PutTopic { name: name.clone(), settings }).await?;
    let status = match applied.outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Replaced => StatusCode::OK,
        Outcome::NotFound => return Err(caller.gone()),
        outcome => return Err(app::unexpected(&outcome)),
    };
    let place = (status == StatusCode::CREATED).then(|| [(header::LOCATION, format!("/v1/topics/{name}"))]);
    Ok((status, place, tagged(Some(applied.revision), shown(&caller, name).await?)).into_response())
}

/// What it would be. Nothing is changed: the command is applied to a copy of what it is about, and given to nobody.
async fn tried(
    caller: &Caller,
    expects: Expects,
    name: TopicName,
    settings: TopicSettings,
) -> Result<Response, Problem> {
    caller.app.follow(&expects).await;
    let change = Change::PutTopic { name: name.clone(), settings: settings.clone() };
    let command = Command::new(String::new(), caller.app.context.clock.now(), caller.tenant.clone(), change);
    match topics_of(&caller.app.context.control.view(), &caller.tenant).apply(&command.expecting(expects)) {
        Outcome::Created | Outcome::Replaced => Ok(Json(Topic::new(Some(name), settings)).into_response()),
        Outcome::Conflict(conflicts) => Err(Problem::conflict(conflicts)),
        Outcome::Unexpected(revision) => Err(Problem::unexpected(revision)),
        outcome => Err(app::unexpected(&outcome)),
    }
}

/// A machine with the tenant's topics and nothing else.
fn topics_of(view: &View, tenant: &TenantId) -> Machine {
    let mut machine = Machine::default();
    let topics = view.topics.iter().filter(|((owner, _), _)| owner == tenant);
    machine.view.topics = topics.map(|(key, entry)| (key.clone(), Arc::clone(entry))).collect();
    let deleted = view.deleted.iter().filter(|((owner, _), _)| owner == tenant);
    machine.view.deleted = deleted.map(|(key, entry)| (key.clone(), entry.clone())).collect();
    machine
}

/// The body, once everything about it and the name in the path is right.
fn read(name: &str, bytes: &Bytes) -> Result<(TopicName, TopicSettings), Problem> {
    let path = TopicName::parse(name);
    let checked = Parsed::<Topic>::of(bytes).checked(|topic| {
        let mut found = topic.settings().violations();
        found.extend(name_violation(path.as_ref().ok(), topic.name.as_ref()));
        found
    });
    let in_path = match &path {
        Ok(path) if path.is_reserved() => Some(format!("{path} is reserved: choose another name")),
        Ok(_) => None,
        Err(error) => Some(format!("in the path {error}")),
    };
    let in_path = in_path.map(|detail| Violation::new("/name", detail));
    match (path, checked) {
        (Ok(path), Ok(topic)) if in_path.is_none() => Ok((path, topic.settings())),
        (_, checked) => Err(Problem::invalid(in_path.into_iter().chain(checked.err().unwrap_or_default()).collect())),
    }
}

fn name_violation(path: Option<&TopicName>, given: Option<&TopicName>) -> Option<Violation> {
    let (path, given) = (path?, given?);
    (path != given).then(|| Violation::new("/name", format!("must be {path}, as in the path, or left out")))
}

/// The built-in source has none: it is nobody's to change.
fn revision(caller: &Caller, name: &TopicName) -> Option<u64> {
    Some(caller.app.context.control.view().topic(&caller.tenant, name)?.revision)
}

fn tagged(revision: Option<u64>, topic: Topic) -> Response {
    match revision {
        Some(revision) => ([(header::ETAG, etag::tag(revision))], Json(topic)).into_response(),
        None => Json(topic).into_response(),
    }
}

async fn shown(caller: &Caller, name: TopicName) -> Result<Topic, Problem> {
    let topic = caller.app.context.topics.of_tenant(&caller.tenant, &name);
    // In the view, and not in the log: an operator's matter.
    if let Some(why) = caller.app.context.control.view().unmade.topics.get(&(caller.tenant.clone(), name.clone())) {
        return Err(fpaas_log::Error::Refused(why.clone()).into());
    }
    let spec = caller.app.context.log.describe_topic(&topic).await?;
    Ok(Topic::described(name, &spec.ok_or(fpaas_log::Error::NoSuchTopic(topic))?))
}

pub(crate) async fn get(
    caller: Caller,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.finish()?;
    let name = caller.topic_name(&name)?;
    let (revision, topic) = (revision(&caller, &name), shown(&caller, name).await?);
    conditions::answer(&headers, revision, || tagged(revision, topic))
}

/// It is gone for whoever asks, and from the log a moment later.
pub(crate) async fn delete(
    caller: Caller,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    params.finish()?;
    let expects = conditions::expects(&headers)?;
    let found = caller.topic_name(&name)?;
    if found.is_firehose() {
        let why = Violation::new("/name", format!("{found} is the built-in source, which is nobody's to delete"));
        return Err(Problem::conflict(vec![why]));
    }
    match caller.submit(expects, Change::DeleteTopic { name: found }).await?.outcome {
        Outcome::Deleted => Ok(StatusCode::NO_CONTENT),
        Outcome::NotFound => Err(Problem::not_found("topic", &name)),
        outcome => Err(app::unexpected(&outcome)),
    }
}

/// The tenant's topics and the built-in source, by name.
pub(crate) async fn list(caller: Caller, params: Params) -> Result<Json<Page<Topic>>, Problem> {
    let wanted = Wanted::parse(params)?;
    let firehose = caller.topic_name(TopicName::FIREHOSE)?;
    let firehose = (firehose.to_string(), shown(&caller, firehose).await?);
    let (view, tenant) = (caller.app.context.control.view(), &caller.tenant);
    let theirs = view.topics.values().filter(|entry| entry.tenant == *tenant);
    let theirs =
        theirs.map(|entry| (entry.name.to_string(), Topic::new(Some(entry.name.clone()), entry.settings.clone())));
    let mut all: Vec<_> = theirs.chain([firehose]).filter(|(name, _)| *name > wanted.after).collect();
    all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Json(wanted.page(all.into_iter())?))
}

pub(crate) async fn records(caller: Caller, Name(name): Name, params: Params) -> Result<Response, Problem> {
    let readable = caller.readable(&name).await?;
    let wanted = WantedRecords::parse(params, readable.partitions)?;
    Ok(browse::page(&*caller.app.context.log, &readable, wanted).await?.answer(item::plain))
}
