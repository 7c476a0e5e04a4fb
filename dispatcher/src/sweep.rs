//! Removes the rows of lanes whose subscription was deleted.
//!
//! Their positions go with their topics. Safe to do again: a row is removed only when the view has seen its
//! subscription's creation and does not have it any more, so a view that is behind removes nothing.

use fpaas_core::partition::Slot;
use fpaas_core::topics::Topics;
use fpaas_core::{Incarnation, SubscriptionId, TenantId};
use fpaas_log::{Lease, Transaction};
use fpaas_state::{Mutations, View, rows};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::error::{Halt, Result};
use crate::site::{Shared, commit_repeatable};

/// The tables whose keys hold the deliveries' name in their second part.
pub(crate) const TABLES: [&str; 8] =
    [rows::BATCH, rows::RETRY, rows::DONE, rows::PARKED, rows::FAILING, rows::ALERTED, rows::REDRIVE, rows::STARTED];

pub(crate) type Deleted = (TenantId, SubscriptionId, Incarnation);

/// Removes from the slot of `lease` what `view` says is deleted.
pub(crate) async fn sweep(shared: &Shared, lease: &Lease, view: &View, shutdown: &CancellationToken) -> Result<()> {
    let (mut transaction, mut mutations) = (Transaction::under(lease), Mutations::default());
    let now = shared.context.clock.now();
    for (key, deleted) in orphans(shared, lease.slot, view) {
        shared.context.board.forget(&deleted.0, &deleted.1, deleted.2);
        shared.tables.remove(&mut transaction, &mut mutations, lease.slot, key, now);
    }
    if transaction.is_empty() {
        return Ok(());
    }
    match commit_repeatable(shared, shutdown, transaction, mutations).await {
        Err(Halt::Failed(error)) => Err(error),
        Err(halt) => {
            debug!(slot = lease.slot.0, ?halt, "rows of deleted subscriptions are removed later");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// The keys of rows whose subscription is gone, and which one that was.
fn orphans(shared: &Shared, slot: Slot, view: &View) -> Vec<(String, Deleted)> {
    let rows = TABLES.iter().flat_map(|table| shared.tables.scan(slot, table));
    let topics = &shared.context.topics;
    rows.filter_map(|(key, _)| deleted(topics, &key, view).map(|deleted| (key, deleted))).collect()
}

/// Whose a row is that is gone.
pub(crate) fn deleted(topics: &Topics, key: &str, view: &View) -> Option<Deleted> {
    let (tenant, _, subscription, incarnation) = topics.parse_internal(key.split('/').nth(1)?)?;
    let (tenant, subscription) = (TenantId::parse(tenant).ok()?, SubscriptionId::parse(subscription).ok()?);
    let known = view.subscription(&tenant, &subscription);
    let gone = view.revision >= incarnation.0 && known.is_none_or(|entry| entry.incarnation != incarnation);
    gone.then_some((tenant, subscription, incarnation))
}
