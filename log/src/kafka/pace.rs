//! In which order a transaction's records are handed to librdkafka: to each partition one batch at a time.
//!
//! librdkafka has one request of an idempotent producer in flight to a partition (it compares a number of messages with
//! the five requests that a broker keeps apart, `rd_kafka_toppar_producer_serve` in 2.12.1). As long as anything waits
//! behind that, its broker thread looks again and again without a pause, on a core that the broker may need. So nothing
//! waits there: what was handed over is one batch, and the next one comes when its reports are in.
//!
//! A topic whose limit was set below ours refuses a whole batch for its size: its batches get smaller until each record
//! stands for itself.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use fpaas_core::TopicPartition;

use crate::Append;

/// What librdkafka puts into one batch at most where nothing else is known (`batch.size`, `batch.num.messages`).
pub(super) const BATCH_BYTES_MAX: usize = 1_000_000;
pub(super) const BATCH_RECORDS_MAX: usize = 10_000;
/// What a record takes in a batch beside its parts: lengths, offsets, those of its headers.
const RECORD_OVERHEAD: usize = 64;

/// Topics that have refused a batch, and what they are given at a time since then.
#[derive(Debug, Default)]
pub(super) struct Batches(Mutex<HashMap<Arc<str>, usize>>);

/// One transaction's records by partition, and how far each is handed over.
#[derive(Debug, Default)]
pub(super) struct Pace {
    lanes: Vec<Lane>,
    /// By the records' numbers.
    lane_of: Vec<u32>,
    /// Lanes that have something to hand over and nothing on its way.
    ready: Vec<u32>,
}

#[derive(Debug, Default)]
struct Lane {
    /// The records' numbers, in their order, and where each batch ends among them.
    numbers: Vec<u32>,
    ends: Vec<u32>,
    batch: usize,
    on_its_way: usize,
}

impl Batches {
    /// A record of so many bytes was refused with the batch it was in. True where it may not have been alone there:
    /// then the same is tried again in smaller batches.
    pub(super) fn narrow(&self, topic: &Arc<str>, bytes: usize) -> bool {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = batches.entry(Arc::clone(topic)).or_insert(BATCH_BYTES_MAX);
        let in_company = bytes < *most;
        if in_company {
            *most /= 2;
        }
        in_company
    }

    fn most(&self, topic: &str) -> usize {
        let batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batches.get(topic).copied().unwrap_or(BATCH_BYTES_MAX)
    }
}

impl Pace {
    /// Of the records of one transaction.
    pub(super) fn of(appends: &[&Append], batches: &Batches) -> Self {
        let (mut lanes, mut known) = (Vec::<(Lane, Open)>::new(), HashMap::<&TopicPartition, u32>::new());
        let mut lane_of = Vec::with_capacity(appends.len());
        let mut last: Option<(&TopicPartition, u32)> = None;
        for (number, append) in (0u32..).zip(appends) {
            let lane = match last {
                // Most records go where the one before them went, under the very same name.
                Some((at, lane)) if at.partition == append.at.partition && Arc::ptr_eq(&at.topic, &append.at.topic) => {
                    lane
                }
                _ => *known.entry(&append.at).or_insert_with(|| {
                    lanes.push((Lane::default(), Open { bytes: 0, most: batches.most(&append.at.topic) }));
                    u32::try_from(lanes.len() - 1).unwrap_or(u32::MAX)
                }),
            };
            last = Some((&append.at, lane));
            lane_of.push(lane);
            if let Some((lane, open)) = lanes.get_mut(lane as usize) {
                lane.push(number, append.record.bytes(), open);
            }
        }
        let mut lanes: Vec<Lane> = lanes.into_iter().map(|(lane, _)| lane).collect();
        lanes.iter_mut().for_each(Lane::close);
        let ready = (0..u32::try_from(lanes.len()).unwrap_or(u32::MAX)).rev().collect();
        Self { lanes, lane_of, ready }
    }

    /// The numbers of the records that are to be handed over next, all of one partition; `None` while everything waits
    /// for reports.
    pub(super) fn next(&mut self) -> Option<Vec<u32>> {
        let lane = self.lanes.get_mut(self.ready.pop()? as usize)?;
        let batch = lane.range(lane.batch);
        lane.batch += 1;
        lane.on_its_way = batch.len();
        lane.numbers.get(batch).map(<[u32]>::to_vec)
    }

