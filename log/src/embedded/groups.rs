//! Groups of this process: who is a member, who owns which slot, and the messages that say so.
//!
//! Who should own what is decided in `balance`, which is pure. A slot that moves is first taken from its owner, who
//! lets go of it (`seat` waits for that); only then is it given to another, with a new incarnation.
//! Invariant: one-owner.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fpaas_core::limits;
use fpaas_core::partition::{SLOTS, Slot};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::balance::{self, Holding, Plan};
use crate::{Ack, Lease, MembershipEvent};

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<Arc<str>, Group>,
    next: u64,
}

#[derive(Debug)]
struct Group {
    members: BTreeMap<Arc<str>, Member>,
    slots: Vec<Holding>,
}

#[derive(Debug)]
struct Member {
    id: u64,
    events: mpsc::Sender<MembershipEvent>,
    runtime: Handle,
}

/// Slots that a member was asked to let go of.
#[derive(Debug)]
pub(super) struct Revocation {
    pub(super) group: Arc<str>,
    pub(super) incarnations: Vec<u64>,
    pub(super) acknowledged: tokio::sync::oneshot::Receiver<()>,
    pub(super) runtime: Handle,
}

impl Groups {
    /// Every number given out is above `next`.
    pub(super) fn starting_at(next: u64) -> Self {
        Self { groups: HashMap::new(), next }
    }

    /// Adds a member; one of the same name is fenced and its slots are free at once.
    pub(super) fn join(&mut self, group: &Arc<str>, name: &Arc<str>, runtime: Handle) -> (u64, Events) {
        self.next += 1;
        let (events, receiver) = mpsc::channel(limits::MEMBER_EVENTS_MAX);
        let member = Member { id: self.next, events, runtime };
        let entry = self.groups.entry(Arc::clone(group)).or_insert_with(Group::new);
        if let Some(fenced) = entry.members.insert(Arc::clone(name), member) {
            entry.bury(group, &fenced);
        }
        (self.next, receiver)
    }

    /// Takes a member out; its slots are free at once.
    pub(super) fn leave(&mut self, group: &str, id: u64) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        entry.members.retain(|_, member| member.id != id);
        entry.free(|holding| holding.member() == Some(id));
        if entry.members.is_empty() {
            self.groups.remove(group);
        }
    }

    /// These leases are over: acknowledged, or not in time.
    pub(super) fn release(&mut self, group: &str, incarnations: &[u64]) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        entry.free(
            |holding| matches!(holding, Holding::Leaving { incarnation, .. } if incarnations.contains(incarnation)),
        );
    }

    /// Moves slots until the group is in balance. What is revoked is to be waited for.
    pub(super) fn rebalance(&mut self, group: &Arc<str>) -> Vec<Revocation> {
        let Some(entry) = self.groups.get_mut(group) else { return Vec::new() };
        let mut revocations = Vec::new();
        // More than one round only where a member turned out not to listen: each round has one fewer.
        loop {
            let plan = entry.plan();
            if plan == Plan::default() {
                return revocations;
            }
            for (id, slots) in plan.assign {
                entry.assign(group, id, &slots, &mut self.next);
            }
            revocations.extend(plan.revoke.into_iter().filter_map(|(id, slots)| entry.revoke(group, id, &slots)));
        }
    }

    /// True while the member is one.
    pub(super) fn is_member(&self, group: &str, id: u64) -> bool {
        self.groups.get(group).is_some_and(|group| group.members.values().any(|member| member.id == id))
    }

    /// True while the lease is the member's.
    pub(super) fn holds(&self, lease: &Lease, id: u64) -> bool {
        let slot = self.groups.get(&lease.group).and_then(|group| group.slots.get(lease.slot.0 as usize));
        slot.is_some_and(|holding| holding.member() == Some(id) && holding.incarnation() == Some(lease.incarnation))
    }
}

/// What a member hears.
pub(super) type Events = mpsc::Receiver<MembershipEvent>;

impl Group {
    fn new() -> Self {
        Self { members: BTreeMap::new(), slots: vec![Holding::Free; SLOTS as usize] }
    }

    fn plan(&self) -> Plan {
        let members: Vec<_> = self.members.values().map(|member| member.id).collect();
        balance::plan(&self.slots, &members)
    }

    fn member(&self, id: u64) -> Option<&Member> {
        self.members.values().find(|member| member.id == id)
    }

    fn free(&mut self, which: impl Fn(&Holding) -> bool) {
        self.slots.iter_mut().filter(|holding| which(holding)).for_each(|holding| *holding = Holding::Free);
    }

