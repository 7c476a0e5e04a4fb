//! Who asks, and what that permits: the bearer key in front of everything under `/v1`.
//!
//! Whatever is wrong with a key, the same is done and the same is said: one hash, one look-up, two comparisons.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use fpaas_core::{KeyHash, Scope, Violation};
use fpaas_state::KeyEntry;
use http::{HeaderMap, HeaderValue, header};

use crate::app::App;
use crate::caller::Caller;
use crate::key;
use crate::phase::Phase;
use crate::problem::{Kind, Problem};

/// The tenant that the operator acts for.
const TENANT: &str = "fpaas-tenant";
/// What only the operator finds.
const ADMIN: &str = "/v1/admin/";

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// No key.
    Nothing,
    /// The operator's key, unless the configuration lets everybody.
    Metrics,
    /// A key with this scope, or one that includes it.
    Scope(Scope),
    /// [`Scope::Write`], or, with `?dryRun=true`, [`Scope::Read`].
    Change,
    /// The operator's key.
    Operator,
}

/// Whose key a request has brought.
enum Who {
    Operator,
    Tenant(Arc<KeyEntry>),
}

/// Lets the caller in, once the view is restored: before, everything would seem not to be there, keys included.
pub(crate) async fn require(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let who = identify(&app, request.headers());
    let unauthorized = || unauthorized(request.headers());
    if *app.phase.borrow() == Phase::Starting && bearer(request.headers()).is_some() {
        return Err(Problem::new(Kind::Unavailable, "the server is starting: ask /readyz"));
    }
    let caller = caller(app, who.ok_or_else(unauthorized)?, request.headers())?;
    if request.uri().path().starts_with(ADMIN) && !caller.is_operator() {
        return Err(no_such_route(&request));
    }
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    // Answers hold a tenant's data, and some of them a secret: no cache keeps them.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Around each route: lets those pass whose key permits it.
pub(crate) async fn permit(needs: Needs, caller: Caller, request: Request, next: Next) -> Result<Response, Problem> {
    let scope = match needs {
        Needs::Scope(scope) => scope,
        Needs::Change if is_dry(request.uri().query().unwrap_or_default()) => Scope::Read,
        Needs::Change => Scope::Write,
        Needs::Operator | Needs::Metrics if !caller.is_operator() => return Err(no_such_route(&request)),
        Needs::Nothing | Needs::Operator | Needs::Metrics => return Ok(next.run(request).await),
    };
    if !caller.permits(scope) {
        return Err(Problem::insufficient(scope));
    }
    Ok(next.run(request).await)
}

/// Lets nobody but the operator.
pub(crate) fn operator(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    match identify(app, headers) {
        Some(Who::Operator) => Ok(()),
        Some(Who::Tenant(_)) => Err(Problem::not_found("route", "/metrics")),
        None => Err(unauthorized(headers)),
    }
}

fn identify(app: &App, headers: &HeaderMap) -> Option<Who> {
    let given = bearer(headers).unwrap_or_default();
    let (hash, now) = (KeyHash::of(given), app.context.clock.now());
    let view = app.context.control.view();
    let entry = key::id_of(given).and_then(|id| view.keys.get(&id));
    let expected = entry.map_or(&app.nobody, |entry| &entry.hash);
    let (operators, theirs) = (app.config.key.opens(&hash), *expected == hash);
    if operators {
        return Some(Who::Operator);
    }
    let entry = entry.filter(|entry| theirs && entry.is_live(now))?;
    app.used.note(&view, &entry.id, now);
    Some(Who::Tenant(Arc::clone(entry)))
}

/// A tenant's key is for that tenant; the operator's is for whichever it names.
fn caller(app: Arc<App>, who: Who, headers: &HeaderMap) -> Result<Caller, Problem> {
    if is_twice(headers, TENANT) {
        let detail = "the header FPaaS-Tenant is given twice: name one tenant";
        return Err(Problem::invalid(vec![Violation::new("", detail)]));
    }
    let named = headers.get(TENANT).map(|name| name.to_str().unwrap_or_default());
    let caller = match who {
        Who::Operator => {
            let tenant = app.config.tenant.clone();
            Caller::operator(app, tenant)
        }
        Who::Tenant(key) => Caller::with_key(app, key),
    };
    match named {
        Some(name) if name == caller.tenant.as_str() => Ok(caller),
        Some(name) if caller.is_operator() => caller.acting_for(name),
        Some(name) => Err(Problem::not_found("tenant", name)),
        None => Ok(caller),
    }
}

/// None where there are several: nobody can say which of them is meant.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    if is_twice(headers, header::AUTHORIZATION.as_str()) {
        return None;
    }
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// A parameter that is there twice is refused by whoever takes it.
fn is_dry(query: &str) -> bool {
    let asked = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "dryRun");
    let mut asked = asked.map(|(_, value)| value == "true").peekable();
    asked.peek().is_some() && asked.all(|dry| dry)
}

fn is_twice(headers: &HeaderMap, name: &str) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

fn unauthorized(headers: &HeaderMap) -> Problem {
    let twice = is_twice(headers, header::AUTHORIZATION.as_str());
    let detail = if twice { "the header Authorization is given twice: send one key" } else { SEND };
    Problem::new(Kind::Unauthorized, detail)
}

const SEND: &str = "send the key as `Authorization: Bearer <key>`";

fn no_such_route(request: &Request) -> Problem {
    Problem::not_found("route", request.uri().path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_is_one_that_says_so_and_nothing_else() {
        for (query, dry) in [
            ("dryRun=true", true),
            ("a=b&dryRun=true", true),
            ("", false),
            ("dryRun", false),
            ("dryRun=false", false),
            ("dryRun=TRUE", false),
            ("dryrun=true", false),
            ("dryRun=true&dryRun=false", false),
            ("dryRun=false&dryRun=true", false),
            ("dry%52un=tru%65", true),
        ] {
            assert_eq!(is_dry(query), dry, "{query}");
        }
    }
}
