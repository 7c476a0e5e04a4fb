//! `/v1/subscriptions/{id}/deadLetters`: browsing what was given up on, as any topic's records, with the reasons.

use axum::response::Response;

use crate::browse::{self, Wanted};
use crate::caller::Caller;
use crate::item;
use crate::params::{Name, Params};
use crate::problem::Problem;

pub(crate) async fn get(caller: Caller, Name(name): Name, params: Params) -> Result<Response, Problem> {
    let entry = caller.subscription(&name)?;
    let topic = caller.app.context.topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation);
    let readable = caller.app.describe(topic, entry.incarnation.0).await?;
    let wanted = Wanted::parse(params, readable.partitions)?;
    Ok(browse::page(&*caller.app.context.log, &readable, wanted).await?.answer(item::dead_letter))
}
