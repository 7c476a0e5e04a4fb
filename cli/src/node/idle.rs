//! Knows when a run is over: recordings read to their end, and every position at the end of what it reads.
//!
//! Reads positions and rows from the log and nothing from the stages: what it sees is what is committed.

use std::time::Duration;

use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_state::{Context, Standings, SubscriptionEntry};

use crate::exit::Failure;

/// How often positions are looked at once the recordings are read.
const LOOK: Duration = Duration::from_millis(200);

/// Resolves when nothing is left to do.
pub(super) async fn reached(context: &Context, status: &fpaas_ingest::Status) -> Result<(), Failure> {
    status.finished().await;
    let (standings, mut before) = (Standings::default(), None);
    loop {
        let ends = settled(context, &standings).await?;
        // Twice the same, so that a record on its way from one stage to the next is not overlooked.
        if ends.is_some() && ends == before {
            return Ok(());
        }
        before = ends;
        tokio::time::sleep(LOOK).await;
    }
}

/// The ends of everything that is read, or `None` while somebody is behind.
async fn settled(context: &Context, standings: &Standings) -> Result<Option<Vec<Offset>>, Failure> {
    let (view, mut ends) = (context.control.view(), Vec::new());
    if view.moving().next().is_some() {
        return Ok(None);
    }
    // Who is paused has nothing to do.
    for entry in view.subscriptions.values().filter(|entry| !entry.config.is_paused()) {
        let source = context.topics.of_tenant(&entry.tenant, &entry.config.source.topic);
        let deliveries = context.topics.deliveries(&entry.tenant, &entry.id, entry.incarnation);
        for (topic, stage) in [(source, Stage::Router), (deliveries, Stage::Dispatcher)] {
            match at_end(context, entry, &topic, stage).await? {
                Some(more) => ends.extend(more),
                None => return Ok(None),
            }
        }
        // What is parked is passed, and waits for its endpoint.
        let key = (entry.tenant.clone(), entry.id.clone(), entry.incarnation);
        let parked = context.board.at_all(&key, &context.node, context.clock.now()).parked;
        let redrives = fpaas_api::remaining(context, standings, entry).await? > 0;
        if parked > 0 || redrives || catching_up(context, standings, entry).await? {
            return Ok(None);
        }
    }
    Ok(Some(ends))
}

async fn at_end(
    context: &Context,
    entry: &SubscriptionEntry,
    topic: &str,
    stage: Stage,
) -> Result<Option<Vec<Offset>>, Failure> {
    let at = partitions(context, topic).await?;
    let positions = context.log.positions(&context.topics.group(&entry.pool, stage), &at).await?;
    let mut ends = Vec::new();
    for (at, position) in at.iter().zip(positions) {
        let end = context.log.watermarks(at).await?.end;
        if position.map_or(Offset::ZERO, |position| position.offset) < end {
            return Ok(None);
        }
        ends.push(end);
    }
    Ok(Some(ends))
}

/// True while a part of the source is not yet the scan's: the group's position says nothing about that.
async fn catching_up(context: &Context, standings: &Standings, entry: &SubscriptionEntry) -> Result<bool, Failure> {
    let source = context.topics.of_tenant(&entry.tenant, &entry.config.source.topic);
    // What the source was given since begins with its first record.
    let starts = entry.starts.iter().copied().chain(std::iter::repeat(Offset::ZERO));
    for (at, start) in partitions(context, &source).await?.iter().zip(starts) {
        let end = context.log.watermarks(at).await?.end;
        let behind = match standings.of(context, entry, at).await? {
            Some(row) => !row.in_scan && row.position < end,
            None => start < end,
        };
        if behind {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn partitions(context: &Context, topic: &str) -> Result<Vec<TopicPartition>, Failure> {
    let spec = context.log.describe_topic(topic).await?;
    Ok((0..spec.map_or(0, |spec| spec.partitions)).map(|partition| TopicPartition::new(topic, partition)).collect())
}
