//! Whether this node writes the firehose: one slot of the ingest group, and its lease. Invariant: one-owner.
//!
//! The group has all slots like every other; the owner of the slot of `fpaas.ingest` is the one live writer, because
//! one source of `time_us` must stamp all events.

use fpaas_core::partition::Slot;
use fpaas_log::{Ack, Lease, Membership, MembershipEvent};

use crate::error::{Error, Result};

/// The membership, and our slot's lease while we have it.
#[derive(Debug)]
pub(crate) struct Holding {
    membership: Membership,
    slot: Slot,
    lease: Option<Lease>,
}

impl Holding {
    /// Nothing is assigned yet.
    pub(crate) const fn new(membership: Membership, slot: Slot) -> Self {
        Self { membership, slot, lease: None }
    }

    pub(crate) const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Our slot's lease, as soon as we have it. Cancel-safe.
    pub(crate) async fn held(&mut self) -> Result<Lease> {
        loop {
            if let Some(lease) = &self.lease {
                return Ok(lease.clone());
            }
            drop(self.next().await?);
        }
    }

    /// Resolves when the lease is no longer ours: dropping what is returned says that our work has stopped.
    /// Cancel-safe.
    pub(crate) async fn gone(&mut self) -> Result<Option<Ack>> {
        while self.lease.is_some() {
            let ack = self.next().await?;
            if self.lease.is_none() {
                return Ok(ack);
            }
        }
        Ok(None)
    }

    async fn next(&mut self) -> Result<Option<Ack>> {
        match self.membership.next().await {
            Some(MembershipEvent::Assigned(leases)) => {
                let ours = leases.into_iter().find(|lease| lease.slot == self.slot);
                self.lease = ours.or(self.lease.take());
                Ok(None)
            }
            Some(MembershipEvent::Revoked(leases, ack)) => {
                self.give_up(&leases);
                Ok(Some(ack))
            }
            Some(MembershipEvent::Lost(leases)) => {
                self.give_up(&leases);
                Ok(None)
            }
            None => Err(Error::Replaced),
        }
    }

    fn give_up(&mut self, leases: &[Lease]) {
        if leases.iter().any(|lease| lease.slot == self.slot) {
            self.lease = None;
        }
    }
}
