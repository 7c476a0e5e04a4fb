//! `/v1/admin/control`: what a node knows of the control topic, so that an operator can compare nodes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fpaas_state::Digested;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::params::Params;
use crate::problem::Problem;

/// What the commands up to a revision add up to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ControlState")]
pub(crate) struct Known {
    /// Which node this is.
    node: String,
    /// How many commands it has applied.
    revision: u64,
    /// Of all that they have come to: the same on every node at the same revision.
    digest: String,
}

pub(crate) async fn get(State(app): State<Arc<App>>, params: Params) -> Result<Json<Known>, Problem> {
    params.finish()?;
    let Digested { revision, digest } = app.context.control.digest().await?;
    Ok(Json(Known { node: app.context.node.to_string(), revision, digest }))
}
