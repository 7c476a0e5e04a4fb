//! What a lane's rows say of it: the batches that were frozen, what is parked, what is done above the position.
//!
//! Batches whose events are parked are made again from their rows when they are due; the events of all others are read
//! from the deliveries here. Invariants: frozen-batch, crash-on-corruption.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::invariant::{self, InvariantId};
use fpaas_core::{Offset, Timestamp};
use fpaas_log::{Record, Stored};
use fpaas_state::rows::{self, BatchRow, DoneRow, RetryRow};
use tokio::time::Instant;

use crate::body::Delivery;
use crate::deliveries::Deliveries;
use crate::error::{Halt, Step};
use crate::freeze::{Batch, readable, unusable};
use crate::set::{self, Phase, Retries, Set};
use crate::site::Site;
use crate::window::{Ranges, Window, contains};

/// A frozen batch as its rows have it.
#[derive(Debug)]
struct Found {
    key: String,
    bytes: Bytes,
    row: BatchRow,
    retry: Option<RetryRow>,
    parked: bool,
    events: Vec<Delivery>,
}

/// The lane from `position` on, as its rows have it.
pub(crate) async fn restore(site: &Site, deliveries: &Deliveries, position: Offset) -> Step<Window> {
    let parked: BTreeMap<Offset, Record> = parked(site)?;
    let mut found = found(site, &parked, position)?;
    let done = done(site)?;
    let mut window = Window::at(position);
    let last = |ranges: &Ranges| ranges.last().map(|(_, last)| *last);
    let named = found.values().filter(|found| !found.parked).filter_map(|found| last(&found.row.offsets));
    // What is parked may stand above the position, too.
    if let Some(last) = named.chain(done.iter().filter_map(last)).chain(parked.keys().next_back().copied()).max() {
        let passed = |offset| parked.contains_key(&offset) || done.iter().any(|ranges| contains(ranges, offset));
        read(deliveries, &mut window, &mut found, &passed, last).await?;
        if site.shared.draining {
            // What is below something that is done is finished with it; nothing else begins.
            window.unread_from(last.next());
        }
    }
    done.into_iter().for_each(|ranges| window.note_done(ranges));
    let mut in_sets = BTreeSet::new();
    for (first, found) in found {
        if found.parked {
            in_sets.extend(offsets(&found.row.offsets));
        }
        window.insert(set(site, first, found, &parked)?);
    }
    for (offset, record) in parked.into_iter().filter(|(offset, _)| !in_sets.contains(offset)) {
        window.follow(offset, record.key.clone(), record.bytes());
    }
    Ok(window)
}

fn parked(site: &Site) -> Step<BTreeMap<Offset, Record>> {
    let rows = site.rows(rows::PARKED).into_iter();
    rows.map(|(key, bytes)| {
        let record = rows::parked::decode(&key, &bytes)?;
        // Its key is read again and again, and keeps no row in memory.
        let key_alone = record.key.map(|key| Bytes::copy_from_slice(&key));
        Ok((offset(&key)?, Record { key: key_alone, ..record }))
    })
    .collect()
}

fn found(site: &Site, parked: &BTreeMap<Offset, Record>, position: Offset) -> Step<BTreeMap<Offset, Found>> {
    let mut found = BTreeMap::new();
    for (key, bytes) in site.rows(rows::BATCH) {
        let (first, row) = (offset(&key)?, readable(&key, &bytes)?);
        let retry = site.shared.tables.get::<RetryRow>(site.lease.slot, &site.key(rows::RETRY, first))?;
        let held = offsets(&row.offsets).filter(|offset| parked.contains_key(offset)).count();
        let is_parked = held == row.events as usize;
        if held != 0 && !is_parked {
            return Err(unusable(&key, "some of its events are parked and some are not"));
        }
        if !is_parked && first < position {
            return Err(unusable(&key, "it stands below the lane's position"));
        }
        found.insert(first, Found { key, bytes, row, retry, parked: is_parked, events: Vec::new() });
    }
    Ok(found)
}

fn done(site: &Site) -> Step<Vec<Ranges>> {
    let rows = site.rows(rows::DONE).into_iter();
    rows.map(|(key, bytes)| Ok(rows::decode::<DoneRow>(&key, &bytes)?.offsets)).collect()
}

