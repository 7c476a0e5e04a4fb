//! Whatever happens in whatever order, each subscription gets each record from its start on once and in order: the
//! standings against a model that knows no rows, only what each is to have next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fpaas_core::subscription::{Filter, State};
use fpaas_core::{Offset, TopicPartition};
use fpaas_state::SubscriptionEntry;
use fpaas_state::rows::{self, ScanRow};
use proptest::prelude::*;

use super::{NOBODY, Standings};
use crate::Member;
use crate::roster::{Key, Source};
use crate::testing;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// Starts at this share of what was scanned, or so many records beyond.
    Create(f64, u64),
    Delete(usize),
    /// A new revision: who stands out is looked at again.
    Change(usize),
    /// Paused, or going on; the lane that is asked to stop for it does so now, or later.
    Pause(usize, bool),
    Resume(usize),
    /// It lacks a topic, or does not any more: no revision says so.
    Lack(usize, bool),
    /// A lane that was asked to stop has stopped.
    Stopped(usize),
    /// The scan takes so many records; what it changes is committed, or the process dies before or after that.
    Scan(u64, Fate),
    /// One record that does not fit for one subscription.
    Defer(usize, Fate),
    /// A lane takes so many records.
    Lane(usize, u64),
    Join(usize),
    /// Deliveries are refused, in the scan or in a lane.
    Refuse(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Committed,
    CrashBefore,
    CrashAfter,
}

fn acts() -> impl Strategy<Value = Act> {
    let fate = || prop_oneof![4 => Just(Fate::Committed), 1 => Just(Fate::CrashBefore), 1 => Just(Fate::CrashAfter)];
    let who = || 0..4usize;
    prop_oneof![
        3 => (0.0..=1.0, prop_oneof![Just(0), 1..9u64]).prop_map(|(share, beyond)| Act::Create(share, beyond)),
        1 => who().prop_map(Act::Delete),
        1 => who().prop_map(Act::Change),
        2 => (who(), any::<bool>()).prop_map(|(who, now)| Act::Pause(who, now)),
        2 => who().prop_map(Act::Resume),
        2 => (who(), any::<bool>()).prop_map(|(who, lacks)| Act::Lack(who, lacks)),
        2 => who().prop_map(Act::Stopped),
        5 => (1..9u64, fate()).prop_map(|(records, fate)| Act::Scan(records, fate)),
        2 => (who(), fate()).prop_map(|(who, fate)| Act::Defer(who, fate)),
        3 => (who(), 1..9u64).prop_map(|(who, records)| Act::Lane(who, records)),
        3 => who().prop_map(Act::Join),
        1 => who().prop_map(Act::Refuse),
    ]
}

/// A subscription, and the record that it is to have next.
struct Owed {
    entry: Arc<SubscriptionEntry>,
    next: u64,
    lacks: bool,
}

struct World {
    at: TopicPartition,
    standings: Standings,
    source: Source,
    subscriptions: BTreeMap<Key, Owed>,
    made: u64,
    position: u64,
    lanes: BTreeMap<Key, u64>,
    /// Lanes that were asked to stop and have not yet.
    stopping: BTreeSet<Key>,
    // What is durable.
    committed: u64,
    rows: BTreeMap<String, ScanRow>,
}

