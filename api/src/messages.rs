//! `/v1/admin/messages`: which messages the node that is asked writes to its log, changed while it runs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use fpaas_core::{Violation, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::body;
use crate::params::Params;
use crate::problem::Problem;
use crate::strict::Parsed;

/// Which messages are shown.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Messages")]
pub(crate) struct Shown {
    /// Such as `info`, or `warn,fpaas_router=debug`.
    #[schemars(length(min = 1, max = limits::MESSAGES_BYTES_MAX))]
    filter: String,
}

pub(crate) async fn get(State(app): State<Arc<App>>, params: Params) -> Result<Json<Shown>, Problem> {
    params.finish()?;
    Ok(Json(Shown { filter: app.config.messages.get() }))
}

/// Until the node is started again, or its file of settings is read again.
pub(crate) async fn put(State(app): State<Arc<App>>, params: Params, request: Request) -> Result<Json<Shown>, Problem> {
    params.finish()?;
    let wrong = |detail: String| Problem::invalid(vec![Violation::new("/filter", detail)]);
    let asked = Parsed::<Shown>::of(&body::read(request).await?).checked(|asked| {
        let fits = (1..=limits::MESSAGES_BYTES_MAX).contains(&asked.filter.len());
        let detail = format!("must be 1 to {} bytes", limits::MESSAGES_BYTES_MAX);
        (!fits).then(|| Violation::new("/filter", detail)).into_iter().collect()
    });
    let asked = asked.map_err(Problem::invalid)?;
    app.config.messages.set(&asked.filter).map_err(wrong)?;
    Ok(Json(Shown { filter: app.config.messages.get() }))
}
