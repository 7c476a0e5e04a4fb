//! What an open finds on the disk: topics, watermarks, chunks, positions.

use std::sync::Arc;

use super::codec::{self, Chunk, Parts, TopicRow};
use super::config::EmbeddedConfig;
use super::disk::Disk;
use super::groups::Groups;
use super::index::Index;
use super::keys::{self, PartitionId};
use super::partition::{Partition, Tally};
use super::shared::{Ledger, Positions, Shared, Topic, Topics};
use crate::Result;

/// Reads everything that is kept in memory.
pub(super) fn shared(disk: Disk, config: EmbeddedConfig) -> Result<Shared> {
    let topics = topics(&disk)?;
    let positions = positions(&disk)?;
    let next_topic = u32::try_from(number(&disk, keys::NEXT_TOPIC)?).map_err(|_| disk.damaged("too many topics"))?;
    let groups = Groups::starting_at(count_start(&disk)?);
    let ledger = Ledger { groups, next_topic, ..Ledger::default() };
    Ok(Shared::new(config, disk, topics, positions, ledger))
}

/// Each start has its own range of incarnations: a lease of an earlier start is never good again.
fn count_start(disk: &Disk) -> Result<u64> {
    let start = number(disk, keys::STARTS)? + 1;
    disk.write(|batch| {
        batch.put(keys::STARTS, codec::encode_number(start));
        Ok(())
    })?;
    Ok(start << 32)
}

fn topics(disk: &Disk) -> Result<Topics> {
    let rows = disk.rows(keys::TOPICS)?;
    rows.iter().map(|(key, row)| topic(disk, key, row).map(|topic| (Arc::clone(&topic.name), topic))).collect()
}

fn topic(disk: &Disk, key: &[u8], row: &[u8]) -> Result<Arc<Topic>> {
    let name = key.get(keys::TOPICS.len()..).and_then(|name| std::str::from_utf8(name).ok());
    let row = name.zip(TopicRow::decode(row));
    let (name, row) = row.ok_or_else(|| disk.damaged("a topic's settings cannot be read"))?;
    let ids = (0..row.spec.partitions).map(|number| PartitionId { topic: row.id, number });
    let partitions = ids.map(|id| partition(disk, id)).collect::<Result<_>>()?;
    Ok(Topic::new(row.id, name.into(), &row.spec, partitions))
}

fn partition(disk: &Disk, id: PartitionId) -> Result<Arc<Partition>> {
    let (low, next) = (number(disk, &keys::low(id))?, number(disk, &keys::end(id))?);
    let mut index = Index::restored(low, chunks(disk, id)?);
    count_open_chunk(disk, id, next, &mut index)?;
    Ok(Partition::restored(id, low, Tally { next, index }))
}

fn chunks(disk: &Disk, id: PartitionId) -> Result<Vec<Chunk>> {
    let chunk = |(key, row): &(Box<[u8]>, Box<[u8]>)| Chunk::decode(keys::offset_of(key)?, row);
    let chunks: Option<Vec<_>> = disk.rows(&keys::chunks_of(id))?.iter().map(chunk).collect();
    chunks.ok_or_else(|| disk.damaged("a chunk of an index cannot be read"))
}

/// The open chunk is not stored: its records are counted again.
fn count_open_chunk(disk: &Disk, id: PartitionId, next: u64, index: &mut Index) -> Result<()> {
    let mut scan = disk.scan(keys::record(id, index.open_from())..keys::record(id, next), false)?;
    while let Some((offset, bytes)) = scan.get()? {
        let parts = Parts::find(bytes).ok_or_else(|| disk.damaged("a record cannot be read"))?;
        index.count(offset + 1, codec::row_bytes(bytes), parts.timestamp);
        scan.step();
    }
    Ok(())
}

fn positions(disk: &Disk) -> Result<Positions> {
    let mut positions = Positions::new();
    for (key, row) in disk.rows(keys::POSITIONS)? {
        let found = keys::position_of(&key).zip(codec::decode_position(&row));
        let ((id, group), position) = found.ok_or_else(|| disk.damaged("a position cannot be read"))?;
        positions.entry(group.into()).or_default().insert(id, position);
    }
    Ok(positions)
}

/// A number that starts at zero.
fn number(disk: &Disk, key: &[u8]) -> Result<u64> {
    let Some(row) = disk.row(key)? else { return Ok(0) };
    codec::decode_number(&row).ok_or_else(|| disk.damaged("a number cannot be read"))
}
