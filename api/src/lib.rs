//! The REST API over the control topic and its views.
//!
//! Commands go to the control topic and are answered once they are applied; everything that is read comes from the
//! view, the board and the log. Owns HTTP, what a request may say and what an answer looks like (`docs/api.md`,
//! `docs/errors.md`). Does not own what a command means (`state`) or what is wrong with a subscription (`core`). The
//! only crate that knows axum.

mod app;
mod auth;
mod body;
mod browse;
mod conditions;
mod config;
mod cursor;
mod dead_letters;
mod dry_run;
mod error;
mod etag;
mod evaluate;
mod family;
mod health;
mod item;
mod lag;
mod list;
mod metrics;
mod params;
mod patch;
mod problem;
mod quota;
mod requests;
mod secrets;
mod server;
mod stall;
mod starts;
mod status;
mod strict;
mod subscriptions;
mod tail;
mod topics;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Router, middleware};
use fpaas_state::Context;
use tokio::sync::watch;

pub use config::{ApiKey, Config};
pub use error::{Error, Result};
pub use family::{Family, Kind, Labels, Sources};
pub use lag::backlog;
pub use server::serve;

use app::App;

/// Every route. What needs the key is under `/v1`; it answers 503 until `ready`. Whether `/metrics` needs it is for the
/// configuration to say.
pub fn routes(context: Context, config: Config, ready: watch::Receiver<bool>) -> Router {
    let app = Arc::new(App::new(context, config, ready));
    let v1 = Router::new()
        .route("/v1/subscriptions", get(subscriptions::list))
        .route(
            "/v1/subscriptions/{id}",
            get(subscriptions::get)
                .put(subscriptions::put)
                .patch(subscriptions::patch)
                .delete(subscriptions::delete)
                .post(subscriptions::act),
        )
        .route("/v1/subscriptions/{id}/status", get(status::get))
        .route("/v1/subscriptions/{id}/deadLetters", get(dead_letters::get))
        .route("/v1/subscriptions/{id}/secret", get(secrets::get))
        .route("/v1/topics", get(topics::list))
        .route("/v1/topics/{name}", get(topics::get).put(topics::put))
        .route("/v1/topics/{name}/records", get(topics::records))
        .route("/v1/topics/{name}/tail", get(tail::get))
        .route("/v1/jmespath:evaluate", post(evaluate::post))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), auth::require));
    finish(v1.merge(open()), app)
}

/// What every node answers, also one whose API is elsewhere: how it is, and what it counts.
pub fn probes(context: Context, config: Config, ready: watch::Receiver<bool>) -> Router {
    finish(open(), Arc::new(App::new(context, config, ready)))
}

fn open() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::healthy))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::get))
        .method_not_allowed_fallback(problem::method_not_allowed)
}

fn finish(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .fallback(problem::no_such_route)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), metrics::observe))
        .with_state(app)
}
