//! The REST API over the control topic and its views.
//!
//! Commands go to the control topic and are answered once they are applied; everything that is read comes from the
//! view, the board and the log. Owns HTTP, what a request may say and what an answer looks like (`docs/api.md`,
//! `docs/errors.md`). Does not own what a command means (`state`) or what is wrong with a subscription (`core`). The
//! only crate that knows axum.

mod app;
mod attempts;
mod auth;
mod body;
mod browse;
mod caller;
mod conditions;
mod config;
mod control;
mod cursor;
mod dead_letters;
mod dry_run;
mod error;
mod etag;
mod evaluate;
mod family;
mod health;
mod item;
mod key;
mod keys;
mod lag;
mod list;
mod mask;
mod messages;
mod metrics;
mod once;
mod openapi;
mod params;
mod patch;
mod phase;
mod problem;
mod program;
mod quota;
mod redrive;
mod replay;
mod requests;
mod routes;
mod secrets;
mod server;
mod share;
mod stall;
mod starts;
mod status;
mod strict;
mod subscriptions;
mod tail;
mod tenants;
mod topics;
mod trial;
mod used;

use std::sync::{Arc, LazyLock};

use axum::{Router, middleware};
use fpaas_state::Context;
use serde_json::Value;
use tokio::sync::watch;

pub use auth::Needs;
pub use config::{ApiKey, Config};
pub use error::{Error, Result};
pub use family::{Family, Kind, Labels, Sources};
pub use lag::backlog;
pub use phase::Phase;
pub use program::{Messages, Webhooks};
pub use redrive::remaining;
pub use routes::{ROUTES, Route};
pub use server::serve;

use app::{App, Served};

/// The OpenAPI document, as `/openapi.json` gives it.
pub static OPENAPI: LazyLock<Value> = LazyLock::new(|| openapi::document(ROUTES.iter().map(Route::described)));
static SERVED: LazyLock<Served> = LazyLock::new(|| openapi::served(&OPENAPI));

/// Every route of [`ROUTES`]. What is under `/v1` needs a key; it answers 503 while the phase is [`Phase::Starting`].
/// Whether `/metrics` needs one is for the configuration to say.
pub fn routes(context: Context, config: Config, phase: watch::Receiver<Phase>) -> Router {
    let app = Arc::new(App::new(context, config, phase, &SERVED));
    finish(routes::guarded(&app).merge(routes::open()), app)
}

/// What every node answers, also one whose API is elsewhere: how it is, and what it counts.
pub fn probes(context: Context, config: Config, phase: watch::Receiver<Phase>) -> Router {
    finish(routes::open(), Arc::new(App::new(context, config, phase, &SERVED)))
}

fn finish(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .fallback(problem::no_such_route)
        .layer(middleware::from_fn(routes::allow))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), metrics::observe))
        .with_state(app)
}
