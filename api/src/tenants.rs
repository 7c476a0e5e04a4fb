//! `/v1/admin/tenants`: put, get, list, delete. The operator's alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use fpaas_core::{PoolId, TenantId, Violation};
use fpaas_state::{Change, Outcome, View};
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::{self, App};
use crate::list::{Page, Wanted};
use crate::params::{Name, Params};
use crate::problem::Problem;
use crate::strict::Parsed;
use crate::{body, conditions, etag, quota};

/// A tenant as it is put and given back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tenant {
    /// Must equal the path; absent, it is the path's.
    #[serde(default)]
    id: Option<TenantId>,
    /// Absent, its own, or the one it is in.
    #[serde(default)]
    pool: Option<PoolId>,
    /// Where it comes from, while it is on its way. Given back, and not looked at where it is put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moving: Option<Moving>,
}

/// A move that has not come to its end.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "TenantMove")]
struct Moving {
    from: PoolId,
}

impl Tenant {
    /// The tenant of that name, whether anybody made it or not.
    fn found(view: &View, name: &str) -> Result<(Self, u64), Problem> {
        let id = TenantId::parse(name).ok().filter(|id| view.has_tenant(id));
        let id = id.ok_or_else(|| Problem::not_found("tenant", name))?;
        // The one that nobody made is there from the beginning.
        let revision = view.tenants.get(&id).map_or(0, |entry| entry.revision);
        Ok((Self::of(view, &id), revision))
    }

    fn of(view: &View, id: &TenantId) -> Self {
        let moving = view.tenants.get(id).and_then(|entry| entry.moving.as_ref());
        let moving = moving.map(|moving| Moving { from: moving.from.clone() });
        Self { id: Some(id.clone()), pool: Some(view.pool_of(id)), moving }
    }
}

pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Name(name): Name,
    params: Params,
    request: Request,
) -> Result<Response, Problem> {
    params.finish()?;
    let expects = conditions::expects(request.headers())?;
    let (id, pool) = read(&name, &body::read(request).await?)?;
    quota::check_tenant(&app, &id)?;
    let applied = app.submit((&id, None), expects, None, Change::PutTenant { pool }).await?;
    let status = match applied.outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Replaced => StatusCode::OK,
        outcome => return Err(app::unexpected(&outcome)),
    };
    let (tenant, _) = Tenant::found(&app.context.control.view(), &name)?;
    let place = (status == StatusCode::CREATED).then(|| [(header::LOCATION, format!("/v1/admin/tenants/{id}"))]);
    Ok((status, place, tagged(applied.revision, tenant)).into_response())
}

/// The body, once everything about it and the name in the path is right.
fn read(name: &str, bytes: &[u8]) -> Result<(TenantId, Option<PoolId>), Problem> {
    let path = TenantId::parse(name);
    let checked = Parsed::<Tenant>::of(bytes).checked(|tenant| {
        let Ok(path) = &path else { return Vec::new() };
        let other = tenant.id.as_ref().is_some_and(|id| id != path);
        let id = other.then(|| Violation::new("/id", format!("must be {path}, as in the path, or left out")));
        let theirs = tenant.pool.as_ref().is_some_and(|pool| !pool.is_shared() && *pool != PoolId::of_tenant(path));
        let pool = theirs.then(|| Violation::new("/pool", format!("must be {path}, or begin with _ for a shared one")));
        id.into_iter().chain(pool).collect()
    });
    match (path, checked) {
        (Ok(path), Ok(tenant)) => Ok((path, tenant.pool)),
        (Err(error), checked) => {
            let mut found = vec![Violation::new("/id", format!("in the path {error}"))];
            found.extend(checked.err().unwrap_or_default());
            Err(Problem::invalid(found))
        }
        (Ok(_), Err(found)) => Err(Problem::invalid(found)),
    }
}

fn tagged(revision: u64, tenant: Tenant) -> Response {
    ([(header::ETAG, etag::tag(revision))], Json(tenant)).into_response()
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.finish()?;
    let (tenant, revision) = Tenant::found(&app.context.control.view(), &name)?;
    conditions::answer(&headers, Some(revision), || tagged(revision, tenant))
}

pub(crate) async fn list(State(app): State<Arc<App>>, params: Params) -> Result<Json<Page<Tenant>>, Problem> {
    let wanted = Wanted::parse(params)?;
    let view = app.context.control.view();
    let local = TenantId::local();
    let mut all: Vec<_> = view.tenants.keys().collect();
    if let Err(place) = all.binary_search(&&local) {
        all.insert(place, &local);
    }
    let behind = all.into_iter().filter(|id| id.as_str() > wanted.after.as_str());
    let shown = behind.map(|id| (id.to_string(), Tenant::of(&view, id)));
    Ok(Json(wanted.page(shown)?))
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    params.finish()?;
    let expects = conditions::expects(&headers)?;
    let view = app.context.control.view();
    let id = TenantId::parse(&name).ok().filter(|id| view.has_tenant(id));
    let id = id.ok_or_else(|| Problem::not_found("tenant", &name))?;
    match app.submit((&id, view.made(&id)), expects, None, Change::DeleteTenant {}).await?.outcome {
        Outcome::Deleted => Ok(StatusCode::NO_CONTENT),
        Outcome::NotFound => Err(Problem::not_found("tenant", &name)),
        outcome => Err(app::unexpected(&outcome)),
    }
}
