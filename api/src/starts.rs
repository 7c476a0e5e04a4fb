//! Where a reader begins: a word or a time becomes one offset per partition.

use std::sync::Arc;

use fpaas_core::subscription::StartFrom;
use fpaas_core::{Offset, TopicPartition, rfc3339};
use fpaas_log::Log;

use crate::app::{App, Readable};
use crate::cursor::From;
use crate::problem::Problem;

/// Where `from` is in a partition, now.
pub(crate) async fn resolve(log: &dyn Log, at: &TopicPartition, from: From) -> fpaas_log::Result<Offset> {
    match from {
        From::Earliest => Ok(log.watermarks(at).await?.low),
        From::Latest => Ok(log.watermarks(at).await?.end),
        From::At(time) => log.offset_at(at, time).await,
    }
}

/// The same for every partition of a topic, in their order.
pub(crate) async fn resolve_all(log: &dyn Log, readable: &Readable, from: From) -> fpaas_log::Result<Vec<Offset>> {
    let mut starts = Vec::new();
    for partition in 0..readable.partitions {
        let at = TopicPartition::new(Arc::clone(&readable.topic), partition);
        starts.push(resolve(log, &at, from).await?);
    }
    Ok(starts)
}

/// Where a new subscription starts in each partition of its source. A time that is none was refused before.
pub(crate) async fn of_subscription(app: &App, source: &Readable, start: &StartFrom) -> Result<Vec<Offset>, Problem> {
    let from = match start {
        StartFrom::Earliest => From::Earliest,
        StartFrom::Latest => From::Latest,
        StartFrom::At(text) => rfc3339::parse(text).map_or(From::Latest, From::At),
    };
    Ok(resolve_all(&*app.context.log, source, from).await?)
}
