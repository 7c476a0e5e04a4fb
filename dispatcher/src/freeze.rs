//! The frozen batch: written down before its first attempt, and made again as it was after a restart.
//!
//! Invariant: frozen-batch. The id is a hash over the row's bytes, so they are kept as they are and never encoded
//! again.

use bytes::Bytes;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::invariant::{self, InvariantId};
use fpaas_core::subscription::{Compression, Format};
use fpaas_core::{BatchId, Offset, Timestamp};
use fpaas_log::Transaction;
use fpaas_state::Mutations;
use fpaas_state::rows::{self, BatchRow};

use crate::body::{self, Delivery, SERIALISER};
use crate::deliver::jitter;
use crate::deliveries::ranges;
use crate::error::{Error, Halt, Step};
use crate::lane::Lane;

/// A batch whose row is durable: its content, bytes and id do not change any more.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What the webhook sees as `webhook-id`.
    pub(crate) id: BatchId,
    /// The key of its row.
    pub(crate) key: String,
    /// What the row says.
    pub(crate) row: BatchRow,
    /// Never none.
    pub(crate) events: Vec<Delivery>,
    /// What is sent, each time.
    pub(crate) body: Bytes,
}

/// A batch whose row is made and not durable yet: it goes into a transaction, and is a batch once that is committed.
#[derive(Debug)]
pub(crate) struct Freezing {
    key: String,
    /// As it is written: the id is a hash over it.
    bytes: Bytes,
    row: BatchRow,
    events: Vec<Delivery>,
}

impl Freezing {
    /// The first offset that is in it.
    pub(crate) fn first(&self) -> Offset {
        self.events.first().map_or(Offset::ZERO, |event| event.offset)
    }

    /// It is frozen now and not when it was made.
    pub(crate) fn freeze_at(&mut self, now: Timestamp) -> Step<()> {
        self.row.frozen_at = now;
        self.bytes = rows::encode(&self.row)?;
        Ok(())
    }
}

impl Batch {
    /// The lane's position once it is finished, where no gap is known behind it.
    pub(crate) fn next(&self) -> Offset {
        self.events.last().map_or(Offset::ZERO, |event| event.offset.next())
    }
}

impl Lane {
    /// The frozen batch that was in flight when the lane last stopped, if there is one; what follows it is read next.
    pub(crate) async fn restore(&mut self) -> Step<Option<Batch>> {
        let position = self.position().await?;
        self.trimmer.passed(position).await?;
        self.deliveries.found_at(position, jitter());
        let mut found = self.shared.tables.scan(self.lease.slot, &rows::batch_prefix(&self.at));
        let Some((key, bytes)) = found.pop() else {
            self.deliveries.seek(position);
            return Ok(None);
        };
        let row: BatchRow = rows::decode(&key, &bytes)?;
        if !found.is_empty() || row.offsets.first().is_none_or(|(first, _)| *first < position) {
            return Err(unusable(key, "it stands beside another one, or below the lane's position"));
        }
        let known = row.serialiser == SERIALISER && row.format == Format::Json && row.compression == Compression::None;
        if !known {
            return Err(unusable(key, "a newer version of fpaas made it"));
        }
        match self.deliveries.again(&row).await? {
            Some(events) => Ok(Some(self.batch(key, &bytes, row, events))),
            None => Err(unusable(key, "its deliveries are not all there")),
        }
    }

    /// Makes a batch of `events` durable. No attempt is made before this is done.
    pub(crate) async fn freeze(&self, events: Vec<Delivery>) -> Step<Batch> {
        let freezing = self.freezing(events)?;
        let (mut transaction, mut mutations) = (Transaction::under(&self.lease), Mutations::default());
        self.put(&freezing, &mut transaction, &mut mutations);
        crashpoint::hit(Point::LaneBeforeFreeze);
        self.commit_repeatable(transaction, mutations).await?;
        crashpoint::hit(Point::LaneAfterFreeze);
        Ok(self.frozen(freezing))
    }

    /// The row of a batch of `events`, to go into a transaction ([`Lane::put`]).
    pub(crate) fn freezing(&self, events: Vec<Delivery>) -> Step<Freezing> {
        let row = BatchRow {
            offsets: ranges(&events),
            events: u32::try_from(events.len()).unwrap_or(u32::MAX),
            frozen_at: self.shared.context.clock.now(),
            format: Format::Json,
            compression: Compression::None,
            serialiser: SERIALISER,
        };
        let key = rows::batch_key(&self.at, events.first().map_or(Offset::ZERO, |event| event.offset));
        Ok(Freezing { key, bytes: rows::encode(&row)?, row, events })
    }

    pub(crate) fn put(&self, freezing: &Freezing, transaction: &mut Transaction, mutations: &mut Mutations) {
        let Freezing { key, bytes, row, .. } = freezing;
        let (tables, slot) = (&self.shared.tables, self.lease.slot);
        tables.put_bytes(transaction, mutations, slot, key.clone(), Some(bytes.clone()), row.frozen_at);
    }

    /// The transaction with its row is committed.
    pub(crate) fn frozen(&self, Freezing { key, bytes, row, events }: Freezing) -> Batch {
        self.counters.batches.add(1);
        self.batch(key, &bytes, row, events)
    }

    fn batch(&self, key: String, bytes: &Bytes, row: BatchRow, events: Vec<Delivery>) -> Batch {
        let first = events.first().map_or(Offset::ZERO, |event| event.offset);
        let same = key == rows::batch_key(&self.at, first) && row.offsets == ranges(&events);
        invariant::check(InvariantId::FrozenBatch, same, || format!("the events of {key} are not those of its row"));
        let entry = self.current();
        let id = BatchId::derive(&entry.tenant, &entry.id, entry.incarnation, self.at.partition, bytes);
        let body = body::build(&entry.id, &id, &self.at, &events);
        Batch { id, key, row, events, body }
    }
}

fn unusable(key: String, why: &str) -> Halt {
    Halt::Failed(Error::Frozen { key, why: why.to_owned() })
}
