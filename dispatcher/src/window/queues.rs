//! Things that wait for their key, those of a key in order; and which keys' are next. Pure.
//!
//! Whatever is asked costs no more the more things wait: a lane may have thousands behind one key. Does not own what
//! holds a key ([`crate::window`]). Invariants: key-order, bounded.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use bytes::Bytes;
use fpaas_core::Offset;

/// What a key waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// For nothing.
    Free,
    /// A set holds it.
    Set,
    /// Something of it is parked.
    Parked,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Queues<T> {
    by_key: HashMap<Option<Bytes>, Queue<T>>,
    /// The first of each key, by what it waits for.
    heads: [BTreeMap<Offset, Option<Bytes>>; 3],
}

/// Never empty.
#[derive(Debug)]
struct Queue<T> {
    hold: Hold,
    things: VecDeque<(Offset, T)>,
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), heads: Default::default() }
    }
}

impl<T> Queues<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The lowest offset that waits.
    pub(super) fn lowest(&self) -> Option<Offset> {
        self.heads.iter().filter_map(|heads| heads.first_key_value()).map(|(offset, _)| *offset).min()
    }

    /// Behind all others of its key, which waits for `hold`.
    pub(super) fn push(&mut self, key: Option<Bytes>, hold: Hold, offset: Offset, thing: T) {
        if let Some(queue) = self.by_key.get_mut(&key) {
            queue.things.push_back((offset, thing));
        } else {
            heads(&mut self.heads, hold).insert(offset, key.clone());
            self.by_key.insert(key, Queue { hold, things: VecDeque::from([(offset, thing)]) });
        }
    }

    /// What a key waits for from here on.
    pub(super) fn hold(&mut self, key: &Bytes, hold: Hold) {
        if self.is_empty() {
            return;
        }
        let key = Some(key.clone());
        let Some(queue) = self.by_key.get_mut(&key) else { return };
        let before = std::mem::replace(&mut queue.hold, hold);
        if before != hold
            && let Some((first, _)) = queue.things.front()
        {
            heads(&mut self.heads, before).remove(first);
            heads(&mut self.heads, hold).insert(*first, key);
        }
    }

    /// The first of all whose keys wait for `hold`.
    pub(super) fn first(&self, hold: Hold) -> Option<(Offset, &T)> {
        let (offset, key) = self.heads_of(hold).first_key_value()?;
        let (_, thing) = self.by_key.get(key)?.things.front()?;
        Some((*offset, thing))
    }

    /// Takes it, where it is the first of its key.
    pub(super) fn take(&mut self, offset: Offset) -> Option<(Option<Bytes>, T)> {
        let key = self.heads.iter_mut().find_map(|heads| heads.remove(&offset))?;
        let queue = self.by_key.get_mut(&key)?;
        let (_, thing) = queue.things.pop_front()?;
        match queue.things.front() {
            Some((next, _)) => drop(heads(&mut self.heads, queue.hold).insert(*next, key.clone())),
            None => drop(self.by_key.remove(&key)),
        }
        Some((key, thing))
    }

    /// The first ones of the keys that wait for `hold`.
    pub(super) fn heads_of(&self, hold: Hold) -> &BTreeMap<Offset, Option<Bytes>> {
        let [free, set, parked] = &self.heads;
        match hold {
            Hold::Free => free,
            Hold::Set => set,
            Hold::Parked => parked,
        }
    }

    /// Offsets of what waits for nothing, in order; of all that waits where `all`.
    pub(super) fn in_order(&self, all: bool) -> impl Iterator<Item = Offset> {
        let holds: &[Hold] = if all { &[Hold::Free, Hold::Set, Hold::Parked] } else { &[Hold::Free] };
        let mut firsts: Vec<_> = holds.iter().map(|hold| self.heads_of(*hold).iter().peekable()).collect();
        // What comes next in the queues whose first ones were named.
        let mut nexts: BinaryHeap<Reverse<(Offset, usize, &Option<Bytes>)>> = BinaryHeap::new();
        std::iter::from_fn(move || {
            let first = firsts.iter_mut().filter_map(|of| of.peek().map(|(offset, _)| **offset)).min();
            let next = nexts.peek().map(|Reverse((offset, ..))| *offset);
            let (offset, key, at) = if first.is_some() && next.is_none_or(|next| first < Some(next)) {
                let found = firsts.iter_mut().find_map(|of| of.next_if(|(offset, _)| Some(**offset) == first));
                found.map(|(offset, key)| (*offset, key, 0))?
            } else {
                nexts.pop().map(|Reverse((offset, at, key))| (offset, key, at))?
            };
            let at = at + 1;
            if let Some((offset, _)) = self.by_key.get(key).and_then(|queue| queue.things.get(at)) {
                nexts.push(Reverse((*offset, at, key)));
            }
            Some(offset)
        })
    }

    /// All of it, in no order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.heads.iter_mut().for_each(BTreeMap::clear);
        self.by_key.drain().flat_map(|(_, queue)| queue.things.into_iter().map(|(_, thing)| thing))
    }
}

fn heads(
    [free, set, parked]: &mut [BTreeMap<Offset, Option<Bytes>>; 3],
    hold: Hold,
) -> &mut BTreeMap<Offset, Option<Bytes>> {
    match hold {
        Hold::Free => free,
        Hold::Set => set,
        Hold::Parked => parked,
    }
}