impl World {
    fn new() -> Self {
        let at = TopicPartition::new("fpaas.firehose", 0);
        Self {
            standings: Standings::new(at.clone()),
            at,
            source: Source::default(),
            subscriptions: BTreeMap::new(),
            made: 0,
            position: 0,
            lanes: BTreeMap::new(),
            stopping: BTreeSet::new(),
            committed: 0,
            rows: BTreeMap::new(),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Create(share, beyond) => self.create((self.position as f64 * share) as u64 + beyond),
            Act::Delete(who) => self.with(who, |world, key| drop(world.subscriptions.remove(&key))),
            Act::Change(who) => self.with(who, Self::change),
            Act::Pause(who, now) => self.with(who, |world, key| world.pause(key, now)),
            Act::Resume(who) => self.with(who, Self::resume),
            Act::Lack(who, lacks) => self.with(who, |world, key| world.lack(&key, lacks)),
            Act::Stopped(who) => self.with(who, |world, key| world.stopped(&key)),
            Act::Scan(records, fate) => self.scan(records, None, fate),
            Act::Defer(who, fate) => self.with(who, |world, key| world.scan(1, Some(key), fate)),
            Act::Lane(who, records) => self.with(who, |world, key| world.lane(&key, records)),
            Act::Join(who) => self.with(who, |world, key| world.join(&key)),
            Act::Refuse(who) => self.with(who, |world, key| world.refuse(&key)),
        }
        if matches!(act, Act::Create(..) | Act::Delete(_) | Act::Change(_)) {
            self.follow();
        }
        for (key, owed) in &self.subscriptions {
            let carried = self.source.number(key).is_some_and(|number| self.standings.from()[number] != NOBODY);
            let held = owed.lacks || owed.entry.config.is_paused();
            assert!(!carried || !held, "{key} is held and in the scan");
        }
    }

    fn pause(&mut self, key: Key, now: bool) {
        self.set_state(&key, State::Paused);
        self.follow();
        if now {
            self.stopped(&key);
        }
    }

    fn resume(&mut self, key: Key) {
        self.set_state(&key, State::Active);
        self.follow();
    }

    fn lack(&mut self, key: &Key, lacks: bool) {
        self.subscriptions.get_mut(key).unwrap().lacks = lacks;
        self.follow();
    }

    fn set_state(&mut self, key: &Key, state: State) {
        let entry = Arc::make_mut(&mut self.subscriptions.get_mut(key).unwrap().entry);
        entry.config.state = state;
        entry.revision += 1000;
    }

    fn stopped(&mut self, key: &Key) {
        if self.stopping.remove(key) {
            self.lanes.remove(key);
            if self.standings.lane_ended(&self.source, key) {
                self.follow();
            }
        }
    }

    fn with(&mut self, who: usize, act: impl FnOnce(&mut Self, Key)) {
        if let Some(key) = self.subscriptions.keys().nth(who).cloned() {
            act(self, key);
        }
    }

    fn create(&mut self, start: u64) {
        if self.subscriptions.len() < 4 {
            self.made += 1;
            let entry = testing::entry("s", self.made, Filter::default(), &[start]);
            self.subscriptions.insert(testing::member(&entry).key.clone(), Owed { entry, next: start, lacks: false });
        }
    }

    fn change(&mut self, key: Key) {
        let owed = self.subscriptions.get_mut(&key).unwrap();
        Arc::make_mut(&mut owed.entry).revision += 1000;
    }

    /// As the scan does when its roster changes.
    fn follow(&mut self) {
        let members = self.subscriptions.values().map(|owed| testing::held(&owed.entry, owed.lacks)).collect();
        self.source = Source::new(members);
        let row = |member: &Member| Ok(self.rows.get(&rows::scan_key(&member.entry, &self.at)).cloned());
        let changed = self.standings.follow(&self.source, Offset(self.position), row).unwrap();
        self.position = changed.position.0;
        for key in changed.closed {
            if self.source.number(&key).is_some() {
                self.stopping.insert(key);
            } else {
                self.stopping.remove(&key);
                self.lanes.remove(&key);
                self.standings.lane_ended(&self.source, &key);
            }
        }
        for (member, position) in changed.opened {
            let before = self.lanes.insert(member.key.clone(), position.0);
            assert_eq!(before, None, "two lanes of {}", member.key);
        }
    }