    /// A member whose name was taken learns that its slots are gone; then its channel ends.
    fn bury(&mut self, group: &Arc<str>, fenced: &Member) {
        let mut lost = Vec::new();
        for (slot, holding) in Slot::all().zip(&mut self.slots) {
            if let Some(incarnation) = holding.incarnation().filter(|_| holding.member() == Some(fenced.id)) {
                lost.push(Lease { group: Arc::clone(group), slot, incarnation });
                *holding = Holding::Free;
            }
        }
        // A member that does not listen finds out at its next commit.
        fenced.events.try_send(MembershipEvent::Lost(lost)).ok();
    }

    fn assign(&mut self, group: &Arc<str>, id: u64, slots: &[Slot], next: &mut u64) {
        let lease = |slot: &Slot| {
            *next += 1;
            Lease { group: Arc::clone(group), slot: *slot, incarnation: *next }
        };
        let leases: Vec<_> = slots.iter().map(lease).collect();
        for lease in &leases {
            self.set(lease.slot, Holding::Owned { member: id, incarnation: lease.incarnation });
        }
        self.tell(id, MembershipEvent::Assigned(leases));
    }

    fn revoke(&mut self, group: &Arc<str>, id: u64, slots: &[Slot]) -> Option<Revocation> {
        let lease = |slot: &Slot| {
            let incarnation = self.slots.get(slot.0 as usize)?.incarnation()?;
            Some(Lease { group: Arc::clone(group), slot: *slot, incarnation })
        };
        let leases: Vec<_> = slots.iter().filter_map(lease).collect();
        for lease in &leases {
            self.set(lease.slot, Holding::Leaving { member: id, incarnation: lease.incarnation });
        }
        let incarnations = leases.iter().map(|lease| lease.incarnation).collect();
        let (ack, acknowledged) = Ack::new();
        let runtime = self.member(id)?.runtime.clone();
        self.tell(id, MembershipEvent::Revoked(leases, ack));
        Some(Revocation { group: Arc::clone(group), incarnations, acknowledged, runtime })
    }

    fn set(&mut self, slot: Slot, holding: Holding) {
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            *place = holding;
        }
    }

    /// A member that does not listen is fenced: its channel ends, and the next rebalance gives its slots away.
    fn tell(&mut self, id: u64, event: MembershipEvent) {
        let told = self.member(id).is_some_and(|member| member.events.try_send(event).is_ok());
        if !told {
            self.members.retain(|_, member| member.id != id);
            self.free(|holding| holding.member() == Some(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins, and lets everyone who was asked to let go do so.
    fn join(groups: &mut Groups, group: &Arc<str>, name: &str) -> (u64, Events) {
        let joined = groups.join(group, &name.into(), Handle::current());
        settle(groups, group);
        joined
    }

    fn settle(groups: &mut Groups, group: &Arc<str>) {
        for revocation in groups.rebalance(group) {
            groups.release(group, &revocation.incarnations);
        }
        assert!(groups.rebalance(group).is_empty());
    }

    fn owned(groups: &Groups, group: &Arc<str>, id: u64) -> usize {
        groups.groups[group].slots.iter().filter(|holding| holding.member() == Some(id)).count()
    }

    #[tokio::test]
    async fn a_member_that_does_not_listen_is_fenced_and_its_slots_go_to_one_that_does() {
        let (mut groups, group) = (Groups::starting_at(0), "group".into());
        let (deaf, _unread) = join(&mut groups, &group, "deaf");
        let mut coming_and_going = 0;
        while groups.is_member(&group, deaf) {
            let (guest, _events) = join(&mut groups, &group, "guest");
            assert_eq!(owned(&groups, &group, deaf) + owned(&groups, &group, guest), SLOTS as usize);
            groups.leave(&group, guest);
            settle(&mut groups, &group);
            coming_and_going += 1;
            assert!(coming_and_going <= limits::MEMBER_EVENTS_MAX);
        }
        let (guest, _events) = join(&mut groups, &group, "guest");
        assert_eq!(owned(&groups, &group, guest), SLOTS as usize);
    }

    #[tokio::test]
    async fn no_two_leases_are_alike() {
        let (mut groups, group) = (Groups::starting_at(7 << 32), "group".into());
        let mut seen = std::collections::HashSet::new();
        for n in 0..10 {
            let (_, mut events) = join(&mut groups, &group, &format!("member {}", n % 3));
            while let Ok(event) = events.try_recv() {
                if let MembershipEvent::Assigned(leases) = event {
                    assert!(leases.iter().all(|lease| lease.incarnation > 7 << 32 && seen.insert(lease.incarnation)));
                }
            }
        }
        assert!(seen.len() > 64);
    }
}
