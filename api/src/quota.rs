//! How much of each kind a tenant may have. Does not own the numbers: those are limits, until quotas are there.

use fpaas_core::subscription::Subscription;
use fpaas_core::{SubscriptionId, TenantId, TopicName, limits};

use crate::app::App;
use crate::caller::Caller;
use crate::problem::{Kind, Problem};

/// May this subscription be there, and the output topic that is made with it?
pub(crate) fn check_subscription(
    caller: &Caller,
    id: &SubscriptionId,
    subscription: &Subscription,
) -> Result<(), Problem> {
    if let Some(output) = &subscription.output {
        check_topic(caller, &output.topic)?;
    }
    let (view, tenant) = (caller.app.context.control.view(), &caller.tenant);
    if view.subscription(tenant, id).is_some() {
        return Ok(());
    }
    let theirs = view.subscriptions.keys().filter(|(owner, _)| owner == tenant).count();
    check("subscriptions", theirs, limits::SUBSCRIPTIONS_MAX)
}

/// May this topic be there?
pub(crate) fn check_topic(caller: &Caller, name: &TopicName) -> Result<(), Problem> {
    let (view, tenant) = (caller.app.context.control.view(), &caller.tenant);
    if view.topic(tenant, name).is_some() {
        return Ok(());
    }
    let theirs = view.topics.keys().filter(|(owner, name)| owner == tenant && !name.is_system()).count();
    check("topics", theirs, limits::TOPICS_MAX)
}

/// May the tenant have another key?
pub(crate) fn check_key(caller: &Caller) -> Result<(), Problem> {
    let view = caller.app.context.control.view();
    check("keys", view.keys_of(&caller.tenant).count(), limits::KEYS_MAX)
}

/// May this tenant be there?
pub(crate) fn check_tenant(app: &App, id: &TenantId) -> Result<(), Problem> {
    let view = app.context.control.view();
    if view.has_tenant(id) {
        return Ok(());
    }
    check("tenants", view.tenants.len(), limits::TENANTS_MAX)
}

/// There are `theirs` of a kind already: may there be another one?
fn check(what: &str, theirs: usize, most: usize) -> Result<(), Problem> {
    if theirs < most {
        return Ok(());
    }
    Err(Problem::new(Kind::QuotaExceeded, format!("there may be {most} {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;

    #[test]
    fn a_quota_is_used_up_when_as_many_are_there() {
        assert!(check("topics", 2, 3).is_ok());
        assert_eq!(check("topics", 3, 3).unwrap_err().into_response().status(), 403);
    }
}
