//! Every route there is: method, path, and what it needs. Nothing is served that does not stand here.

use std::sync::Arc;

use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Router, middleware};
use fpaas_core::Scope;

use crate::app::App;
use crate::auth::{self, Needs};
use crate::{
    dead_letters, evaluate, health, keys, metrics, problem, secrets, status, subscriptions, tail, tenants, topics,
};

/// One method of one path.
#[derive(Debug)]
pub struct Route {
    /// `GET` stands for `HEAD`, too.
    pub method: &'static str,
    /// Names in braces stand for one part of a path.
    pub path: &'static str,
    /// Whom it is for.
    pub needs: Needs,
    handler: fn() -> MethodRouter<Arc<App>>,
}

const READ: Needs = Needs::Scope(Scope::Read);
const WRITE: Needs = Needs::Scope(Scope::Write);
const KEYS: Needs = Needs::Scope(Scope::Admin);

macro_rules! routes {
    ($($method:ident $path:literal $needs:path => $handler:path;)*) => {
        /// All of them.
        pub static ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            needs: $needs,
            handler: || on(MethodFilter::$method, $handler),
        },)*];
    };
}

routes! {
    GET "/v1/subscriptions" READ => subscriptions::list;
    GET "/v1/subscriptions/{id}" READ => subscriptions::get;
    PUT "/v1/subscriptions/{id}" Needs::Change => subscriptions::put;
    PATCH "/v1/subscriptions/{id}" Needs::Change => subscriptions::patch;
    DELETE "/v1/subscriptions/{id}" WRITE => subscriptions::delete;
    // `{id}:pause`, `{id}:resume` and `{id}:rotateSecret`.
    POST "/v1/subscriptions/{id}" WRITE => subscriptions::act;
    GET "/v1/subscriptions/{id}/status" READ => status::get;
    GET "/v1/subscriptions/{id}/deadLetters" READ => dead_letters::get;
    GET "/v1/subscriptions/{id}/secret" WRITE => secrets::get;
    GET "/v1/topics" READ => topics::list;
    GET "/v1/topics/{name}" READ => topics::get;
    PUT "/v1/topics/{name}" WRITE => topics::put;
    GET "/v1/topics/{name}/records" READ => topics::records;
    GET "/v1/topics/{name}/tail" READ => tail::get;
    POST "/v1/jmespath:evaluate" READ => evaluate::post;
    GET "/v1/keys" KEYS => keys::list;
    POST "/v1/keys" KEYS => keys::post;
    DELETE "/v1/keys/{id}" KEYS => keys::delete;
    GET "/v1/admin/tenants" Needs::Operator => tenants::list;
    GET "/v1/admin/tenants/{id}" Needs::Operator => tenants::get;
    PUT "/v1/admin/tenants/{id}" Needs::Operator => tenants::put;
    DELETE "/v1/admin/tenants/{id}" Needs::Operator => tenants::delete;
    GET "/v1/admin/tenants/{id}/keys" Needs::Operator => keys::list_of;
    POST "/v1/admin/tenants/{id}/keys" Needs::Operator => keys::post_of;
    DELETE "/v1/admin/tenants/{id}/keys/{keyId}" Needs::Operator => keys::delete_of;
    GET "/healthz" Needs::Nothing => health::healthy;
    GET "/readyz" Needs::Nothing => health::ready;
    GET "/metrics" Needs::Metrics => metrics::get;
}

impl Route {
    /// True of those that everybody may ask, and which answer by themselves where somebody may not.
    fn is_open(&self) -> bool {
        matches!(self.needs, Needs::Nothing | Needs::Metrics)
    }
}

/// What is behind a key.
pub(crate) fn guarded(app: &Arc<App>) -> Router<Arc<App>> {
    let guard = |needs| middleware::from_fn_with_state(needs, auth::permit);
    let closed = ROUTES.iter().filter(|route| !route.is_open());
    let routes = closed
        .fold(Router::new(), |all, route| all.route(route.path, (route.handler)().route_layer(guard(route.needs))));
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
