//! The sparse index of a partition: what its chunks of records hold, in memory. Pure.
//!
//! A chunk is closed at [`RECORDS`] records or [`BYTES`] bytes and written with the commit that closed it; the open one
//! is counted again at a start. This makes retention and fetch by time exact while touching one chunk.

use std::collections::VecDeque;
use std::ops::Range;

use fpaas_core::Timestamp;

use super::codec::Chunk;

/// A chunk's records at most.
pub(super) const RECORDS: u64 = 1000;
/// A chunk's bytes, unless its last record is larger.
pub(super) const BYTES: u64 = 1024 * 1024;

/// The chunks of a partition, the open one last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Where the first chunk starts: what is below it was forgotten.
    first: u64,
    closed: VecDeque<Chunk>,
    open: Chunk,
}

impl Index {
    /// From the closed chunks that were stored, of a partition with this low watermark: nothing is left below it, so
    /// that is where the first of them starts now.
    pub(super) fn restored(low: u64, closed: impl IntoIterator<Item = Chunk>) -> Self {
        let closed: VecDeque<_> = closed.into_iter().collect();
        let end = closed.back().map_or(low, |chunk| chunk.end);
        Self { first: low, closed, open: Chunk { end, ..Chunk::default() } }
    }

    /// Where the open chunk starts.
    pub(super) fn open_from(&self) -> u64 {
        self.closed.back().map_or(self.first, |chunk| chunk.end)
    }

    /// Where the first chunk starts.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Counts a record that ends before `end`. A chunk that became full with it is to be stored.
    pub(super) fn push(&mut self, end: u64, bytes: u64, timestamp: Timestamp) -> Option<Chunk> {
        self.count(end, bytes, timestamp);
        let full = self.open.records >= RECORDS || self.open.bytes >= BYTES;
        full.then(|| {
            self.closed.push_back(self.open);
            std::mem::replace(&mut self.open, Chunk { end, ..Chunk::default() })
        })
    }

    /// Counts a record of the open chunk and leaves it open.
    pub(super) fn count(&mut self, end: u64, bytes: u64, timestamp: Timestamp) {
        let open = &mut self.open;
        let newest = if open.records == 0 { timestamp } else { open.newest.max(timestamp) };
        *open = Chunk { end, records: open.records + 1, bytes: open.bytes + bytes, newest };
    }

    /// The bytes of all records, those below the low watermark in the first chunk included.
    pub(super) fn bytes(&self) -> u64 {
        self.spans().map(|(_, chunk)| chunk.bytes).sum()
    }

    /// True where less than `bytes` lie between `from` and the end.
    pub(super) fn is_near(&self, from: u64, bytes: u64) -> bool {
        let mut between = 0;
        let beyond = self.closed.iter().rev().take_while(|chunk| chunk.end > from);
        std::iter::once(&self.open).chain(beyond).all(|chunk| {
            between += chunk.bytes;
            between < bytes
        })
    }

    /// The first chunk that reaches beyond `from` and holds a record of `time` or later.
    pub(super) fn candidate(&self, from: u64, time: Timestamp) -> Option<Range<u64>> {
        let mut beyond = self.spans().filter(|(range, _)| range.end > from);
        beyond.find(|(_, chunk)| chunk.records > 0 && chunk.newest >= time).map(|(range, _)| range)
    }

    /// How far whole chunks can go so that `excess` bytes are not more than removed, and what of `excess` is left.
    pub(super) fn whole_chunks(&self, low: u64, mut excess: u64) -> (u64, u64) {
        let mut upto = low;
        for (range, chunk) in self.spans().filter(|(range, _)| range.end > low) {
            if chunk.bytes > excess {
                break;
            }
            excess -= chunk.bytes;
            upto = range.end;
        }
        (upto, excess)
    }

    /// The chunk that `offset` is in.
    pub(super) fn span(&self, offset: u64) -> Option<(Range<u64>, Chunk)> {
        self.spans().find(|(range, _)| range.contains(&offset))
    }

    /// Forgets the chunks that are wholly below `low`; these were closed and their rows can go.
    pub(super) fn forget_below(&mut self, low: u64) -> Vec<Chunk> {
        let mut gone = Vec::new();
        while let Some(chunk) = self.closed.pop_front_if(|chunk| chunk.end <= low) {
            gone.push(chunk);
        }
        self.first = gone.last().map_or(self.first, |chunk| chunk.end);
        if self.closed.is_empty() && self.open.end <= low {
            self.open = Chunk { end: self.open.end, ..Chunk::default() };
        }
        gone
    }

    /// A record of `bytes` at `offset` was removed; the chunk it was in, if that one is stored.
    pub(super) fn shrink(&mut self, offset: u64, bytes: u64) -> Option<Chunk> {
        let at = self.closed.partition_point(|chunk| chunk.end <= offset);
        let closed = self.closed.get_mut(at);
        let stored = closed.is_some();
        let chunk = closed.unwrap_or(&mut self.open);
        chunk.records = chunk.records.saturating_sub(1);
        chunk.bytes = chunk.bytes.saturating_sub(bytes);
        stored.then_some(*chunk)
    }

    fn spans(&self) -> impl Iterator<Item = (Range<u64>, Chunk)> {
        let mut start = self.first;
        self.closed.iter().chain(std::iter::once(&self.open)).map(move |chunk| {
            let range = start..chunk.end;
            start = chunk.end;
            (range, *chunk)
        })
    }
}
