//! Reading: records by offset and by time, and waiting at the end.
//!
//! A fetch copies what it found into one buffer and hands out slices of it. It begins at the low watermark, so it never
//! walks over what was removed.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::{Offset, Timestamp, TopicPartition};
use tokio::time::Instant;

use super::codec::Parts;
use super::keys;
use super::partition::Partition;
use super::shared::Shared;
use crate::{Error, FetchBounds, Fetched, Result, Stored};

/// Reads of fewer bytes than this are done where they are asked for: the tail is in memory, and handing such a read
/// to another thread costs more than it does.
const INLINE_BYTES: u64 = 256 * 1024;

/// What [`crate::Log::fetch`] promises.
pub(super) async fn fetch(
    shared: &Arc<Shared>,
    at: &TopicPartition,
    from: Offset,
    bounds: FetchBounds,
) -> Result<Fetched> {
    let partition = shared.partition(at)?;
    if !is_there(shared, &partition, at, from.0)? && !bounds.wait.is_zero() {
        wait(shared, &partition, at, from.0, bounds).await?;
    }
    let reading = Reading { shared: Arc::clone(shared), partition: Arc::clone(&partition), from: from.0, bounds };
    let fetched = if reading.is_small() { reading.read()? } else { blocking(move || reading.read()).await? };
    // Deleted while it was read: what was found may not be all.
    if partition.tail().gone { Err(gone(at)) } else { Ok(fetched) }
}

/// Runs what may take milliseconds where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::Fatal(format!("a task of the log ended: {error}"))),
    }
}

/// Whether there is something at or above `from`, records or a gap.
fn is_there(shared: &Shared, partition: &Partition, at: &TopicPartition, from: u64) -> Result<bool> {
    shared.disk.alive()?;
    let tail = shared.tail_of(partition);
    if tail.gone { Err(gone(at)) } else { Ok(tail.end > from || partition.low() > from) }
}

/// Until there is, or until time is up.
async fn wait(
    shared: &Shared,
    partition: &Partition,
    at: &TopicPartition,
    from: u64,
    bounds: FetchBounds,
) -> Result<()> {
    let mut tail = partition.watch();
    let until = Instant::now() + bounds.wait;
    while !is_there(shared, partition, at, from)? {
        match tokio::time::timeout_at(until, tail.changed()).await {
            Ok(_changed) => {}
            Err(_elapsed) => break,
        }
    }
    Ok(())
}

fn gone(at: &TopicPartition) -> Error {
    Error::NoSuchTopic(at.to_string())
}

/// One fetch.
struct Reading {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    from: u64,
    bounds: FetchBounds,
}

/// A record in the buffer: its offset, where it starts, where its parts are.
type Found = (u64, usize, Parts);

thread_local! {
    /// Gathers a fetch's records before they move into a buffer of exactly their size.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Reading {
    fn is_small(&self) -> bool {
        self.bounds.bytes as u64 <= INLINE_BYTES || self.partition.tally().index.is_near(self.from, INLINE_BYTES)
    }

    fn read(&self) -> Result<Fetched> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let fetched = self.read_into(scratch);
            // One large record must not stay for ever.
            scratch.shrink_to(fpaas_core::limits::FETCH_BYTES_MAX);
            fetched
        })
    }

    /// The end is read before and the low watermark after the scan is made: so the scan sees all that is below the end,
    /// and whatever retention has removed from it is known to be lost.
    fn read_into(&self, scratch: &mut Vec<u8>) -> Result<Fetched> {
        let id = self.partition.id;
        let end = self.shared.tail_of(&self.partition).end;
        let start = self.from.max(self.partition.low());
        if start >= end {
            return Ok(self.fetched(Vec::new(), start, end, start));
        }
        let mut scan = self.shared.disk.scan(keys::record(id, start)..keys::record(id, end), true)?;
        let start = self.from.max(self.partition.low());
        let mut found: Vec<Found> = Vec::new();
        while let Some((offset, bytes)) = scan.get()? {
            if offset >= start && self.take(offset, bytes, scratch, &mut found)?.is_break() {
                return self.finish(&found, scratch, end, start);
            }
            scan.step();
        }
        let mut fetched = self.finish(&found, scratch, end, start)?;
        fetched.next = Offset(end.max(start));
        Ok(fetched)
    }

    /// Breaks when the next record belongs to the next fetch.
    fn take(
        &self,
        offset: u64,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        found: &mut Vec<Found>,
    ) -> Result<ControlFlow<()>> {
        let payload = Parts::payload(bytes);
        let taken = scratch.len().saturating_sub(found.len() * Parts::HEAD);
        if !found.is_empty() && (found.len() >= self.bounds.records || taken + payload > self.bounds.bytes) {
            return Ok(ControlFlow::Break(()));
        }
        let parts = Parts::find(bytes).ok_or_else(|| self.damaged(offset))?;
        found.push((offset, scratch.len(), parts));
        scratch.extend_from_slice(bytes);
        Ok(ControlFlow::Continue(()))
    }

    fn finish(&self, found: &[Found], scratch: &[u8], end: u64, start: u64) -> Result<Fetched> {
        let buffer = Bytes::copy_from_slice(scratch);
        let record = |(offset, base, parts): &Found| {
            parts.clone().record(*offset, &buffer, *base).ok_or_else(|| self.damaged(*offset))
        };
        let records = found.iter().map(record).collect::<Result<Vec<_>>>()?;
        let next = records.last().map_or(start, |last| last.offset.0 + 1);
        Ok(self.fetched(records, next, end, start))
    }

    fn fetched(&self, records: Vec<Stored>, next: u64, end: u64, start: u64) -> Fetched {
        let lost_until = (start > self.from).then_some(Offset(start));
        Fetched { records, next: Offset(next), end: Offset(end), lost_until }
    }

    fn damaged(&self, offset: u64) -> Error {
        let id = self.partition.id;
        self.shared.disk.damaged(&format!("record {offset} of partition {} of topic {}", id.number, id.topic))
    }
}

/// What [`crate::Log::offset_at`] promises: one chunk after the other that may hold such a record.
pub(super) fn offset_at(shared: &Shared, partition: &Partition, time: Timestamp) -> Result<Offset> {
    let end = shared.tail_of(partition).end;
    let mut from = partition.low();
    loop {
        let chunk = partition.tally().index.candidate(from, time);
        let Some(chunk) = chunk.filter(|chunk| chunk.start < end) else { return Ok(Offset(end)) };
        if let Some(offset) = first_at(shared, partition, chunk.start.max(from)..chunk.end.min(end), time)? {
            return Ok(Offset(offset));
        }
        from = chunk.end;
    }
}

fn first_at(
    shared: &Shared,
    partition: &Partition,
    range: std::ops::Range<u64>,
    time: Timestamp,
) -> Result<Option<u64>> {
    let id = partition.id;
    let mut scan = shared.disk.scan(keys::record(id, range.start)..keys::record(id, range.end), false)?;
    while let Some((offset, bytes)) = scan.get()? {
        let parts = Parts::find(bytes).ok_or_else(|| shared.disk.damaged("a record cannot be read"))?;
        if parts.timestamp >= time {
            return Ok(Some(offset));
        }
        scan.step();
    }
    Ok(None)
}
