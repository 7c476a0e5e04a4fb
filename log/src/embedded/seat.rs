//! A member's seat in its group: joining, leaving, and waiting for slots to be let go of.
//!
//! A slot that is revoked is its old owner's until that one acknowledges, or until `revoke_wait` is over.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::groups::Revocation;
use super::shared::Shared;
use crate::{LeaveGuard, Membership};

/// A member's seat: dropping it leaves the group.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Weak<Shared>,
    group: Arc<str>,
    pub(super) id: u64,
}

impl LeaveGuard for Seat {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.ledger().groups.leave(&self.group, self.id);
        rebalance(&shared, &self.group);
    }
}

/// Joins a group; to be called in a tokio runtime.
pub(super) fn join(shared: &Arc<Shared>, group: &str, member: &str) -> Membership {
    let (group, member): (Arc<str>, Arc<str>) = (group.into(), member.into());
    let (id, events) = shared.ledger().groups.join(&group, &member, Handle::current());
    rebalance(shared, &group);
    let seat = Seat { shared: Arc::downgrade(shared), group: Arc::clone(&group), id };
    Membership::new(group, member, events, Box::new(seat))
}

fn rebalance(shared: &Arc<Shared>, group: &Arc<str>) {
    for revocation in shared.ledger().groups.rebalance(group) {
        let runtime = revocation.runtime.clone();
        // Ends by itself within `revoke_wait`; when the runtime ends before, so does the group.
        drop(runtime.spawn(settle(Arc::downgrade(shared), shared.config.revoke_wait, revocation)));
    }
}

/// Waits until the slots are let go of, or until that took too long; then they are another's.
async fn settle(shared: Weak<Shared>, wait: std::time::Duration, revocation: Revocation) {
    let in_time = tokio::time::timeout(wait, revocation.acknowledged).await.is_ok();
    if !in_time {
        tracing::warn!(group = %revocation.group, "a member did not acknowledge its revoked slots in time: they are taken");
    }
    let Some(shared) = shared.upgrade() else { return };
    shared.ledger().groups.release(&revocation.group, &revocation.incarnations);
    rebalance(&shared, &revocation.group);
}
