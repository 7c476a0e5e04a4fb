//! `/v1/subscriptions/{id}/deadLetters`: browsing what was given up on, as any topic's records, with the reasons.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::browse::{self, Wanted};
use crate::item;
use crate::params::{Name, Params};
use crate::problem::Problem;

pub(crate) async fn get(State(app): State<Arc<App>>, Name(name): Name, params: Params) -> Result<Response, Problem> {
    let entry = app.subscription(&name)?;
    let topic = app.context.topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation);
    let readable = app.describe(topic).await?;
    let wanted = Wanted::parse(params, readable.partitions)?;
    Ok(browse::page(&*app.context.log, &readable, wanted).await?.answer(item::dead_letter))
}
