//! Is it there, and can it be used: the two routes without a key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::phase::Phase;

/// That it answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    healthy: bool,
    /// Of the program.
    version: String,
}

/// Whether it can be used.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Readiness {
    ready: bool,
    phase: Phase,
}

/// 200 as long as the process answers.
pub(crate) async fn healthy(State(app): State<Arc<App>>) -> Json<Health> {
    Json(Health { healthy: true, version: app.config.version.clone() })
}

/// 200 while everything runs that this node is to run, whatever the upstream does.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let phase = *app.phase.borrow();
    let ready = phase == Phase::Ready;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, phase }))
}
