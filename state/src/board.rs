//! The board: how each subscription fares, counted since the process started.
//!
//! Stages write, the API and the line of progress read. Nothing durable is decided by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use fpaas_core::topics::Stage;
use fpaas_core::{Incarnation, Message, Partition, SubscriptionId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::meter::{Counter, Meter};

/// A subscription as it was made.
pub type Key = (TenantId, SubscriptionId, Incarnation);

/// Counters by subscription, and what other nodes have told of theirs.
#[derive(Debug, Default)]
pub struct Board {
    own: RwLock<HashMap<Key, Arc<Counters>>>,
    others: RwLock<Others>,
}

/// What other nodes have told.
#[derive(Debug, Default)]
pub struct Others {
    /// When each last said that it is there.
    pub nodes: HashMap<String, Timestamp>,
    /// By node, and by what the subscription is called there.
    pub fares: HashMap<String, HashMap<String, Fares>>,
}

/// A node that has said nothing for so long is gone: whoever took over its work speaks for it. Clocks may differ by
/// less.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// What of a subscription can stand still by itself: a partition of its source, or a lane.
type Part = (Stage, Partition);

/// What happened to one subscription since the process started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records its filter passed.
    pub matched: Meter,
    /// Records its `match` failed to evaluate on: no match.
    pub match_errors: Counter,
    /// Batches frozen.
    pub batches: Counter,
    /// Webhook calls begun.
    pub calls: Counter,
    /// Webhook calls that did not acknowledge.
    pub failures: Counter,
    /// Answers that could not be read as results.
    pub bad_responses: Counter,
    /// Events acknowledged.
    pub acknowledged: Meter,
    /// Records written to output topics.
    pub results: Counter,
    /// Events given up on and kept.
    pub dead_letters: Counter,
    /// Events given up on and dropped: as `onExhausted: drop` says, or because no dead letter could be written.
    pub dropped: Counter,
    /// Source offsets that were removed before they were read.
    pub lost: Counter,
    parked: Mutex<BTreeMap<Partition, u64>>,
    last: Mutex<Option<LastOutcome>>,
    stopped: Mutex<BTreeMap<Part, Message>>,
}

/// What is said of a subscription: numbers since the process started, rates per second over the last minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fares {
    /// Records its filter passed.
    pub matched: u64,
    /// Records its `match` failed to evaluate on.
    pub match_errors: u64,
    /// Batches frozen.
    pub batches: u64,
    /// Webhook calls begun.
    pub calls: u64,
    /// Webhook calls that did not acknowledge.
    pub failures: u64,
    /// Answers that could not be read as results.
    pub bad_responses: u64,
    /// Events acknowledged.
    pub acknowledged: u64,
    /// Records written to output topics.
    pub results: u64,
    /// Events given up on and kept.
    pub dead_letters: u64,
    /// Events given up on and dropped.
    pub dropped: u64,
    /// Source offsets that were removed before they were read.
    pub lost: u64,
    /// Events that wait for a retry now, or behind one of their key that does.
    pub parked: u64,
    /// Of `matched`.
    pub matched_rate: f64,
    /// Of `acknowledged`.
    pub acknowledged_rate: f64,
    /// How the last call ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastOutcome>,
    /// Why it, or a part of it, stands still and will not move by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

impl Fares {
    /// True where this has to be told soon: it stands still, or goes on, or its calls end otherwise.
    pub fn is_news(&self, told: &Self) -> bool {
        let end = |of: &Self| of.last.as_ref().map(|last| (last.outcome.clone(), last.status));
        self.stopped != told.stopped || end(self) != end(told)
    }

    /// And what another node says of it.
    pub fn add(&mut self, other: Self) {
        let counts = [
            (&mut self.matched, other.matched),
            (&mut self.match_errors, other.match_errors),
            (&mut self.batches, other.batches),
            (&mut self.calls, other.calls),
            (&mut self.failures, other.failures),
            (&mut self.bad_responses, other.bad_responses),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.results, other.results),
            (&mut self.dead_letters, other.dead_letters),
            (&mut self.dropped, other.dropped),
            (&mut self.lost, other.lost),
            (&mut self.parked, other.parked),
        ];
        counts.into_iter().for_each(|(ours, theirs)| *ours = ours.saturating_add(theirs));
        self.matched_rate += other.matched_rate;
        self.acknowledged_rate += other.acknowledged_rate;
        let is_later = |theirs: &LastOutcome| self.last.as_ref().is_none_or(|ours| ours.time < theirs.time);
        if let Some(last) = other.last.filter(is_later) {
            self.last = Some(last);
        }
        self.stopped = self.stopped.take().or(other.stopped);
    }
}

/// How the last call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastOutcome {
    /// When.
    pub time: Timestamp,
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// `acknowledged`, or why not: `timeout`, `connect`, `status`, `badResponse`…
    pub outcome: String,
    /// A sentence about it, free of secrets.
    pub message: Message,
    /// Which attempt of its batch it was, from 1.
    pub attempt: u32,
}

