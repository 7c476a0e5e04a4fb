//! Retention: how far a partition may go, and the disk below its low watermark.
//!
//! First the low watermark moves, which is one small write and at once true for all readers; the records below it are
//! removed after that, or after the next start. Soft limits stop at a hold; at twice the limit records go all the same
//! and are counted.

use std::sync::atomic::Ordering;

use fpaas_core::crashpoint::{self, Point};
use tracing::{error, warn};

use super::codec;
use super::keys;
use super::partition::Partition;
use super::shared::{Shared, Topic};
use super::{admin, compaction, fetch};
use crate::{Result, Retention};

/// Passes from the moment it is started until it is stopped.
pub(super) fn run(shared: &Shared) {
    if !shared.retention.wait() {
        return;
    }
    loop {
        if let Err(error) = pass(shared) {
            error!(%error, "retention ended");
            return shared.wake_all();
        }
        if !shared.retention.pause(shared.config.retention_interval) {
            return;
        }
    }
}

/// Looks at every partition once.
pub(super) fn pass(shared: &Shared) -> Result<()> {
    let topics: Vec<_> = shared.topics().values().cloned().collect();
    for topic in topics {
        for partition in &topic.partitions {
            pass_partition(shared, &topic, partition)?;
        }
    }
    Ok(())
}

fn pass_partition(shared: &Shared, topic: &Topic, partition: &Partition) -> Result<()> {
    let spec = topic.spec();
    if spec.retention != Retention::FOREVER {
        expire(shared, topic, partition, spec.retention)?;
    }
    if spec.compacted {
        compaction::compact(shared, partition)?;
    }
    sweep(shared, partition)
}

/// Raises the low watermark as far as the limits ask for and the holds allow.
fn expire(shared: &Shared, topic: &Topic, partition: &Partition, limits: Retention) -> Result<()> {
    let mut upto = target(shared, partition, limits)?;
    let held_from = partition.held_from().unwrap_or(u64::MAX);
    if upto > held_from {
        let hard = target(shared, partition, twice(limits))?;
        if hard > held_from {
            lose(shared, topic, partition, held_from..hard)?;
        }
        upto = hard.max(held_from);
    }
    let before = partition.low();
    admin::trim(shared, partition, upto)?;
    if partition.low() > before {
        crashpoint::hit(Point::RetentionExpired);
    }
    Ok(())
}

fn twice(limits: Retention) -> Retention {
    let time = limits.time.map(|time| time.saturating_mul(2));
    Retention { time, bytes: limits.bytes.map(|bytes| bytes.saturating_mul(2)) }
}

/// The first offset that the limits let stay.
fn target(shared: &Shared, partition: &Partition, limits: Retention) -> Result<u64> {
    let mut upto = partition.low();
    if let Some(time) = limits.time {
        upto = upto.max(fetch::offset_at(shared, partition, shared.config.clock.now().minus(time))?.0);
    }
    if let Some(bytes) = limits.bytes {
        upto = upto.max(beyond_bytes(shared, partition, bytes)?);
    }
    Ok(upto)
}

/// The first offset from which on the partition has at most `limit` bytes.
fn beyond_bytes(shared: &Shared, partition: &Partition, limit: u64) -> Result<u64> {
    let low = partition.low();
    let (upto, keep) = {
        let tally = partition.tally();
        let excess = tally.index.bytes().saturating_sub(limit);
        let (upto, left) = tally.index.whole_chunks(low, excess);
        (upto, tally.index.span(upto).filter(|_| left > 0).map(|(span, chunk)| (span.end, chunk.bytes - left)))
    };
    let Some((end, keep)) = keep else { return Ok(upto) };
    let records = sizes(shared, partition, upto..end)?;
    let mut rest: u64 = records.iter().map(|(_, bytes)| bytes).sum();
    let stays = records.iter().find(|(_, bytes)| {
        let stays = rest <= keep;
        rest -= bytes;
        stays
    });
    Ok(stays.map_or(end, |(offset, _)| *offset))
}

/// Offset and bytes of the records of a chunk.
fn sizes(shared: &Shared, partition: &Partition, range: std::ops::Range<u64>) -> Result<Vec<(u64, u64)>> {
    let key = |offset| keys::record(partition.id, offset);
    let mut scan = shared.disk.scan(key(range.start)..key(range.end), false)?;
    let mut sizes = Vec::new();
    while let Some((offset, bytes)) = scan.get()? {
        sizes.push((offset, codec::row_bytes(bytes)));
        scan.step();
    }
    Ok(sizes)
}

/// Counts what goes although it is held.
fn lose(shared: &Shared, topic: &Topic, partition: &Partition, range: std::ops::Range<u64>) -> Result<()> {
    let key = |offset| keys::record(partition.id, offset);
    let mut scan = shared.disk.scan(key(range.start.max(partition.low()))..key(range.end), false)?;
    let mut records = 0;
    while scan.get()?.is_some() {
        records += 1;
        scan.step();
    }
    shared.lost.fetch_add(records, Ordering::Relaxed);
    warn!(topic = %topic.name, partition = partition.id.number, records, upto = range.end,
        "records were removed at the hard limit before they were read");
    Ok(())
}

/// Removes from the disk what is below the low watermark, in whole chunks, so that few deletions cover much.
fn sweep(shared: &Shared, partition: &Partition) -> Result<()> {
    let (upto, swept) = (partition.tally().index.first().min(partition.low()), partition.swept());
    if upto <= swept {
        return Ok(());
    }
    let (key, family) = (|offset| keys::record(partition.id, offset), shared.disk.records()?);
    if shared.disk.scan(key(swept)..key(upto), false)?.get()?.is_some() {
        shared.disk.write(|batch| {
            batch.delete_range_cf(family, key(swept), key(upto));
            Ok(())
        })?;
        crashpoint::hit(Point::RetentionSwept);
        shared.disk.free_files(&key(0), &key(upto - 1))?;
    }
    partition.swept_to(upto);
    Ok(())
}
