//! Being a member of a stage's group: which slots are ours, as messages.
//!
//! A rebalance never is a callback that escapes the backend: it is an [`MembershipEvent`] in a channel, and a
//! revocation waits (bounded) for its [`Ack`].

use std::sync::Arc;

use fpaas_core::partition::Slot;
use tokio::sync::{mpsc, oneshot};

/// The right to work for one slot, as it was assigned. Every transaction carries the leases it works under; when one is
/// no longer held, the commit is [`crate::Culprit::Fenced`]. Invariant: one-owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The group.
    pub group: Arc<str>,
    /// The slot.
    pub slot: Slot,
    /// Which assignment of this slot it is: a slot that comes back comes with another one.
    pub incarnation: u64,
}

/// What happens to a member.
#[derive(Debug)]
pub enum MembershipEvent {
    /// These slots are ours from now on.
    Assigned(Vec<Lease>),
    /// These slots go to another member: finish or drop their work, then acknowledge.
    Revoked(Vec<Lease>, Ack),
    /// These slots are already another's: drop their work.
    Lost(Vec<Lease>),
}

/// Says that no more work of the revoked slots will be committed. Dropping it says the same.
#[derive(Debug)]
pub struct Ack(Option<oneshot::Sender<()>>);

impl Ack {
    /// An ack and what resolves when it is given.
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), receiver)
    }

    /// Nothing more will come.
    pub fn acknowledge(mut self) {
        self.send();
    }

    fn send(&mut self) {
        if let Some(sender) = self.0.take() {
            // The other side is gone only when the membership is: then nobody waits.
            sender.send(()).ok();
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        self.send();
    }
}

/// A member of a group. Dropping it leaves: its slots go to the others at once.
#[derive(Debug)]
pub struct Membership {
    group: Arc<str>,
    member: Arc<str>,
    events: mpsc::Receiver<MembershipEvent>,
    /// Leaves the group when dropped; the backend's own.
    guard: Box<dyn LeaveGuard>,
}

/// What a backend gives to notice that a member is gone; its `Drop` leaves the group.
pub trait LeaveGuard: Send + Sync + std::fmt::Debug {
    /// So that the backend finds its own guard again in a membership it is given.
    fn as_any(&self) -> &dyn std::any::Any;
}

impl Membership {
    /// For backends.
    pub fn new(
        group: Arc<str>,
        member: Arc<str>,
        events: mpsc::Receiver<MembershipEvent>,
        guard: Box<dyn LeaveGuard>,
    ) -> Self {
        Self { group, member, events, guard }
    }

    /// The group's name.
    pub fn group(&self) -> &Arc<str> {
        &self.group
    }

    /// This member's name.
    pub fn member(&self) -> &Arc<str> {
        &self.member
    }

    /// The backend's guard, for the backend that made it.
    pub fn guard<T: 'static>(&self) -> Option<&T> {
        self.guard.as_any().downcast_ref()
    }

    /// The next thing that happens; `None` once the group is closed or this member was fenced. Cancel-safe.
    pub async fn next(&mut self) -> Option<MembershipEvent> {
        self.events.recv().await
    }
}
