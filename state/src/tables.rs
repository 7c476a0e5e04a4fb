//! The rows of one stage of one pool, following a compacted changelog topic (partition = slot).
//!
//! A change is put into a [`fpaas_log::Transaction`] first, and into the rows only when that is committed. Rows are
//! held in memory and read back from the changelog when a slot is assigned: they are few (the frozen batches of a lane,
//! a position per subscription and source partition) or bounded (parked events). Invariant: log-before-store.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::invariant::{self, InvariantId};
use fpaas_core::partition::Slot;
use fpaas_core::{Offset, Partition, Timestamp, TopicPartition, limits};
use fpaas_log::{Log, Record, Stored, TopicSpec, Transaction, replay};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, rows};

type Rows = BTreeMap<String, Bytes>;

/// See the module's head. Shared by the tasks of a stage; each slot has one owner.
#[derive(Debug)]
pub struct Tables {
    topic: Arc<str>,
    slots: RwLock<BTreeMap<Slot, Rows>>,
}

/// Changes that ride in a transaction and are applied once it is committed.
#[derive(Debug, Default)]
#[must_use = "changes are applied after the commit"]
pub struct Mutations(Vec<(Slot, String, Option<Bytes>)>);

impl Tables {
    /// The tables whose changelog is `topic`, which is made if it is not there. Holds no row yet.
    pub async fn open(log: &dyn Log, topic: &str) -> Result<Self> {
        log.create_topic(topic, &TopicSpec::compacted(fpaas_core::partition::SLOTS)).await?;
        Ok(Self { topic: topic.into(), slots: RwLock::default() })
    }

    /// Reads the rows of all these slots back, several at a time ([`Tables::restore`]).
    pub async fn restore_all(&self, log: &dyn Log, slots: impl IntoIterator<Item = Slot>) -> Result<()> {
        let restores: Vec<_> = slots.into_iter().map(|slot| self.restore(log, slot)).collect();
        stream::iter(restores).buffer_unordered(limits::RESTORES_MAX).try_collect().await
    }

    /// Reads a slot's rows back, past everything that is appended to its changelog now: what the slot's last owner has
    /// committed may not be readable yet. Nothing of the slot may run before this is done.
    pub async fn restore(&self, log: &dyn Log, slot: Slot) -> Result<()> {
        let at = self.partition(slot);
        let mut rows = Rows::new();
        let each = |stored: Stored| {
            crashpoint::hit(Point::RestoreRunning);
            let key = stored.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            let key = key.ok_or_else(|| unreadable(&at, stored.offset))?;
            apply(&mut rows, key.to_owned(), stored.record.value);
            Ok::<_, Error>(())
        };
        replay(log, &at, Offset::ZERO, each).await?;
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(slot, rows);
        Ok(())
    }

    /// True of a partition of their changelog.
    pub fn is_of(&self, at: &TopicPartition) -> bool {
        at.topic == self.topic
    }

    /// Forgets the rows of a slot that is no longer ours.
    pub fn release(&self, slot: Slot) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }

    /// A row.
    pub fn get<T: DeserializeOwned>(&self, slot: Slot, key: &str) -> Result<Option<T>> {
        self.get_bytes(slot, key).map(|bytes| rows::decode(key, &bytes)).transpose()
    }

    /// A row as the changelog holds it.
    pub fn get_bytes(&self, slot: Slot, key: &str) -> Option<Bytes> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&slot)?.get(key).cloned()
    }

    /// The rows of a slot whose keys start with `prefix`, in the order of their keys.
    pub fn scan(&self, slot: Slot, prefix: &str) -> Vec<(String, Bytes)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let Some(rows) = slots.get(&slot) else { return Vec::new() };
        let from = rows.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, row)| (key.clone(), row.clone())).collect()
    }

    /// Puts a row into `transaction`; [`Tables::apply`] it after the commit.
    pub fn put<T: Serialize>(
        &self,
        transaction: &mut Transaction,
        mutations: &mut Mutations,
        slot: Slot,
        key: String,
        row: &T,
        now: Timestamp,
    ) -> Result<()> {
        let value = rows::encode(row)?;
        self.put_bytes(transaction, mutations, slot, key, Some(value), now);
        Ok(())
    }

    /// Removes a row in `transaction`; [`Tables::apply`] it after the commit.
    pub fn remove(
        &self,
        transaction: &mut Transaction,
        mutations: &mut Mutations,
        slot: Slot,
        key: String,
        now: Timestamp,
    ) {
        self.put_bytes(transaction, mutations, slot, key, None, now);
    }

    /// The same with a value that is already encoded; `None` removes. Invariant: one-owner, since the transaction must
    /// carry the slot's lease.
    pub fn put_bytes(
        &self,
        transaction: &mut Transaction,
        mutations: &mut Mutations,
        slot: Slot,
        key: String,
        value: Option<Bytes>,
        now: Timestamp,
    ) {
        let leased = transaction.leases.iter().any(|lease| lease.slot == slot);
        invariant::check(InvariantId::OneOwner, leased, || {
            format!("{key} of slot {} changes without its lease", slot.0)
        });
        let record =
            Record { key: Some(key.clone().into()), value: value.clone(), timestamp: now, ..Record::default() };
        transaction.append(self.partition(slot), record);
        mutations.0.push((slot, key, value));
    }

    /// The transaction is committed: the rows follow.
    pub fn apply(&self, mutations: Mutations) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        for (slot, key, value) in mutations.0 {
            if let Some(rows) = slots.get_mut(&slot) {
                apply(rows, key, value);
            }
        }
    }

    fn partition(&self, slot: Slot) -> TopicPartition {
        TopicPartition { topic: Arc::clone(&self.topic), partition: Partition(slot.0) }
    }
}

fn apply(rows: &mut Rows, key: String, value: Option<Bytes>) {
    match value {
        Some(value) => rows.insert(key, value),
        None => rows.remove(&key),
    };
}

fn unreadable(at: &TopicPartition, offset: Offset) -> Error {
    Error::Corrupt { what: format!("{at} at offset {offset}"), why: "it has no key".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpaas_log::Lease;

    fn put(leased: Slot, slot: Slot) -> (Transaction, Mutations) {
        let tables = Tables { topic: "t".into(), slots: RwLock::default() };
        let lease = Lease { group: "g".into(), slot: leased, incarnation: 1 };
        let (mut transaction, mut mutations) = (Transaction::under(&lease), Mutations::default());
        let key = "k".to_owned();
        tables.put_bytes(&mut transaction, &mut mutations, slot, key, None, Timestamp::default());
        (transaction, mutations)
    }

    #[test]
    fn a_row_rides_in_the_transaction_of_its_slot() {
        let (transaction, mutations) = put(Slot(7), Slot(7));
        assert_eq!((transaction.appends.len(), mutations.0.len()), (1, 1));
    }

    #[test]
    #[should_panic(expected = "invariant one-owner broken: k of slot 8 changes without its lease")]
    fn a_row_that_changes_under_another_slots_lease_breaks_an_invariant() {
        drop(put(Slot(7), Slot(8)));
    }
}
