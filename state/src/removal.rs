//! Removes the topics that tenants have deleted from the log, and frees their names.
//!
//! Every node does it, so that it is done whichever of them dies, and doing it again does no harm: a name is freed by a
//! command, and only from a time on at which no removal that has begun can still be under way. A node that does not
//! know every command there is removes nothing: the name might be another topic's by now.

use std::collections::BTreeMap;
use std::time::Duration;

use fpaas_core::{TenantId, Timestamp, TopicName};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::command::{Change, Command};
use crate::{Context, Error, Result, View};

/// How long stages are given to let go of a topic that no subscription names any more: on this node, and elsewhere.
const GRACE: Duration = Duration::from_secs(1);
const GRACE_ELSEWHERE: Duration = Duration::from_secs(30);
/// How long one may take from the look at what commands there are on, and how late it may arrive at most that another
/// node has begun: what it asks of a broker may wait for as long again.
const WITHIN: Duration = Duration::from_secs(20);
const UNDER_WAY: Duration = Duration::from_secs(120);
/// How long it may take of that until the view is as new as the commands.
const CURRENT_WITHIN: Duration = Duration::from_secs(10);
/// The wait after one that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// A topic, and the revision that deleted it.
type Deleted = (TenantId, TopicName, u64);

/// Runs until `shutdown`. The log of `context` must not ask again by itself: what is asked late is asked of what may
/// be another topic by then.
pub async fn run(context: Context, shutdown: CancellationToken) -> Result<()> {
    let mut views = context.control.views();
    let grace = if context.log.is_shared() { GRACE_ELSEWHERE } else { GRACE };
    let mut waiting = BTreeMap::new();
    loop {
        note(&mut waiting, &views.borrow_and_update(), Instant::now() + grace);
        let next = waiting
            .iter()
            .min_by_key(|(_, due)| **due)
            .map(|(deleted, due): (&Deleted, &Instant)| (deleted.clone(), *due));
        let due = next.as_ref().map(|(_, due)| *due);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            // The other side lives in our context.
            _ = views.changed() => continue,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        let Some((deleted, _)) = next else { continue };
        waiting.insert(deleted.clone(), Instant::now() + AGAIN);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            removed = remove(&context, &deleted) => removed?,
        }
    }
}

/// Adds what is deleted since, and forgets what somebody has freed.
fn note(waiting: &mut BTreeMap<Deleted, Instant>, view: &View, due: Instant) {
    let open = view.deleted.values().filter(|deleted| deleted.free.is_none());
    let open: BTreeMap<Deleted, Instant> =
        open.map(|deleted| ((deleted.tenant.clone(), deleted.name.clone(), deleted.since), due)).collect();
    waiting.retain(|deleted, _| open.contains_key(deleted));
    for (deleted, due) in open {
        waiting.entry(deleted).or_insert(due);
    }
}

/// Once. What may pass, and what an operator has to do something about, is tried again.
async fn remove(context: &Context, (tenant, name, since): &Deleted) -> Result<()> {
    let removed = tokio::time::timeout(WITHIN, removed(context, (tenant, name, *since)));
    match removed.await.unwrap_or(Err(Error::NotApplied)) {
        Ok(true) => info!(%tenant, topic = %name, "removed a deleted topic"),
        Ok(false) | Err(Error::NotApplied) => {}
        Err(Error::Log(error @ (fpaas_log::Error::Retry(_) | fpaas_log::Error::Refused(_)))) => {
            warn!(%tenant, topic = %name, %error, "a deleted topic is not removed yet: it is tried again");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// False where it was not this node's to do, or not yet.
async fn removed(context: &Context, (tenant, name, since): (&TenantId, &TopicName, u64)) -> Result<bool> {
    if !context.control.is_current(CURRENT_WITHIN).await? {
        return Ok(false);
    }
    // Looked at after that: this is what every command there is has come to.
    let view = context.control.view();
    let open = view.deleted.get(&(tenant.clone(), name.clone())).filter(|deleted| deleted.since == since);
    if open.is_none_or(|deleted| deleted.free.is_some()) {
        return Ok(false);
    }
    context.log.delete_topic(&context.topics.of_tenant(tenant, name)).await?;
    if name.is_system() {
        // It goes with its tenant, and so does the delivery log.
        context.log.delete_topic(&context.topics.attempts(tenant)).await?;
    }
    let now = context.clock.now();
    let wait = if context.log.is_shared() { UNDER_WAY } else { Duration::ZERO };
    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let free = Timestamp::from_millis(now.as_millis().saturating_add(wait));
    let change = Change::FreeTopic { name: name.clone(), since, free };
    let id = format!("free/{tenant}/{name}/{since}");
    context.control.submit(Command::new(id, now, tenant.clone(), change)).await?;
    Ok(true)
}
