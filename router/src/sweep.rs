//! Finds rows of subscriptions that are gone, for a slot's new owner to remove. Pure.

use fpaas_core::{Incarnation, SubscriptionId, TenantId};
use fpaas_state::View;

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
    let lives = view.subscription(&tenant, &id).is_some_and(|entry| entry.incarnation == incarnation);
    Some(!lives && incarnation.0 <= view.revision)
}
