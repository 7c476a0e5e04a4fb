//! Slots in which nobody knows whether a transaction was committed: what is remembered of them may be older than the
//! log.
//!
//! Whoever gives up on finding out notes the slot before it ends; the service reads the slot's rows again before
//! anything else is done with them. Invariant: offsets-with-effects.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fpaas_core::partition::Slot;
use tokio::sync::Notify;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Unsure {
    slots: Mutex<BTreeSet<Slot>>,
    noted: Notify,
}

impl Unsure {
    /// Of these, too.
    pub(crate) fn note(&self, slots: impl IntoIterator<Item = Slot>) {
        self.slots().extend(slots);
        self.noted.notify_one();
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.slots().contains(&slot)
    }

    /// All of them, to be read again.
    pub(crate) fn take(&self) -> BTreeSet<Slot> {
        std::mem::take(&mut self.slots())
    }

    /// Returns once there is one that was not taken. Cancel-safe.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    fn slots(&self) -> MutexGuard<'_, BTreeSet<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
