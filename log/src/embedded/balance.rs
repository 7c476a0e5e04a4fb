//! Which slots move so that every member has its share. Pure; moves as few as possible.

use fpaas_core::partition::Slot;

/// How a slot is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// By nobody.
    Free,
    /// By a member.
    Owned { member: u64, incarnation: u64 },
    /// By a member that was asked to let go of it.
    Leaving { member: u64, incarnation: u64 },
}

impl Holding {
    /// Who may commit under it.
    pub(super) fn member(&self) -> Option<u64> {
        match self {
            Self::Free => None,
            Self::Owned { member, .. } | Self::Leaving { member, .. } => Some(*member),
        }
    }

    /// Which assignment it is.
    pub(super) fn incarnation(&self) -> Option<u64> {
        match self {
            Self::Free => None,
            Self::Owned { incarnation, .. } | Self::Leaving { incarnation, .. } => Some(*incarnation),
        }
    }
}

/// What is to move.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Free slots and their new owners.
    pub(super) assign: Vec<(u64, Vec<Slot>)>,
    /// Owned slots that are above their owners' shares.
    pub(super) revoke: Vec<(u64, Vec<Slot>)>,
}

/// Shares differ by at most one; who has most keeps most. Slots that are on their way count for nobody.
pub(super) fn plan(slots: &[Holding], members: &[u64]) -> Plan {
    let mut plan = Plan::default();
    let mut free = indices(slots, |holding| *holding == Holding::Free).into_iter();
    for (member, owned, share) in shares(slots, members) {
        if owned.len() > share {
            plan.revoke.push((member, owned.into_iter().skip(share).collect()));
        } else {
            let taken: Vec<_> = free.by_ref().take(share - owned.len()).collect();
            if !taken.is_empty() {
                plan.assign.push((member, taken));
            }
        }
    }
    plan
}

/// Each member, the slots it owns and how many it should own.
fn shares(slots: &[Holding], members: &[u64]) -> Vec<(u64, Vec<Slot>, usize)> {
    let owned_by = |id| indices(slots, |holding| matches!(holding, Holding::Owned { member, .. } if *member == id));
    let mut owned: Vec<_> = members.iter().map(|id| (*id, owned_by(*id))).collect();
    owned.sort_by_key(|(id, slots)| (std::cmp::Reverse(slots.len()), *id));
    let count = members.len().max(1);
    let share = |at| slots.len() / count + usize::from(at < slots.len() % count);
    owned.into_iter().enumerate().map(|(at, (id, slots))| (id, slots, share(at))).collect()
}

fn indices(slots: &[Holding], which: impl Fn(&Holding) -> bool) -> Vec<Slot> {
    Slot::all().zip(slots).filter(|(_, holding)| which(holding)).map(|(slot, _)| slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(slots: &mut [Holding], plan: &Plan) {
        for (member, taken) in &plan.revoke {
            for slot in taken {
                assert_eq!(slots[slot.0 as usize].member(), Some(*member));
                slots[slot.0 as usize] = Holding::Free;
            }
        }
        for (member, given) in &plan.assign {
            for slot in given {
                slots[slot.0 as usize] = Holding::Owned { member: *member, incarnation: 0 };
            }
        }
    }

    proptest! {
        #[test]
        fn two_rounds_bring_any_group_into_balance(
            owners in proptest::collection::vec(proptest::option::of(0u64..6), 64),
            count in 1u64..6,
        ) {
            let members: Vec<_> = (0..count).collect();
            let holding = |owner: &Option<u64>| match owner {
                Some(member) if *member < count => Holding::Owned { member: *member, incarnation: 0 },
                _ => Holding::Free,
            };
            let mut slots: Vec<_> = owners.iter().map(holding).collect();
            for _ in 0..2 {
                let next = plan(&slots, &members);
                apply(&mut slots, &next);
            }
            prop_assert_eq!(plan(&slots, &members), Plan::default());
            let owned = |id: u64| slots.iter().filter(|slot| slot.member() == Some(id)).count();
            let sizes: Vec<_> = members.iter().map(|id| owned(*id)).collect();
            prop_assert_eq!(sizes.iter().sum::<usize>(), 64);
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_second_member_takes_half_and_the_first_keeps_the_other_half() {
        let slots = vec![Holding::Owned { member: 1, incarnation: 0 }; 64];
        let plan = plan(&slots, &[1, 2]);
        assert_eq!(plan.assign, []);
        assert_eq!(plan.revoke, [(1, (32..64).map(Slot).collect())]);
    }
}