impl Counters {
    /// How the last call ended.
    pub fn last_outcome(&self) -> Option<LastOutcome> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a call ended.
    pub fn note(&self, outcome: LastOutcome) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// All of it, as it stands.
    pub fn fares(&self) -> Fares {
        Fares {
            matched: self.matched.get(),
            match_errors: self.match_errors.get(),
            batches: self.batches.get(),
            calls: self.calls.get(),
            failures: self.failures.get(),
            bad_responses: self.bad_responses.get(),
            acknowledged: self.acknowledged.get(),
            results: self.results.get(),
            dead_letters: self.dead_letters.get(),
            dropped: self.dropped.get(),
            lost: self.lost.get(),
            parked: self.parked(),
            matched_rate: self.matched.rate(),
            acknowledged_rate: self.acknowledged.rate(),
            last: self.last_outcome(),
            stopped: self.stopped(),
        }
    }

    /// How many events are parked in the lanes that are run here.
    pub fn parked(&self) -> u64 {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Notes how many are parked in a lane; none where it is not run here any more.
    pub fn note_parked(&self, lane: Partition, events: usize) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if events == 0 {
            parked.remove(&lane)
        } else {
            parked.insert(lane, events as u64)
        };
    }

    /// Why the subscription, or a part of it, stands still and will not move by itself, if so.
    pub fn stopped(&self) -> Option<String> {
        self.parts_stopped().values().next().map(ToString::to_string)
    }

    /// Which parts of a stage stand still.
    pub fn parts_of(&self, stage: Stage) -> Vec<Partition> {
        self.parts_stopped().keys().filter(|(of, _)| *of == stage).map(|(_, partition)| *partition).collect()
    }

    /// Notes that a part of it stands still.
    pub fn note_stopped(&self, stage: Stage, partition: Partition, why: impl Into<Message>) {
        self.parts_stopped().insert((stage, partition), why.into());
    }

    /// Notes that a part of it moves, or will: why others stand still stays.
    pub fn note_moving(&self, stage: Stage, partition: Partition) {
        self.parts_stopped().remove(&(stage, partition));
    }

    fn parts_stopped(&self) -> MutexGuard<'_, BTreeMap<Part, Message>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a subscription is called where nodes tell of it.
pub fn name((tenant, id, incarnation): &Key) -> String {
    format!("{tenant}/{id}/{incarnation}")
}

impl Board {
    /// The counters of a subscription; made at the first call.
    pub fn of(&self, tenant: &TenantId, id: &SubscriptionId, incarnation: Incarnation) -> Arc<Counters> {
        let key = (tenant.clone(), id.clone(), incarnation);
        if let Some(found) = self.own.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(found);
        }
        Arc::clone(self.own.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }

    /// The same, where there are any.
    pub fn get(&self, tenant: &TenantId, id: &SubscriptionId, incarnation: Incarnation) -> Option<Arc<Counters>> {
        let key = (tenant.clone(), id.clone(), incarnation);
        self.own.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// What others have told, to be kept up to date.
    pub fn others(&self) -> RwLockWriteGuard<'_, Others> {
        self.others.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a subscription fares at all nodes together, of which `node` is this one.
    pub fn at_all(&self, key: &Key, node: &str, now: Timestamp) -> Fares {
        let mut all = self.get(&key.0, &key.1, key.2).map(|counters| counters.fares()).unwrap_or_default();
        let (others, name) = (self.others.read().unwrap_or_else(PoisonError::into_inner), name(key));
        let speaks = |(of, at): &(&String, &Timestamp)| **of != *node && now.since(**at) <= GONE_AFTER;
        for (of, _) in others.nodes.iter().filter(speaks) {
            let fares = others.fares.get(of).and_then(|fares| fares.get(&name));
            fares.into_iter().for_each(|fares| all.add(fares.clone()));
        }
        all
    }

    /// Forgets what is of no subscription that is there.
    pub fn retain(&self, is_there: impl Fn(&Key) -> bool) {
        self.own.write().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_there(key));
    }

    /// What there is to tell: nothing of what nothing has happened to.
    pub fn fares(&self) -> impl Iterator<Item = (Key, Fares)> {
        let all = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = all.iter().map(|(key, counters)| (key.clone(), counters.fares())).collect();
        all.into_iter().filter(|(_, fares)| *fares != Fares::default())
    }

    /// Forgets a subscription that was deleted.
    pub fn forget(&self, tenant: &TenantId, id: &SubscriptionId, incarnation: Incarnation) {
        let key = (tenant.clone(), id.clone(), incarnation);
        self.own.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Sums one counter over all subscriptions.
    pub fn total(&self, pick: impl Fn(&Counters) -> &Counter) -> u64 {
        let all = self.own.read().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|counters| pick(counters).get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_moves_again_does_not_hide_one_that_stands_still() {
        let counters = Counters::default();
        counters.note_stopped(Stage::Dispatcher, Partition(1), "one");
        counters.note_stopped(Stage::Router, Partition(1), "two");
        counters.note_moving(Stage::Dispatcher, Partition(0));
        counters.note_moving(Stage::Router, Partition(1));
        assert_eq!(counters.stopped().as_deref(), Some("one"));
        counters.note_moving(Stage::Dispatcher, Partition(1));
        assert_eq!(counters.stopped(), None);
    }
}
