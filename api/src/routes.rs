//! Every route there is: method, path, and what it needs. Nothing is served that does not stand here.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use fpaas_core::Scope;
use http::{HeaderValue, StatusCode, header};

use crate::app::App;
use crate::auth::{self, Needs};
use crate::caller::Caller;
use crate::openapi::{Described, Operation, operations as says};
use crate::{
    attempts, control, dead_letters, evaluate, health, keys, messages, metrics, openapi, problem, redrive, replay,
    secrets, status, subscriptions, tail, tenants, topics,
};

/// One method of one path.
#[derive(Debug)]
pub struct Route {
    /// `GET` stands for `HEAD`, too.
    pub method: &'static str,
    /// Names in braces stand for one part of a path; what is behind a colon is an action.
    pub path: &'static str,
    /// Whom it is for.
    pub needs: Needs,
    handler: fn() -> MethodRouter<Arc<App>>,
    /// What the OpenAPI document says of it.
    pub(crate) describe: for<'s> fn(Operation<'s>) -> Operation<'s>,
}

const READ: Needs = Needs::Scope(Scope::Read);
const WRITE: Needs = Needs::Scope(Scope::Write);
const KEYS: Needs = Needs::Scope(Scope::Admin);

macro_rules! routes {
    ($($method:ident $path:literal $needs:path => $handler:path, $describe:path;)*) => {
        /// All of them.
        pub static ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            needs: $needs,
            handler: || on(MethodFilter::$method, $handler),
            describe: $describe,
        },)*];
    };
}

routes! {
    GET "/v1/subscriptions" READ => subscriptions::list, says::list_subscriptions;
    GET "/v1/subscriptions/{id}" READ => subscriptions::get, says::get_subscription;
    PUT "/v1/subscriptions/{id}" Needs::Change => subscriptions::put, says::put_subscription;
    PATCH "/v1/subscriptions/{id}" Needs::Change => subscriptions::patch, says::patch_subscription;
    DELETE "/v1/subscriptions/{id}" WRITE => subscriptions::delete, says::delete_subscription;
    POST "/v1/subscriptions/{id}:pause" WRITE => subscriptions::act, says::pause_subscription;
    POST "/v1/subscriptions/{id}:resume" WRITE => subscriptions::act, says::resume_subscription;
    POST "/v1/subscriptions/{id}:rotateSecret" WRITE => subscriptions::act, says::rotate_secret;
    POST "/v1/subscriptions/{id}:test" READ => subscriptions::act, says::test_subscription;
    POST "/v1/subscriptions/{id}:replay" WRITE => subscriptions::act, says::start_replay;
    GET "/v1/subscriptions/{id}/replay" READ => replay::get, says::get_replay;
    DELETE "/v1/subscriptions/{id}/replay" WRITE => replay::cancel, says::cancel_replay;
    POST "/v1/subscriptions/{id}:redrive" WRITE => subscriptions::act, says::start_redrive;
    GET "/v1/subscriptions/{id}/redrive" READ => redrive::get, says::get_redrive;
    DELETE "/v1/subscriptions/{id}/redrive" WRITE => redrive::cancel, says::cancel_redrive;
    GET "/v1/subscriptions/{id}/status" READ => status::get, says::get_status;
    GET "/v1/subscriptions/{id}/deadLetters" READ => dead_letters::get, says::get_dead_letters;
    GET "/v1/subscriptions/{id}/attempts" READ => attempts::get, says::get_attempts;
    GET "/v1/subscriptions/{id}/secret" WRITE => secrets::get, says::get_secret;
    GET "/v1/subscriptions/{id}/publicKey" READ => secrets::public, says::get_public_key;
    GET "/v1/topics" READ => topics::list, says::list_topics;
    GET "/v1/topics/{name}" READ => topics::get, says::get_topic;
    PUT "/v1/topics/{name}" WRITE => topics::put, says::put_topic;
    DELETE "/v1/topics/{name}" WRITE => topics::delete, says::delete_topic;
    GET "/v1/topics/{name}/records" READ => topics::records, says::get_records;
    GET "/v1/topics/{name}/tail" READ => tail::get, says::tail;
    POST "/v1/jmespath:evaluate" READ => evaluate::post, says::evaluate;
    GET "/v1/keys" KEYS => keys::list, says::list_keys;
    POST "/v1/keys" KEYS => keys::post, says::make_key;
    DELETE "/v1/keys/{id}" KEYS => keys::delete, says::delete_key;
    GET "/v1/admin/tenants" Needs::Operator => tenants::list, says::list_tenants;
    GET "/v1/admin/tenants/{id}" Needs::Operator => tenants::get, says::get_tenant;
    PUT "/v1/admin/tenants/{id}" Needs::Operator => tenants::put, says::put_tenant;
    DELETE "/v1/admin/tenants/{id}" Needs::Operator => tenants::delete, says::delete_tenant;
    GET "/v1/admin/tenants/{id}/keys" Needs::Operator => keys::list_of, says::list_tenant_keys;
    POST "/v1/admin/tenants/{id}/keys" Needs::Operator => keys::post_of, says::make_tenant_key;
    DELETE "/v1/admin/tenants/{id}/keys/{keyId}" Needs::Operator => keys::delete_of, says::delete_tenant_key;
    GET "/v1/admin/control" Needs::Operator => control::get, says::get_control;
    GET "/v1/admin/messages" Needs::Operator => messages::get, says::get_messages;
    PUT "/v1/admin/messages" Needs::Operator => messages::put, says::put_messages;
    GET "/healthz" Needs::Nothing => health::healthy, says::healthy;
    GET "/readyz" Needs::Nothing => health::ready, says::ready;
    GET "/metrics" Needs::Metrics => metrics::get, says::metrics;
    GET "/openapi.json" Needs::Nothing => openapi::json, says::document;
    GET "/docs" Needs::Nothing => openapi::read, says::page;
}