    /// It is known what became of a record.
    pub(super) fn arrived(&mut self, number: usize) {
        let Some(index) = self.lane_of.get(number).copied() else { return };
        let Some(lane) = self.lanes.get_mut(index as usize) else { return };
        lane.on_its_way = lane.on_its_way.saturating_sub(1);
        if lane.on_its_way == 0 && lane.batch < lane.ends.len() {
            self.ready.push(index);
        }
    }
}

/// A batch that is being filled.
struct Open {
    bytes: usize,
    most: usize,
}

impl Lane {
    fn push(&mut self, number: u32, bytes: usize, open: &mut Open) {
        let before = self.ends.last().map_or(0, |end| *end as usize);
        let bytes = bytes + RECORD_OVERHEAD;
        let records = self.numbers.len() - before;
        if records > 0 && (open.bytes + bytes > open.most || records >= BATCH_RECORDS_MAX) {
            self.close();
            open.bytes = 0;
        }
        open.bytes += bytes;
        self.numbers.push(number);
    }

    fn close(&mut self) {
        self.ends.push(u32::try_from(self.numbers.len()).unwrap_or(u32::MAX));
    }

    fn range(&self, batch: usize) -> Range<usize> {
        let end = |batch: usize| self.ends.get(batch).map_or(self.numbers.len(), |end| *end as usize);
        batch.checked_sub(1).map_or(0, end)..end(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn append(topic: &str, partition: u32, bytes: usize) -> Append {
        let record = Record { value: Some(vec![b'x'; bytes].into()), ..Record::default() };
        Append { at: TopicPartition::new(topic, partition), record }
    }

    /// What is handed over together, when the reports of everything come as soon as nothing more can be.
    fn rounds(appends: &[Append], batches: &Batches) -> Vec<Vec<Vec<u32>>> {
        let mut pace = Pace::of(&appends.iter().collect::<Vec<_>>(), batches);
        let mut rounds = Vec::new();
        loop {
            let mut round = Vec::new();
            while let Some(batch) = pace.next() {
                round.push(batch);
            }
            if round.is_empty() {
                return rounds;
            }
            round.iter().flatten().for_each(|number| pace.arrived(*number as usize));
            round.sort();
            rounds.push(round);
        }
    }

    #[test]
    fn each_partition_is_given_a_batch_at_a_time_and_its_records_in_order() {
        let most = BATCH_BYTES_MAX - RECORD_OVERHEAD;
        let appends = [
            append("a", 0, most / 2),
            append("b", 0, 1),
            append("a", 1, 1),
            append("a", 0, most / 3),
            append("a", 0, most / 2),
            append("a", 0, most),
            append("b", 0, 2 * most),
            append("a", 0, 1),
        ];
        let rounds = rounds(&appends, &Batches::default());
        assert_eq!(rounds, [vec![vec![0, 3], vec![1], vec![2]], vec![vec![4], vec![6]], vec![vec![5]], vec![vec![7]]]);
    }

    #[test]
    fn a_batch_has_no_more_records_than_librdkafka_puts_into_one() {
        let appends: Vec<_> = (0..=BATCH_RECORDS_MAX).map(|_| append("a", 0, 1)).collect();
        let rounds = rounds(&appends, &Batches::default());
        assert_eq!(rounds.iter().map(|round| round[0].len()).collect::<Vec<_>>(), [BATCH_RECORDS_MAX, 1]);
    }

    #[test]
    fn the_next_batch_waits_for_every_report_of_the_one_before() {
        let appends = [append("a", 0, 10), append("a", 0, 10), append("a", 0, BATCH_BYTES_MAX)];
        let mut pace = Pace::of(&appends.iter().collect::<Vec<_>>(), &Batches::default());
        assert_eq!(pace.next(), Some(vec![0, 1]));
        pace.arrived(1);
        assert_eq!(pace.next(), None);
        pace.arrived(0);
        assert_eq!(pace.next(), Some(vec![2]));
        pace.arrived(2);
        assert_eq!(pace.next(), None);
    }

    #[test]
    fn batches_of_a_topic_that_refuses_them_get_smaller_until_a_record_is_alone() {
        let (batches, topic) = (Batches::default(), Arc::from("small"));
        let mut narrowed = 0;
        while batches.narrow(&topic, 1000) {
            narrowed += 1;
        }
        assert_eq!((narrowed, batches.most("small")), (10, 976));
        assert!(batches.narrow(&topic, 100), "a smaller one may have been refused for its neighbours");
        let appends = [100, 300, 100, 400, 488].map(|bytes| append("small", 0, bytes - RECORD_OVERHEAD));
        assert_eq!(rounds(&appends, &batches).concat(), [vec![0, 1], vec![2], vec![3], vec![4]]);
    }
}
