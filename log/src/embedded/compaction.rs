//! Compaction: of each key only the last record stays, and readers see gaps.
//!
//! A pass reads what was written since the last one and notes each key's last offset, up to a bound in bytes; with it
//! it removes what is older from the whole partition. What did not fit is the next pass's. A tombstone goes too once it
//! is older than the grace: all before it of its key went in the pass that noted it, or in this one.

use std::collections::HashMap;

use fpaas_core::Timestamp;

use super::codec::{self, Parts};
use super::keys;
use super::partition::{Cleaned, Partition};
use super::shared::Shared;
use crate::Result;

/// What one key costs in memory beside its bytes.
const KEY_OVERHEAD: usize = 64;
/// Removals of one write.
const REMOVALS: usize = 1000;
/// A partition with fewer records is compacted whenever something changed.
const SMALL: u64 = 10_000;

/// The last offset of each key.
type Latest = HashMap<Box<[u8]>, u64>;

/// One pass over a partition, where there is enough to gain.
pub(super) fn compact(shared: &Shared, partition: &Partition) -> Result<()> {
    let cleaned = *partition.cleaned();
    let horizon = shared.config.clock.now().minus(shared.config.tombstone_grace);
    let end = partition.tail().end;
    if !is_worthwhile(&cleaned, end, horizon) {
        return Ok(());
    }
    let (latest, upto) = latest(shared, partition, cleaned.upto, end)?;
    let mut pass = Pass { shared, partition, latest, horizon, removed: Vec::new(), left: Cleaned::default() };
    pass.run(upto)?;
    *partition.cleaned() = Cleaned { upto, ..pass.left };
    Ok(())
}

fn is_worthwhile(cleaned: &Cleaned, end: u64, horizon: Timestamp) -> bool {
    let new = end.saturating_sub(cleaned.upto);
    let enough = new > 0 && (cleaned.live < SMALL || new.saturating_mul(4) >= cleaned.live);
    enough || cleaned.oldest_tombstone.is_some_and(|tombstone| tombstone < horizon)
}

/// The last offset of each key from `from` on, and how far it got.
fn latest(shared: &Shared, partition: &Partition, from: u64, end: u64) -> Result<(Latest, u64)> {
    let mut latest = Latest::new();
    let mut bytes = 0;
    let key_of = |offset| keys::record(partition.id, offset);
    let mut scan = shared.disk.scan(key_of(from.max(partition.low()))..key_of(end), false)?;
    while let Some((offset, row)) = scan.get()? {
        let parts = find(shared, row)?;
        if let Some(key) = parts.key(row) {
            if bytes > shared.config.compaction_bytes {
                return Ok((latest, offset));
            }
            if latest.insert(key.into(), offset).is_none() {
                bytes += key.len() + KEY_OVERHEAD;
            }
        }
        scan.step();
    }
    Ok((latest, end))
}

struct Pass<'a> {
    shared: &'a Shared,
    partition: &'a Partition,
    latest: Latest,
    horizon: Timestamp,
    removed: Vec<(u64, u64)>,
    left: Cleaned,
}

impl Pass<'_> {
    fn run(&mut self, upto: u64) -> Result<()> {
        let shared = self.shared;
        let key_of = |offset| keys::record(self.partition.id, offset);
        let mut scan = shared.disk.scan(key_of(self.partition.low())..key_of(upto), false)?;
        while let Some((offset, row)) = scan.get()? {
            let parts = find(shared, row)?;
            if self.is_over(offset, &parts, row) {
                self.removed.push((offset, codec::row_bytes(row)));
            } else {
                self.keep(&parts);
            }
            if self.removed.len() >= REMOVALS {
                self.remove()?;
            }
            scan.step();
        }
        self.remove()
    }

    /// True of a record that another has replaced, and of a tombstone that was there long enough.
    fn is_over(&self, offset: u64, parts: &Parts, row: &[u8]) -> bool {
        let Some(key) = parts.key(row) else { return false };
        let replaced = self.latest.get(key).is_some_and(|last| *last > offset);
        replaced || parts.is_tombstone() && parts.timestamp < self.horizon
    }

    fn keep(&mut self, parts: &Parts) {
        self.left.live += 1;
        if parts.is_tombstone() {
            let oldest = self.left.oldest_tombstone.map_or(parts.timestamp, |oldest| oldest.min(parts.timestamp));
            self.left.oldest_tombstone = Some(oldest);
        }
    }

    /// In order of their offsets: a crash in between leaves no tombstone without what it stands for.
    fn remove(&mut self) -> Result<()> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let _ledger = self.shared.ledger();
        let removed = std::mem::take(&mut self.removed);
        if self.partition.tail().gone {
            return Ok(());
        }
        let (id, family) = (self.partition.id, self.shared.disk.records()?);
        let mut changed = HashMap::new();
        for (offset, bytes) in &removed {
            if let Some(chunk) = self.partition.tally().index.shrink(*offset, *bytes) {
                changed.insert(chunk.end, chunk);
            }
        }
        self.shared.disk.write(|batch| {
            removed.iter().for_each(|(offset, _)| batch.delete_cf(family, keys::record(id, *offset)));
            changed.values().for_each(|chunk| batch.put(keys::chunk(id, chunk.end), chunk.encode()));
            Ok(())
        })
    }
}

fn find(shared: &Shared, row: &[u8]) -> Result<Parts> {
    Parts::find(row).ok_or_else(|| shared.disk.damaged("a record cannot be read"))
}