impl Route {
    /// What the OpenAPI document is made of.
    pub(crate) fn described(&self) -> Described {
        let Self { method, path, needs, describe, .. } = *self;
        Described { method, path, needs, describe }
    }

    /// Where the router finds it. It cannot tell actions apart, which stand behind the name in the last part of a path:
    /// their handler does.
    fn served_at(&self) -> &'static str {
        self.path.split_once("}:").map_or(self.path, |(name, _)| self.path.get(..=name.len()).unwrap_or(self.path))
    }

    fn is_served_with(&self, other: &Self) -> bool {
        other.method == self.method && other.served_at() == self.served_at()
    }

    /// True of the first of several actions.
    fn is_first(&self) -> bool {
        ROUTES.iter().find(|other| self.is_served_with(other)).is_some_and(|first| first.path == self.path)
    }

    /// What a request at this path needs that the router has brought here: that of the action it names. What the path
    /// does not say plainly is what the first of them needs.
    fn needed_at(&self, path: &str) -> Needs {
        let mut actions = ROUTES.iter().filter(|other| self.is_served_with(other));
        actions.find(|action| is_at(action.path, path)).map_or(self.needs, |action| action.needs)
    }

    /// True of those that everybody may ask, and which answer by themselves where somebody may not.
    fn is_open(&self) -> bool {
        matches!(self.needs, Needs::Nothing | Needs::Metrics)
    }
}

/// Around every route: what is said to be allowed is what the table allows. The router takes the actions of a resource
/// for methods of the resource itself.
pub(crate) async fn allow(request: Request, next: Next) -> Response {
    let methods = allowed(request.uri().path());
    let is_other = !methods.is_empty() && !methods.split(',').any(|method| method == request.method());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let is_refused = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    // Of what it does not serve the router says what it would, whatever else it is refused for.
    let is_served = || ROUTES.iter().any(|route| method == route.method && is_at(route.served_at(), &path));
    if is_other
        && (is_refused || !is_served())
        && let Ok(methods) = HeaderValue::try_from(methods)
    {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}

fn allowed(path: &str) -> String {
    let action = |route: &&Route| route.path.contains("}:");
    let (actions, others): (Vec<_>, Vec<_>) = ROUTES.iter().filter(|route| is_at(route.path, path)).partition(action);
    let those = if actions.is_empty() { others } else { actions };
    let names = those.iter().flat_map(|route| [Some(route.method), (route.method == "GET").then_some("HEAD")]);
    names.flatten().collect::<Vec<_>>().join(",")
}

fn is_at(template: &str, path: &str) -> bool {
    let is = |(wanted, given): (&str, &str)| match wanted.split_once('{') {
        None => wanted == given,
        Some((_, rest)) => given.ends_with(rest.split_once('}').map_or("", |(_, action)| action)),
    };
    template.split('/').count() == path.split('/').count() && template.split('/').zip(path.split('/')).all(is)
}

/// What is behind a key.
pub(crate) fn guarded(app: &Arc<App>) -> Router<Arc<App>> {
    let guard = |route: &'static Route| {
        middleware::from_fn(move |caller: Caller, request: Request, next: Next| {
            auth::permit(route.needed_at(request.uri().path()), caller, request, next)
        })
    };
    let closed = ROUTES.iter().filter(|route| !route.is_open() && route.is_first());
    let routes = closed
        .fold(Router::new(), |all, route| all.route(route.served_at(), (route.handler)().route_layer(guard(route))));
    routes
        .method_not_allowed_fallback(problem::method_not_allowed)
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), auth::require))
}

/// How the node is, and what it counts.
pub(crate) fn open() -> Router<Arc<App>> {
    let open = ROUTES.iter().filter(|route| route.is_open());
    let routes = open.fold(Router::new(), |all, route| all.route(route.path, (route.handler)()));
    routes.method_not_allowed_fallback(problem::method_not_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_what_the_table_allows() {
        for (path, methods) in [
            ("/v1/subscriptions", "GET,HEAD"),
            ("/v1/subscriptions/likes", "GET,HEAD,PUT,PATCH,DELETE"),
            ("/v1/subscriptions/likes:pause", "POST"),
            ("/v1/subscriptions/likes/status", "GET,HEAD"),
            ("/v1/topics/out", "GET,HEAD,PUT,DELETE"),
            ("/v1/jmespath:evaluate", "POST"),
            ("/v1/nothing", ""),
        ] {
            assert_eq!(allowed(path), methods, "{path}");
        }
    }

    #[test]
    fn an_action_needs_what_the_table_says_of_it_and_one_that_is_written_otherwise_no_less() {
        let act = ROUTES.iter().find(|route| route.is_first() && route.path.contains("}:")).unwrap();
        for (path, needs) in [
            ("/v1/subscriptions/likes:test", READ),
            ("/v1/subscriptions/likes:pause", WRITE),
            ("/v1/subscriptions/likes%3Atest", WRITE),
            ("/v1/subscriptions/likes:testing", WRITE),
            ("/v1/subscriptions/likes", WRITE),
        ] {
            assert_eq!(act.needed_at(path), needs, "{path}");
        }
    }
}
