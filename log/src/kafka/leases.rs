//! What one member of a group holds, shared by the thread that hears of it and by the writers whose transactions it
//! fences.
//!
//! A transaction reads the leases and keeps them until it is decided: a slot is let go of only after that. A lease ends
//! with the membership that it was granted under: librdkafka may join again under another id and tell nobody.
//! Invariant: one-owner.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use fpaas_core::partition::Slot;

use crate::Lease;

/// The writers of one member whose transactions are counted: a live one, and a second one for catch-up.
pub(super) const WRITERS: usize = 2;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Leases {
    group: Arc<str>,
    /// Beside the lock, so that closing waits for nothing.
    open: AtomicBool,
    held: RwLock<Held>,
}

/// The leases while a transaction is under way.
#[derive(Debug)]
pub(super) struct Held {
    slots: BTreeMap<Slot, Slotted>,
}

#[derive(Debug)]
struct Slotted {
    incarnation: u64,
    /// The member id that it was granted to.
    member: Arc<str>,
    /// How many transactions each writer has committed for the slot, by all its owners.
    counts: [AtomicU64; WRITERS],
}

impl Leases {
    pub(super) fn new(group: Arc<str>) -> Self {
        Self { group, open: AtomicBool::new(true), held: RwLock::new(Held { slots: BTreeMap::new() }) }
    }

    /// As they are; they stay so until what is returned is dropped.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.held.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// These slots are the member's of this id, each with a number that no lease had before.
    pub(super) fn grant(&self, slots: &[(Slot, [u64; WRITERS])], next: &AtomicU64, member: &str) -> Vec<Lease> {
        let member: Arc<str> = member.into();
        let granted = slots.iter().map(|(slot, counts)| {
            let incarnation = next.fetch_add(1, Ordering::Relaxed);
            let (member, counts) = (Arc::clone(&member), counts.map(AtomicU64::new));
            (*slot, Slotted { incarnation, member, counts })
        });
        let granted: Vec<_> = granted.collect();
        let leases = granted.iter().map(|(slot, slotted)| self.lease(*slot, slotted.incarnation)).collect();
        self.change(|held| held.slots.extend(granted));
        leases
    }

    fn lease(&self, slot: Slot, incarnation: u64) -> Lease {
        Lease { group: Arc::clone(&self.group), slot, incarnation }
    }

    /// What we hold of these slots. They are still ours.
    pub(super) fn of(&self, slots: &[Slot]) -> Vec<Lease> {
        let held = self.read();
        let lease = |slot: &Slot| held.slots.get(slot).map(|slotted| self.lease(*slot, slotted.incarnation));
        slots.iter().filter_map(lease).collect()
    }

    /// All that we hold.
    pub(super) fn all(&self) -> Vec<Lease> {
        self.of(&Slot::all().collect::<Vec<_>>())
    }

    /// These are ours no more. Waits for the transaction that is under way.
    pub(super) fn revoke(&self, leases: &[Lease]) {
        self.change(|held| held.slots.retain(|slot, _| leases.iter().all(|lease| lease.slot != *slot)));
    }

    /// We are no member any more, and never again: no transaction is begun. Whoever is given the slots waits for one
    /// that is under way (`fence`). What was held stays to be told of.
    pub(super) fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    /// True while the member is one.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }
}

impl Held {
    /// True while this lease is held.
    pub(super) fn holds(&self, group: &str, lease: &Lease) -> bool {
        *lease.group == *group
            && self.slots.get(&lease.slot).is_some_and(|slotted| slotted.incarnation == lease.incarnation)
    }

    /// True where nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// True where a slot is held that was granted to another member id than this.
    pub(super) fn outlives(&self, member: &str) -> bool {
        self.slots.values().any(|slotted| *slotted.member != *member)
    }

    /// True where this slot is held by the member of this id.
    pub(super) fn is_of(&self, slot: Slot, member: &str) -> bool {
        self.slots.get(&slot).is_some_and(|slotted| *slotted.member == *member)
    }

    /// How many transactions of this writer were committed for the slot.
    pub(super) fn count(&self, slot: Slot, writer: usize) -> u64 {
        let counts = self.slots.get(&slot).and_then(|slotted| slotted.counts.get(writer));
        counts.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// It was one more.
    pub(super) fn note(&self, slot: Slot, writer: usize, count: u64) {
        if let Some(of) = self.slots.get(&slot).and_then(|slotted| slotted.counts.get(writer)) {
            of.store(count, Ordering::Relaxed);
        }
    }
}
