//! How far readers are behind: positions and ends from the log, where a subscription is on its source from the rows.
//!
//! What `/status`, `/metrics` and the line of progress say is all from here. Decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_state::{Context, Result, Standings, SubscriptionEntry};
use schemars::JsonSchema;
use serde::Serialize;

/// Where a reader is on one partition.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct Place {
    pub(crate) position: Offset,
    pub(crate) end: Offset,
    /// Offsets between them, gaps included: 0 means that nothing is left, and it is never too low.
    pub(crate) lag: u64,
}

impl Place {
    fn new(position: Offset, end: Offset) -> Self {
        Self { position, end, lag: end.0.saturating_sub(position.0) }
    }
}

/// Where a subscription is on one partition of its source.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) at: TopicPartition,
    pub(crate) place: Place,
    /// True while it reads the past beside the scan.
    pub(crate) catching_up: bool,
}

/// Records of sources and deliveries that nobody has passed yet. A source partition counts once, however many
/// subscriptions read it: for the one that is furthest behind.
pub async fn backlog(context: &Context, standings: &Standings) -> Result<u64> {
    let (mut sources, mut deliveries) = (BTreeMap::<TopicPartition, u64>::new(), 0);
    for entry in context.control.view().subscriptions.values() {
        for standing in of_source(context, standings, entry).await? {
            let lag = sources.entry(standing.at).or_default();
            *lag = standing.place.lag.max(*lag);
        }
        let lanes = of_lanes(context, entry).await?;
        deliveries += lanes.iter().map(|(_, place)| place.lag).sum::<u64>();
    }
    Ok(sources.values().sum::<u64>() + deliveries)
}

/// Each partition of the subscription's source; none where the source is not there.
pub(crate) async fn of_source(
    context: &Context,
    standings: &Standings,
    entry: &SubscriptionEntry,
) -> Result<Vec<Standing>> {
    let source = context.topics.of_tenant(&entry.tenant, &entry.config.source.topic);
    let mut found = Vec::new();
    for (at, scan, end) in places(context, entry, &source, Stage::Router).await? {
        let start = entry.starts.get(at.partition.0 as usize).copied().unwrap_or_default();
        let row = standings.of(context, entry, &at).await?;
        // In the scan it is where the scan is, and not before it was let in.
        let (position, in_scan) = match row {
            Some(row) if row.in_scan => (scan.unwrap_or_default().max(row.position), true),
            Some(row) => (row.position, false),
            None => (start, scan.is_none_or(|scan| scan <= start)),
        };
        let catching_up = !in_scan && position < end;
        found.push(Standing { at, place: Place::new(position, end), catching_up });
    }
    Ok(found)
}

/// Each lane of the subscription, by its number; none before they are made.
pub(crate) async fn of_lanes(context: &Context, entry: &SubscriptionEntry) -> Result<Vec<(u32, Place)>> {
    let deliveries = context.topics.deliveries(&entry.tenant, &entry.id, entry.incarnation);
    let places = places(context, entry, &deliveries, Stage::Dispatcher).await?.into_iter();
    let lane = |(at, position, end): (TopicPartition, Option<Offset>, Offset)| {
        (at.partition.0, Place::new(position.unwrap_or_default(), end))
    };
    Ok(places.map(lane).collect())
}

/// Position of the stage's group and end, per partition.
async fn places(
    context: &Context,
    entry: &SubscriptionEntry,
    topic: &str,
    stage: Stage,
) -> Result<Vec<(TopicPartition, Option<Offset>, Offset)>> {
    let (log, group) = (&context.log, context.topics.group(&entry.pool, stage));
    let topic: Arc<str> = topic.into();
    let partitions = log.describe_topic(&topic).await?.map_or(0, |spec| spec.partitions);
    let at: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(Arc::clone(&topic), partition)).collect();
    // Positions before ends: the other way round a position could seem to be beyond the end.
    let positions = log.positions(&group, &at).await?;
    let mut places = Vec::new();
    for (at, position) in at.into_iter().zip(positions) {
        let end = log.watermarks(&at).await?.end;
        places.push((at, position.map(|position| position.offset), end));
    }
    Ok(places)
}