    /// A step of the scan; `without` does not get the record any more and goes on at it in a lane.
    fn scan(&mut self, records: u64, without: Option<Key>, fate: Fate) {
        let without = without.filter(|key| self.carries(key, self.position));
        if fate == Fate::CrashBefore {
            return self.crash();
        }
        for offset in self.position..self.position + records {
            for (number, member) in self.source.members().iter().enumerate() {
                if self.standings.from()[number].0 <= offset && without.as_ref() != Some(&member.key) {
                    deliver(&mut self.subscriptions, &member.key, offset);
                }
            }
        }
        for (key, row) in self.standings.changes() {
            match row {
                Some(row) => drop(self.rows.insert(key.clone(), row.clone())),
                None => drop(self.rows.remove(key)),
            }
        }
        if let Some(key) = &without {
            self.put_row(key, ScanRow { position: Offset(self.position), in_scan: false });
        }
        self.committed = self.position + records;
        for owed in self.subscriptions.values() {
            assert!(self.rows.contains_key(&rows::scan_key(&owed.entry, &self.at)), "a position without a row");
        }
        if fate == Fate::CrashAfter {
            return self.crash();
        }
        let waited_for = self.standings.written();
        if let Some(key) = without {
            self.standings.defer(&self.source, &key);
            assert_eq!(self.lanes.insert(key, self.position), None);
        }
        self.position = self.committed;
        if waited_for {
            self.follow();
        }
    }

    fn carries(&self, key: &Key, offset: u64) -> bool {
        let number = self.source.number(key).unwrap();
        self.standings.from()[number].0 <= offset
    }

    fn put_row(&mut self, key: &Key, row: ScanRow) {
        let entry = &self.subscriptions[key].entry;
        self.rows.insert(rows::scan_key(entry, &self.at), row);
    }

    fn lane(&mut self, key: &Key, records: u64) {
        let Some(from) = self.lanes.get(key).copied() else { return };
        let to = (from + records).min(self.position);
        if to <= from {
            return;
        }
        (from..to).for_each(|offset| deliver(&mut self.subscriptions, key, offset));
        self.put_row(key, ScanRow { position: Offset(to), in_scan: false });
        self.lanes.insert(key.clone(), to);
    }

    fn join(&mut self, key: &Key) {
        self.lane(key, u64::MAX / 2);
        if self.lanes.contains_key(key) && !self.standings.may_join(key) {
            return;
        }
        if self.lanes.remove(key).is_some() {
            self.standings.join(&self.source, key, Offset(self.position));
        }
    }

    fn refuse(&mut self, key: &Key) {
        if self.stopping.contains(key) {
            self.stopped(key);
        } else if self.lanes.remove(key).is_some() {
            self.standings.lane_ended(&self.source, key);
        } else if self.carries(key, NOBODY.0 - 1) {
            self.standings.leave(&self.source, key, Offset(self.position));
        }
    }

    fn crash(&mut self) {
        self.standings = Standings::new(self.at.clone());
        self.lanes.clear();
        self.stopping.clear();
        self.position = self.committed;
        self.follow();
    }

    /// Everybody is brought to one point beyond all starts.
    fn settle(&mut self) {
        let all: Vec<_> = self.subscriptions.keys().cloned().collect();
        all.iter().for_each(|key| self.lack(key, false));
        all.iter().for_each(|key| self.resume(key.clone()));
        all.iter().for_each(|key| self.stopped(key));
        self.scan(1, None, Fate::Committed);
        all.iter().for_each(|key| self.join(key));
        let end = self.subscriptions.values().map(|owed| owed.next).max().unwrap_or(0).max(self.position) + 1;
        self.scan(end - self.position, None, Fate::Committed);
        for (key, owed) in &self.subscriptions {
            assert_eq!(owed.next, end, "{key}");
        }
    }
}

fn deliver(subscriptions: &mut BTreeMap<Key, Owed>, key: &Key, offset: u64) {
    let owed = subscriptions.get_mut(key).unwrap();
    assert_eq!(owed.next, offset, "{key} gets another record than the next one");
    owed.next += 1;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn each_gets_every_record_from_its_start_on_once_and_in_order(acts in proptest::collection::vec(acts(), 1..60)) {
        let mut world = World::new();
        acts.into_iter().for_each(|act| world.act(act));
        world.settle();
    }
}
