//! Which slot a position belongs to, learned from the leases it moves under. Pure.
//!
//! The slot of a position is a hash of what the log does not know (the lane of a subscription, a source partition), so
//! it cannot be computed here. But it is always the same: of the slots under which a position has moved, one was there
//! each time. What was learned is forgotten with the process; across processes a slot's lease has one owner.
//! Invariant: one-owner.

use std::collections::HashMap;
use std::hash::Hash;

use fpaas_core::partition::SLOTS;

use crate::Lease;

/// One bit per slot.
type Slots = u64;

const _: () = assert!(SLOTS <= Slots::BITS);

/// What was learned of the positions of all groups; `K` names one.
#[derive(Debug)]
pub(crate) struct Owners<K>(HashMap<K, Slots>);

impl<K> Default for Owners<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Owners<K> {
    /// Whether all of these may move under these leases; where they may, they are known to from then on.
    pub(crate) fn admit(&mut self, leases: &[Lease], positions: impl Iterator<Item = K> + Clone) -> bool {
        let held = leases.iter().fold(0, |slots, lease| slots | bit(lease));
        let common = |key: &K| self.0.get(key).copied().unwrap_or(Slots::MAX) & held;
        if positions.clone().any(|key| common(&key) == 0) {
            return false;
        }
        positions.for_each(|key| *self.0.entry(key).or_insert(Slots::MAX) &= held);
        true
    }

    /// These are no more.
    pub(crate) fn forget(&mut self, which: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| !which(key));
    }
}

fn bit(lease: &Lease) -> Slots {
    1u64.checked_shl(lease.slot.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpaas_core::partition::Slot;

    fn leases(slots: &[u32]) -> Vec<Lease> {
        slots.iter().map(|slot| Lease { group: "group".into(), slot: Slot(*slot), incarnation: 1 }).collect()
    }

    #[test]
    fn a_position_moves_under_the_slot_that_was_there_each_time() {
        let mut owners = Owners::default();
        let mut moves =
            |slots: &[u32], positions: &[&'static str]| owners.admit(&leases(slots), positions.iter().copied());
        assert!(!moves(&[], &["a"]), "under no slot");
        assert!(moves(&[3, 63], &["a", "b"]));
        assert!(moves(&[63, 4], &["a"]));
        assert!(!moves(&[3], &["a"]), "a is known to be 63's");
        assert!(!moves(&[3], &["b", "a"]), "one of them is not 3's");
        assert!(moves(&[63], &["b"]), "b was not moved with it, and is 3's or 63's");
        assert!(!moves(&[3], &["b"]));
        owners.forget(|key| *key == "a");
        assert!(owners.admit(&leases(&[5]), ["a"].into_iter()));
    }
}
