//! The board: how each subscription fares, counted since the process started.
//!
//! Stages write, the API and the line of progress read. Nothing durable is decided by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fpaas_core::topics::Stage;
use fpaas_core::{Incarnation, Message, Partition, SubscriptionId, TenantId, Timestamp};
use serde::Serialize;

use crate::meter::{Counter, Meter};

type Key = (TenantId, SubscriptionId, Incarnation);

/// Counters by subscription.
#[derive(Debug, Default)]
pub struct Board(RwLock<HashMap<Key, Arc<Counters>>>);

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
    last: Mutex<Option<LastOutcome>>,
    stopped: Mutex<BTreeMap<Part, Message>>,
}

/// How the last call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

    /// Why the subscription, or a part of it, stands still and will not move by itself, if so.
    pub fn stopped(&self) -> Option<String> {
        self.parts_stopped().values().next().map(ToString::to_string)
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

impl Board {
    /// The counters of a subscription; made at the first call.
    pub fn of(&self, tenant: &TenantId, id: &SubscriptionId, incarnation: Incarnation) -> Arc<Counters> {
        let key = (tenant.clone(), id.clone(), incarnation);
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(found);
        }
        Arc::clone(self.0.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }

    /// Forgets a subscription that was deleted.
    pub fn forget(&self, tenant: &TenantId, id: &SubscriptionId, incarnation: Incarnation) {
        let key = (tenant.clone(), id.clone(), incarnation);
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Sums one counter over all subscriptions.
    pub fn total(&self, pick: impl Fn(&Counters) -> &Counter) -> u64 {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
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
