//! Waits at the slots of a pool for what is handed over to them.
//!
//! A task per slot that waits, and none where nothing does. What is found is passed by whoever takes it, so a slot that
//! is looked at again begins where the group stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::partition::Slot;
use fpaas_core::{Offset, Partition, TopicPartition, limits};
use fpaas_log::{Error as LogError, FetchBounds, Log};
use tokio::task::{AbortHandle, JoinSet};
use tracing::warn;

use super::parcel::{Arrived, Reading};
use crate::Result;

/// How often what the log refuses is tried again: an operator has to do something about it.
const REFUSED_AGAIN: Duration = Duration::from_secs(15);

/// What was handed over to a slot and is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The group's position.
    pub from: Offset,
    /// In the order in which they were handed over.
    pub arrived: Vec<Arrived>,
    /// Behind all of it.
    pub next: Offset,
}

/// See the module's head.
#[derive(Debug)]
pub struct Looking {
    log: Arc<dyn Log>,
    group: Arc<str>,
    topic: Arc<str>,
    tasks: JoinSet<(Slot, u64, Result<Found>)>,
    slots: BTreeMap<Slot, (u64, AbortHandle)>,
    begun: u64,
}

impl Looking {
    pub(super) fn new(log: Arc<dyn Log>, group: Arc<str>, topic: Arc<str>) -> Self {
        Self { log, group, topic, tasks: JoinSet::new(), slots: BTreeMap::new(), begun: 0 }
    }

    /// Looks at these slots, and at no other any more.
    pub fn at(&mut self, slots: &[Slot]) {
        let wanted: BTreeSet<Slot> = slots.iter().copied().collect();
        self.slots.retain(|slot, (_, task)| {
            let keep = wanted.contains(slot);
            if !keep {
                task.abort();
            }
            keep
        });
        for slot in wanted {
            if self.slots.contains_key(&slot) {
                continue;
            }
            self.begun += 1;
            let (serial, at) =
                (self.begun, TopicPartition { topic: Arc::clone(&self.topic), partition: Partition(slot.0) });
            let (log, group) = (Arc::clone(&self.log), Arc::clone(&self.group));
            let task = self.tasks.spawn(async move { (slot, serial, look(&*log, &group, &at).await) });
            self.slots.insert(slot, (serial, task));
        }
    }

    /// What was found since it was asked last: one slot at least, waits for ever where none is looked at. Cancel-safe.
    pub async fn found(&mut self) -> Result<Vec<(Slot, Found)>> {
        let mut found = Vec::new();
        loop {
            let ended = match self.tasks.try_join_next() {
                Some(ended) => ended,
                None if !found.is_empty() => return Ok(found),
                None => match self.tasks.join_next().await {
                    Some(ended) => ended,
                    None => return std::future::pending().await,
                },
            };
            match ended {
                Ok((slot, serial, of)) if self.slots.get(&slot).is_some_and(|(now, _)| *now == serial) => {
                    self.slots.remove(&slot);
                    found.push((slot, of?));
                }
                Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                // It was not wanted any more.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Returns once something is there, with all that is.
async fn look(log: &dyn Log, group: &str, at: &TopicPartition) -> Result<Found> {
    loop {
        match read(log, group, at).await {
            Err(crate::Error::Log(why @ (LogError::Refused(_) | LogError::NoSuchTopic(_)))) => {
                warn!(%at, %why, "what is handed over to a pool cannot be read");
                tokio::time::sleep(REFUSED_AGAIN).await;
            }
            found => return found,
        }
    }
}

async fn read(log: &dyn Log, group: &str, at: &TopicPartition) -> Result<Found> {
    let position = log.positions(group, std::slice::from_ref(at)).await?.into_iter().flatten().next();
    let from = position.map_or(Offset::ZERO, |position| position.offset);
    let (mut reading, mut next) = (Reading::default(), from);
    loop {
        let wait = if reading.is_whole() { Duration::ZERO } else { limits::FETCH_WAIT_MAX };
        let fetched = log.fetch(at, next, FetchBounds::waiting(wait)).await?;
        for stored in &fetched.records {
            reading.add(stored)?;
        }
        next = fetched.next;
        if reading.is_whole() && (fetched.records.is_empty() || next >= fetched.end) {
            return Ok(Found { from, arrived: reading.into_arrived(), next });
        }
    }
}
