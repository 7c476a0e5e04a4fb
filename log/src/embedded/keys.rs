//! The keys of all rows: how records, watermarks, chunks and positions are ordered on the disk.
//!
//! All numbers are big-endian, so that the order of the bytes is the order of the numbers. Topics go by a number that
//! is never used again: a topic made anew under an old name finds nothing of the old one.

use std::ops::Range;

/// A partition by its topic's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PartitionId {
    pub(super) topic: u32,
    pub(super) number: u32,
}

pub(super) const NEXT_TOPIC: &[u8] = b"n";
pub(super) const STARTS: &[u8] = b"s";
/// How many writes there were: part of each.
pub(super) const WRITES: &[u8] = b"w";

const TOPIC: u8 = b't';
const END: u8 = b'e';
const LOW: u8 = b'l';
const CHUNK: u8 = b'x';
const POSITION: u8 = b'p';

/// Where a record stands: `[topic u32][partition u32][offset u64]`.
pub(super) fn record(id: PartitionId, offset: u64) -> [u8; 16] {
    ((u128::from(id.topic) << 96) | (u128::from(id.number) << 64) | u128::from(offset)).to_be_bytes()
}

/// The offset in a record's key.
pub(super) fn offset_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// All records of a topic, the first key after them excluded.
pub(super) fn records_of(topic: u32) -> Range<[u8; 16]> {
    let first = |topic| record(PartitionId { topic, number: 0 }, 0);
    first(topic)..first(topic.saturating_add(1))
}

/// The last key a record of a topic can have.
pub(super) fn last_of(topic: u32) -> [u8; 16] {
    record(PartitionId { topic, number: u32::MAX }, u64::MAX)
}

/// A topic's settings by its name.
pub(super) fn topic(name: &str) -> Vec<u8> {
    [&[TOPIC], name.as_bytes()].concat()
}

/// All topics.
pub(super) const TOPICS: &[u8] = &[TOPIC];

/// The end of a partition.
pub(super) fn end(id: PartitionId) -> Vec<u8> {
    of_partition(END, id)
}

/// The low watermark of a partition.
pub(super) fn low(id: PartitionId) -> Vec<u8> {
    of_partition(LOW, id)
}

/// A closed chunk of a partition's index, by its end.
pub(super) fn chunk(id: PartitionId, end: u64) -> Vec<u8> {
    [&of_partition(CHUNK, id)[..], &end.to_be_bytes()].concat()
}

/// All chunks of a partition.
pub(super) fn chunks_of(id: PartitionId) -> Vec<u8> {
    of_partition(CHUNK, id)
}

/// The position of a group.
pub(super) fn position(id: PartitionId, group: &str) -> Vec<u8> {
    [&of_partition(POSITION, id)[..], group.as_bytes()].concat()
}

/// All positions of all groups.
pub(super) const POSITIONS: &[u8] = &[POSITION];

/// Whose position it is.
pub(super) fn position_of(key: &[u8]) -> Option<(PartitionId, &str)> {
    let (id, group) = key.strip_prefix(POSITIONS)?.split_first_chunk::<8>()?;
    let id = u64::from_be_bytes(*id);
    let number = u32::try_from(id & u64::from(u32::MAX)).ok()?;
    let topic = u32::try_from(id >> 32).ok()?;
    Some((PartitionId { topic, number }, std::str::from_utf8(group).ok()?))
}

/// Every kind of row a topic's partitions have beside their records, for its removal.
pub(super) fn rows_of(topic: u32) -> impl Iterator<Item = Range<Vec<u8>>> {
    let first = |kind, topic| of_partition(kind, PartitionId { topic, number: 0 });
    [END, LOW, CHUNK, POSITION].into_iter().map(move |kind| first(kind, topic)..first(kind, topic.saturating_add(1)))
}

fn of_partition(kind: u8, id: PartitionId) -> Vec<u8> {
    [&[kind][..], &id.topic.to_be_bytes(), &id.number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_sort_by_topic_then_partition_then_offset() {
        let key = |topic, number, offset| record(PartitionId { topic, number }, offset);
        let sorted = [key(1, 0, 0), key(1, 0, 1), key(1, 0, 256), key(1, 1, 0), key(2, 0, 0), key(256, 0, u64::MAX)];
        assert!(sorted.is_sorted());
        assert_eq!(offset_of(&key(7, 8, 9)), Some(9));
    }

    #[test]
    fn the_records_of_a_topic_are_a_range_without_its_neighbours() {
        let range = records_of(5);
        let within = |topic, number, offset| range.contains(&record(PartitionId { topic, number }, offset));
        assert!(within(5, 0, 0) && within(5, u32::MAX, u64::MAX));
        assert!(!within(4, u32::MAX, u64::MAX) && !within(6, 0, 0));
    }

    #[test]
    fn a_position_knows_its_group_again() {
        let id = PartitionId { topic: 3, number: 258 };
        assert_eq!(position_of(&position(id, "fpaas.local.router")), Some((id, "fpaas.local.router")));
        assert_eq!(position_of(b"p123"), None);
    }
}
