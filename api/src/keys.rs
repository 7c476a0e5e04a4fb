//! `/v1/keys`, and `/v1/admin/tenants/{id}/keys` for the operator: a tenant's keys. A key is shown in the answer that
//! creates it and nowhere else.

use std::collections::BTreeSet;
use std::ops::Bound;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use fpaas_core::{KeyHash, KeyId, Scope, Timestamp, Violation, limits, rfc3339};
use fpaas_state::{Change, Expects, KeyEntry, Outcome};
use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::{self, App};
use crate::caller::Caller;
use crate::list::{Page, Wanted};
use crate::params::{Name, Names, Params};
use crate::problem::Problem;
use crate::strict::Parsed;
use crate::{body, key, once, quota};

/// What a new key is to be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "NewKey")]
pub(crate) struct Asked {
    #[schemars(with = "Vec<Scope>", length(min = 1))]
    scopes: BTreeSet<Scope>,
    #[serde(default)]
    #[schemars(length(max = limits::KEY_DESCRIPTION_BYTES_MAX))]
    description: String,
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

/// A key as it is given back.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Key")]
pub(crate) struct Shown {
    id: KeyId,
    /// What it begins with.
    prefix: String,
    scopes: BTreeSet<Scope>,
    description: String,
    created_at: String,
    expires_at: Option<String>,
    /// As this node has seen it since it started.
    last_used_at: Option<String>,
    /// In the answer that creates it, and in no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Shown {
    fn new(app: &App, entry: &KeyEntry, key: Option<String>) -> Self {
        Self {
            id: entry.id.clone(),
            prefix: key::shown(&entry.id),
            scopes: entry.scopes.clone(),
            description: entry.description.clone(),
            created_at: rfc3339::format(entry.created),
            expires_at: entry.expires.map(rfc3339::format),
            last_used_at: app.used.of(&entry.id).map(rfc3339::format),
            key,
        }
    }
}

pub(crate) async fn list(caller: Caller, params: Params) -> Result<Json<Page<Shown>>, Problem> {
    let wanted = Wanted::parse(params)?;
    let view = caller.app.context.control.view();
    let after = KeyId::parse(&wanted.after).ok();
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let behind = view.keys.range((from, Bound::Unbounded)).filter(|(_, entry)| entry.tenant == caller.tenant);
    let shown = behind.map(|(id, entry)| (id.to_string(), Shown::new(&caller.app, entry, None)));
    Ok(Json(wanted.page(shown)?))
}

pub(crate) async fn post(caller: Caller, params: Params, request: Request) -> Result<Response, Problem> {
    params.finish()?;
    let now = caller.app.context.clock.now();
    let (parts, body) = request.into_parts();
    let bytes = body::read_parts(&parts, body).await?;
    let once = once::of(&parts.headers, parts.uri.path(), &bytes, None)?;
    let asked = Parsed::<Asked>::of(&bytes);
    let asked = asked.checked(|asked| violations(asked, now)).map_err(Problem::invalid)?;
    let quota = match quota::check_key(&caller) {
        Err(problem) if once.is_none() => return Err(problem),
        checked => checked,
    };
    let made = key::make(app::random::<8>()?, app::random::<32>()?);
    let (id, text) = made.ok_or_else(|| Problem::internal(&"an id that is none"))?;
    let change = Change::PutKey {
        id: id.clone(),
        hash: KeyHash::of(&text),
        scopes: asked.scopes,
        description: asked.description,
        expires: asked.expires_at.as_deref().and_then(rfc3339::parse),
    };
    // Where there are as many as there may be, it can only have been made before.
    let expects = if quota.is_ok() { Expects::Anything } else { Expects::Present };
    let applied = match caller.submit_once(expects, once, change).await {
        Err(problem) if problem.is_unexpected() => return Err(quota.err().unwrap_or(problem)),
        applied => applied?,
    };
    match applied.outcome {
        Outcome::Created if applied.repeated => return Err(made_before(applied.made.as_ref())),
        Outcome::Created => {}
        Outcome::NotFound => return Err(caller.gone()),
        outcome => return Err(app::unexpected(&outcome)),
    }
    let view = caller.app.context.control.view();
    let entry = view.keys.get(&id).ok_or_else(|| Problem::not_found("key", id.as_str()))?;
    // Under the path at which it was made, for whoever may make it there.
    let place = format!("{}/{id}", parts.uri.path());
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(Shown::new(&caller.app, entry, Some(text))))
        .into_response())
}

/// The text of a key is nowhere, so that it cannot be shown again.
fn made_before(id: Option<&KeyId>) -> Problem {
    let id = id.map(KeyId::as_str).unwrap_or_default();
    let detail = format!(
        "the key {id} was made when this was sent first, and its text was shown then: where it was lost, delete that key \
         and make another, with another Idempotency-Key"
    );
    Problem::conflict(vec![Violation::new("", detail)])
}

fn violations(asked: &Asked, now: Timestamp) -> Vec<Violation> {
    let mut found = Vec::new();
    if asked.scopes.is_empty() {
        found.push(Violation::new("/scopes", "must name one of read, write and admin, or several"));
    }
    if asked.description.len() > limits::KEY_DESCRIPTION_BYTES_MAX {
        let most = limits::KEY_DESCRIPTION_BYTES_MAX;
        found.push(Violation::new("/description", format!("must be at most {most} bytes")));
    }
    let is_later = |text: &str| rfc3339::parse(text).is_some_and(|expires| now < expires);
    if !asked.expires_at.as_deref().is_none_or(is_later) {
        let detail = "must be a time in the future, such as 2027-01-31T00:00:00Z, or left out";
        found.push(Violation::new("/expiresAt", detail));
    }
    found
}

pub(crate) async fn delete(caller: Caller, Name(name): Name, params: Params) -> Result<StatusCode, Problem> {
    params.finish()?;
    let id = KeyId::parse(&name).map_err(|_| Problem::not_found("key", &name))?;
    match caller.submit(Expects::Anything, Change::DeleteKey { id }).await?.outcome {
        Outcome::Deleted => Ok(StatusCode::NO_CONTENT),
        Outcome::NotFound => Err(Problem::not_found("key", &name)),
        outcome => Err(app::unexpected(&outcome)),
    }
}

pub(crate) async fn list_of(caller: Caller, Name(tenant): Name, params: Params) -> Result<Json<Page<Shown>>, Problem> {
    list(caller.acting_for(&tenant)?, params).await
}

pub(crate) async fn post_of(
    caller: Caller,
    Name(tenant): Name,
    params: Params,
    request: Request,
) -> Result<Response, Problem> {
    post(caller.acting_for(&tenant)?, params, request).await
}

pub(crate) async fn delete_of(
    caller: Caller,
    Names(tenant, key): Names,
    params: Params,
) -> Result<StatusCode, Problem> {
    delete(caller.acting_for(&tenant)?, Name(key), params).await
}
