//! The frozen batch: written down before its first attempt, and made again as it was after a restart.
//!
//! Invariant: frozen-batch. The id is a hash over the row's bytes, so they are kept as they are and never encoded
//! again.

use std::sync::Arc;

use fpaas_core::invariant::{self, InvariantId};
use fpaas_core::{BatchId, Message, Offset, Timestamp};
use fpaas_state::rows::{self, BatchRow};
use tokio::sync::OnceCell;

use crate::body::{Body, Delivery, Head, SERIALISER, Shape};
use crate::error::{Error, Halt, Step};
use crate::making::Making;
use crate::set::Retries;
use crate::site::Site;
use crate::window::ranges;

/// A batch whose row is durable: its content, bytes and id do not change any more.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What the webhook sees as `webhook-id`.
    pub(crate) id: BatchId,
    /// Its first offset.
    pub(crate) first: Offset,
    /// What the row says.
    pub(crate) row: BatchRow,
    /// Never none.
    pub(crate) events: Arc<[Delivery]>,
    pub(crate) head: Head,
    /// What is sent, each time, once it was made.
    body: OnceCell<Body>,
}

/// A batch whose row is on its way into the log: it is a batch once that is committed.
#[derive(Debug)]
pub(crate) struct Freezing {
    pub(crate) row: BatchRow,
    pub(crate) events: Vec<Delivery>,
    /// Its time counts from when it is frozen; that of what another batch has left over counts from that one's.
    pub(crate) fresh: bool,
    /// How often what it is made of was called in vain, and when it is due, where it was.
    pub(crate) retries: Option<(Retries, Timestamp)>,
}

impl Freezing {
    /// Of events that were in no batch.
    pub(crate) fn of(events: Vec<Delivery>, shape: Shape, now: Timestamp) -> Self {
        Self { row: row(&events, shape, now), events, fresh: true, retries: None }
    }

    /// Of what `row` has left over: in the same shape.
    pub(crate) fn left_over(row: &BatchRow, events: Vec<Delivery>, retries: Retries, due: Timestamp) -> Self {
        let row = BatchRow { offsets: offsets(&events), events: count(&events), ..row.clone() };
        Self { row, events, fresh: false, retries: Some((retries, due)) }
    }

    /// The first offset that is in it.
    pub(crate) fn first(&self) -> Offset {
        self.events.first().map_or(Offset::ZERO, |event| event.offset)
    }
}

fn row(events: &[Delivery], shape: Shape, now: Timestamp) -> BatchRow {
    let Shape { format, compression, payload } = shape;
    let (offsets, events) = (offsets(events), count(events));
    BatchRow { offsets, events, frozen_at: now, format, compression, payload, serialiser: SERIALISER }
}

fn offsets(events: &[Delivery]) -> Vec<(Offset, Offset)> {
    ranges(events.iter().map(|event| event.offset))
}

fn count(events: &[Delivery]) -> u32 {
    u32::try_from(events.len()).unwrap_or(u32::MAX)
}

/// A row that this program can make a batch of.
pub(crate) fn readable(key: &str, bytes: &[u8]) -> Step<BatchRow> {
    let row: BatchRow = rows::decode(key, bytes)?;
    if row.serialiser == SERIALISER { Ok(row) } else { Err(unusable(key, "a newer version of fpaas made it")) }
}

impl Site {
    /// The batch of a row that is durable, as `bytes`.
    pub(crate) fn batch(&self, bytes: &[u8], row: BatchRow, events: Vec<Delivery>) -> Batch {
        let same = row.offsets == offsets(&events);
        let first = events.first().map_or(Offset::ZERO, |event| event.offset);
        invariant::check(InvariantId::FrozenBatch, same, || {
            format!("the events of the batch at {first} of {} are not those of its row", self.at)
        });
        let entry = self.current();
        let id = BatchId::derive(&entry.tenant, &entry.id, entry.incarnation, self.at.partition, bytes);
        let head = Head { subscription: entry.id.clone(), id: id.clone(), lane: self.at.clone() };
        Batch { id, first, row, events: events.into(), head, body: OnceCell::new() }
    }
}

impl Batch {
    /// What is sent, each time; made when it is asked for first.
    pub(crate) async fn body(&self, making: &Making) -> Result<&Body, Error> {
        let made = async || making.body(self.head.clone(), Shape::frozen(&self.row), Arc::clone(&self.events)).await;
        let made = self.body.get_or_try_init(made).await;
        made.map_err(|error| Error::Frozen { key: self.id.to_string(), why: error.to_string() })
    }

    /// The events that are in no body, once it was made, and why.
    pub(crate) fn unsendable(&self) -> &[(usize, Message)] {
        self.body.get().map_or(&[], |body| &body.unsendable)
    }

    /// Whether an event is in its body.
    pub(crate) fn sends(&self, index: usize) -> bool {
        self.body.get().is_none_or(|body| body.has(index))
    }
}

pub(crate) fn unusable(key: &str, why: &str) -> Halt {
    Halt::Failed(Error::Frozen { key: key.to_owned(), why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpaas_core::subscription::{Compression, Format};

    /// As rows were written before there were other shapes: the id of a batch is derived from these bytes.
    const PLAIN: &str = r#"{"v":1,"offsets":[[4,5],[9,9]],"events":3,"frozenAt":7,"format":"json","compression":"none","serialiser":1}"#;
    const SHAPED: &str = r#"{"v":1,"offsets":[[4,5],[9,9]],"events":3,"frozenAt":7,"format":"cloudevents-batch","compression":"zstd","payload":"did","serialiser":1}"#;

    #[test]
    fn rows_of_every_shape_are_read_as_they_were_written() {
        let shaped =
            Shape { format: Format::CloudeventsBatch, compression: Compression::Zstd, payload: Some("did".to_owned()) };
        for (text, shape) in [(PLAIN, Shape::default()), (SHAPED, shaped)] {
            let row = readable("batch/x", text.as_bytes()).unwrap();
            assert_eq!(Shape::frozen(&row), shape);
            let events = [4, 5, 9].map(|offset| crate::body::tests::delivery(offset, "a", None));
            let frozen = Freezing::of(events.into(), shape, Timestamp::from_millis(7)).row;
            assert_eq!((rows::encode(&row).unwrap(), &frozen), (text.into(), &row));
        }
        assert!(readable("batch/x", PLAIN.replace(r#""serialiser":1"#, r#""serialiser":2"#).as_bytes()).is_err());
    }
}