/// Reads up to `last`: events of frozen batches go to them, what is done or parked nowhere, and all others wait.
async fn read(
    deliveries: &Deliveries,
    window: &mut Window,
    found: &mut BTreeMap<Offset, Found>,
    passed: &(dyn Fn(Offset) -> bool + Sync),
    last: Offset,
) -> Step<()> {
    while window.next() <= last {
        let read = deliveries.clone().fetch(window.next(), Duration::ZERO).await?;
        let nothing = read.events.is_empty() && read.next >= read.end;
        let mut others = Vec::new();
        for event in read.events {
            let owner = found.values_mut().find(|found| !found.parked && contains(&found.row.offsets, event.offset));
            match owner {
                Some(owner) => owner.events.push(event),
                None if passed(event.offset) => {}
                None => others.push(event),
            }
        }
        window.read(others, read.next, read.end, Instant::now());
        if nothing {
            break;
        }
    }
    Ok(())
}

fn set(site: &Site, first: Offset, found: Found, parked: &BTreeMap<Offset, Record>) -> Step<Set> {
    let Found { key, bytes, row, retry, parked: is_parked, events } = found;
    let (keys, size) = if is_parked {
        let records: Vec<_> = offsets(&row.offsets).filter_map(|offset| parked.get(&offset)).collect();
        let keys: BTreeSet<&Bytes> = records.iter().filter_map(|record| record.key.as_ref()).collect();
        (keys.into_iter().cloned().collect(), records.iter().map(|record| record.bytes()).sum())
    } else {
        (set::keys(&events), set::bytes(&events))
    };
    let batch = if is_parked {
        None
    } else if events.len() == row.events as usize {
        Some(Arc::new(site.batch(&bytes, row.clone(), events)))
    } else {
        return Err(unusable(&key, "its deliveries are not all there"));
    };
    let phase = match &retry {
        // A new revision may be what its endpoint was waiting for.
        Some(retry) if retry.revision.is_some_and(|revision| revision != site.current().revision) => Phase::Ready,
        Some(retry) if !site.shared.draining => Phase::Waiting(due(site.shared.context.clock.now(), retry.due)),
        _ => Phase::Ready,
    };
    let retries = retry.as_ref().map(Retries::of).unwrap_or_default();
    Ok(Set {
        first,
        row,
        keys,
        behind: 0,
        bytes: size,
        batch,
        parked: is_parked,
        retries,
        unwritten: false,
        phase,
        taken: None,
    })
}

/// The moment of a time that is written; one that the clock was moved away from is not waited for.
fn due(now: Timestamp, due: Timestamp) -> Instant {
    Instant::now() + due.since(now).min(fpaas_core::limits::RETRY_AFTER_MAX)
}

fn offset(key: &str) -> Step<Offset> {
    rows::lane_offset(key).ok_or_else(|| unusable(key, "its key ends with no offset"))
}

/// All of them.
pub(crate) fn offsets(ranges: &[(Offset, Offset)]) -> impl Iterator<Item = Offset> {
    ranges.iter().flat_map(|(first, last)| (first.0..=last.0).map(Offset))
}

impl Site {
    /// A parked event.
    pub(crate) fn unpark(&self, offset: Offset) -> Step<Delivery> {
        let key = self.key(rows::PARKED, offset);
        let Some(row) = self.shared.tables.get_bytes(self.lease.slot, &key) else {
            return Err(unusable(&key, "the parked event is not there"));
        };
        let record = rows::parked::decode(&key, &row)?;
        Ok(Delivery::new(&self.at, Stored { offset, record }))
    }

    /// The batch of a set whose events are parked, as it was frozen.
    pub(crate) fn thaw(&self, set: &Set) -> Step<Batch> {
        let key = self.key(rows::BATCH, set.first);
        let Some(bytes) = self.shared.tables.get_bytes(self.lease.slot, &key) else {
            return Err(unusable(&key, "its row is not there"));
        };
        let events: Vec<Delivery> =
            offsets(&set.row.offsets).map(|offset| self.unpark(offset)).collect::<Result<_, Halt>>()?;
        invariant::check(InvariantId::FrozenBatch, events.len() == set.row.events as usize, || {
            format!("{key} has {} events and not {}", events.len(), set.row.events)
        });
        Ok(self.batch(&bytes, set.row.clone(), events))
    }
}
