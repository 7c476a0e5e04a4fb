//! Slots that a group gives to nobody.
//!
//! A member that is to let go of slots keeps them through one rebalance and, once it has let go, asks for the next one,
//! in which others are given them (KIP-429). One that dies in between and comes back under its name is given what it
//! was to keep, without a rebalance (KIP-345), and asks for none: it has nothing to let go of. What it was to let go of
//! stays nobody's until somebody joins or leaves. So it is looked at who has what, and whoever finds slots that nobody
//! has joins anew: at once where it came back itself, else once it has waited long enough for those who let go. The
//! members look at different times, so that one of them is enough.

use std::time::{Duration, Instant};

use fpaas_core::partition::SLOTS;
use tracing::{debug, warn};

use super::admin::Admin;

/// When it is looked after the last rebalance by one that came back and was given slots at once.
const BACK: Duration = Duration::from_secs(1);
/// When it is looked otherwise, and at each double of it: letting go takes no longer.
const FIRST: Duration = Duration::from_secs(12);
/// Each member looks so much later, at most, as its name has it.
const SPREAD: Duration = Duration::from_secs(8);
/// How far apart the looks are at most.
const LAST: Duration = Duration::from_secs(600);

/// See the module's head. One per member.
#[derive(Debug)]
pub(super) struct Unheld {
    /// No rebalance has come since it was made.
    new: bool,
    /// When the last one came.
    since: Instant,
    /// After how long since then it is looked next.
    next: Duration,
    /// How often slots were seen since then that nobody has.
    seen: u32,
    back: bool,
    /// The first look, where it did not come back.
    first: Duration,
}

impl Unheld {
    /// Of a member that calls itself so, and no other does.
    pub(super) fn new(client_id: &str) -> Self {
        let mixed = client_id.bytes().fold(0_u64, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(byte.into()));
        let first = FIRST + SPREAD.mul_f64((mixed % 1000) as f64 / 1000.0);
        Self { new: true, since: Instant::now(), next: first, seen: 0, back: false, first }
    }

    /// A rebalance has come, and with it so many slots.
    pub(super) fn rebalanced(&mut self, given: usize) {
        self.back = self.new && given > 0;
        let next = if self.back { BACK } else { self.first };
        *self = Self { new: false, since: Instant::now(), next, seen: 0, ..*self };
    }

    /// True where this member, which holds so many slots, is to join anew. Asks the brokers now and then.
    pub(super) fn is_stuck(&mut self, admin: &Admin, group: &str, holds: impl FnOnce() -> usize) -> bool {
        if self.since.elapsed() < self.next {
            return false;
        }
        let holds = holds();
        if holds >= SLOTS as usize {
            self.next += LAST;
            return false;
        }
        let held = match admin.held_now(group) {
            Ok(held) => held,
            Err(failed) => {
                debug!(group, %failed, "who has which slots is not known, asking again");
                None
            }
        };
        self.looked(held, holds)
            .then(|| warn!(group, held, "the group gives slots to nobody: joining it anew"))
            .is_some()
    }

    /// After a look: so many slots have somebody, `None` where the group is about to say so.
    fn looked(&mut self, held: Option<usize>, holds: usize) -> bool {
        let back = std::mem::take(&mut self.back);
        self.next = if back { self.first } else { self.next.saturating_mul(2).min(self.next + LAST) };
        if held.is_none_or(|held| held >= SLOTS as usize) {
            self.seen = 0;
            return false;
        }
        self.seen += 1;
        // Who has none loses nothing by it: the others wait for it to be done.
        back || self.seen > 1 + u32::from(holds > 0)
    }
}

/// How many partitions of `topic` a member has, as the group's leader wrote it (`ConsumerProtocolAssignment`). `None`
/// where it is something else.
pub(super) fn assigned(assignment: &[u8], topic: &str) -> Option<usize> {
    let mut rest = assignment.get(2..)?;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    let (topics, mut found) = (number(take(4)?), 0);
    for _ in 0..topics {
        let length = number(take(2)?);
        let ours = take(length)? == topic.as_bytes();
        let count = number(take(4)?);
        take(count.checked_mul(4)?)?;
        found += if ours { count } else { 0 };
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Option<usize> = Some(SLOTS as usize);

    #[test]
    fn one_that_came_back_joins_anew_at_once_and_once() {
        let mut unheld = Unheld::new("a");
        unheld.rebalanced(32);
        assert_eq!(unheld.next, BACK);
        assert!(unheld.looked(Some(32), 32));
        unheld.rebalanced(32);
        assert_eq!(unheld.next, unheld.first, "it is not new any more");
        assert!(!unheld.looked(Some(32), 32));
    }

    #[test]
    fn others_wait_for_those_who_let_go_and_who_has_nothing_is_the_first() {
        for (holds, looks) in [(0, 2), (5, 3)] {
            let mut unheld = Unheld::new("a");
            unheld.rebalanced(0);
            let joins: Vec<_> = (0..looks).map(|_| unheld.looked(Some(40), holds)).collect();
            assert_eq!((joins.iter().filter(|joins| **joins).count(), joins.last()), (1, Some(&true)), "{holds}");
            assert!(!unheld.looked(ALL, holds));
            assert!(!unheld.looked(Some(40), holds), "it begins anew");
            assert!(!unheld.looked(None, holds));
        }
    }

    #[test]
    fn members_look_at_different_times_and_none_too_early() {
        let looks: std::collections::BTreeSet<_> = ["n1-4f", "n2-9a", "n3-c0"].map(|id| Unheld::new(id).first).into();
        assert!(looks.len() == 3 && looks.iter().all(|first| (FIRST..FIRST + SPREAD).contains(first)), "{looks:?}");
    }

    #[test]
    fn looks_are_further_and_further_apart_up_to_a_bound() {
        let mut unheld = Unheld::new("a");
        let mut apart = Vec::new();
        for _ in 0..10 {
            let before = unheld.next;
            unheld.looked(ALL, 1);
            apart.push(unheld.next - before);
        }
        assert_eq!(apart.first(), Some(&unheld.first));
        assert_eq!(apart.last(), Some(&LAST));
    }

    #[test]
    fn an_assignment_is_read_and_what_is_none_is_not() {
        let mut bytes = vec![0, 3, 0, 0, 0, 2];
        for (topic, count) in [("fpaas.slots", 3_u32), ("other", 2)] {
            bytes.extend([0, u8::try_from(topic.len()).unwrap()]);
            bytes.extend(topic.as_bytes());
            bytes.extend(count.to_be_bytes());
            (0..count).for_each(|partition| bytes.extend(partition.to_be_bytes()));
        }
        bytes.extend([0xff; 4]);
        assert_eq!(assigned(&bytes, "fpaas.slots"), Some(3));
        assert_eq!(assigned(&bytes, "nothing"), Some(0));
        for end in 0..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..end], "fpaas.slots"), None, "{end}");
        }
        assert_eq!(assigned(&[0, 3, 0xff, 0xff, 0xff, 0xff, 0, 0], "x"), None);
    }
}
