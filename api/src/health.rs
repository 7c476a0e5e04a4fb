//! Is it there, and can it be used: the two routes without a key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;

/// 200 as long as the process answers.
pub(crate) async fn healthy(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"healthy": true, "version": app.config.version}))
}

/// 200 once routes and restored subscriptions work, whatever the upstream does.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let ready = *app.ready.borrow();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready})))
}
