//! Finds rows of subscriptions that are gone, for a slot's new owner to remove. Pure.

use std::collections::BTreeSet;

use fpaas_core::topics::Topics;
use fpaas_core::{Incarnation, PoolId, SubscriptionId, TenantId};
use fpaas_state::{View, rows};

/// Which of these keys of scan rows belong to nobody. A row that is younger than the view is left alone.
pub(crate) fn orphans<'k>(keys: impl Iterator<Item = &'k str>, view: &View) -> Vec<String> {
    keys.filter(|key| is_orphan(key, view).unwrap_or(false)).map(ToOwned::to_owned).collect()
}

/// `None` of a key that is none of a scan row.
pub(crate) fn is_orphan(key: &str, view: &View) -> Option<bool> {
    let mut parts = key.split('/').skip(1);
    let tenant = TenantId::parse(parts.next()?).ok()?;
    let id = SubscriptionId::parse(parts.next()?).ok()?;
    let incarnation = Incarnation(parts.next()?.parse().ok()?);
    let found = view.subscription(&tenant, &id).filter(|entry| entry.incarnation == incarnation);
    if key.starts_with(rows::REPLAY) && found.is_some() {
        let since: u64 = parts.next()?.parse().ok()?;
        let lives = found?.replay.as_ref().is_some_and(|replay| replay.since == since);
        return Some(!lives && since <= view.revision);
    }
    let lives = found.is_some();
    Some(!lives && incarnation.0 <= view.revision)
}

/// Which of these keys of started rows are of topics that nobody of the pool reads: there need not be a position on
/// them any more, and a topic that is made again under such a name has none.
pub(crate) fn unread<'k>(
    keys: impl Iterator<Item = &'k str>,
    view: &View,
    pool: &PoolId,
    names: &Topics,
) -> Vec<String> {
    let theirs = view.subscriptions.values().filter(|entry| entry.pool == *pool);
    let read: BTreeSet<_> = theirs.map(|entry| names.of_tenant(&entry.tenant, &entry.config.source.topic)).collect();
    let is_unread = |key: &&str| rows::split_partition(key).is_some_and(|(_, at)| !read.contains(&*at.topic));
    keys.filter(is_unread).map(ToOwned::to_owned).collect()
}
