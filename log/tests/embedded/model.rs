//! Random histories against a model that is obviously right: what is read is what the model holds, whatever was
//! committed, refused, trimmed, compacted, deleted or reopened before, with gaps among the offsets or without.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::Local;
use bytes::Bytes;
use fpaas_core::{Offset, Timestamp, TopicPartition};
use fpaas_log::conformance::kit::{Member, position, read};
use fpaas_log::conformance::{Backend, RetentionLevers};
use fpaas_log::{Record, TopicSpec, Transaction};
use proptest::prelude::*;

/// Topics 0 and 1 are kept, 2 is compacted; each has two partitions.
const TOPICS: usize = 3;
const COMPACTED: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Records as (topic, partition, key, size, milliseconds from now), and where the position of 0/0 goes.
    Commit(Vec<(usize, u32, u8, usize, i64)>, Option<u64>),
    /// The same, and one record for a topic that is not there.
    Refused(Vec<(usize, u32, u8, usize, i64)>),
    /// Trims a partition to this share of its records.
    Trim(usize, u32, u8),
    /// Removes a topic and makes it anew.
    Delete(usize),
    Retain,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let record = (0..TOPICS, 0..2u32, 0..5u8, 0..3000usize, -5000..5000i64);
    let records = proptest::collection::vec(record, 0..40);
    prop_oneof![
        8 => (records.clone(), proptest::option::of(any::<u64>())).prop_map(|(r, p)| Step::Commit(r, p)),
        1 => records.prop_map(Step::Refused),
        2 => (0..TOPICS, 0..2u32, any::<u8>()).prop_map(|(t, p, share)| Step::Trim(t, p, share)),
        1 => (0..TOPICS).prop_map(Step::Delete),
        1 => Just(Step::Retain),
        1 => Just(Step::Kill),
    ]
}

/// What should be there.
#[derive(Default)]
struct Model {
    records: BTreeMap<TopicPartition, BTreeMap<u64, Record>>,
    position: Option<u64>,
}

struct World {
    backend: Local,
    model: Model,
    member: Option<Member>,
    serial: u64,
}

fn place(topic: usize, partition: u32) -> TopicPartition {
    TopicPartition::new(format!("topic{topic}"), partition)
}

impl World {
    async fn new(gap_every: Option<u64>) -> Self {
        let mut world = Self { backend: Local::new(gap_every), model: Model::default(), member: None, serial: 0 };
        for topic in 0..TOPICS {
            world.make(topic).await;
        }
        world.join().await;
        world
    }

    async fn make(&mut self, topic: usize) {
        let spec = if topic == COMPACTED { TopicSpec::compacted(2) } else { TopicSpec::kept(2) };
        self.backend.log().create_topic(&format!("topic{topic}"), &spec).await.unwrap();
    }

    async fn join(&mut self) {
        self.member = Some(Member::join(&self.backend, "group", "member").await);
    }

    fn transaction(&mut self, records: &[(usize, u32, u8, usize, i64)]) -> Transaction {
        let mut transaction = self.member.as_ref().unwrap().begin();
        for (topic, partition, key, size, time) in records {
            self.serial += 1;
            let value = Bytes::from(format!("{} {}", self.serial, "x".repeat(*size)));
            let record = Record {
                key: Some(Bytes::copy_from_slice(&[*key])),
                value: Some(value),
                timestamp: Timestamp::from_millis(self.backend.now().as_millis() + time),
                ..Record::default()
            };
            transaction.append(place(*topic, *partition), record);
        }
        transaction
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(records, position) => self.commit(records, *position).await,
            Step::Refused(records) => self.refused(records).await,
            Step::Trim(topic, partition, share) => self.trim(&place(*topic, *partition), *share).await,
            Step::Delete(topic) => self.delete(*topic).await,
            Step::Retain => self.retain(),
            Step::Kill => {
                self.backend.kill_and_reopen().await;
                self.join().await;
            }
        }
    }

    async fn commit(&mut self, records: &[(usize, u32, u8, usize, i64)], position: Option<u64>) {
        let mut transaction = self.transaction(records);
        if let Some(offset) = position {
            transaction.advance(place(0, 0), Offset(offset), Bytes::new());
            self.model.position = Some(offset);
        }
        let writer = &self.member.as_ref().unwrap().writer;
        let receipt = writer.commit(transaction.clone()).await.unwrap();
        for (append, offset) in transaction.appends.into_iter().zip(receipt.offsets) {
            let before = self.model.records.entry(append.at).or_default().insert(offset.0, append.record);
            assert!(before.is_none(), "an offset was given twice");
        }
    }

    async fn refused(&mut self, records: &[(usize, u32, u8, usize, i64)]) {
        let mut transaction = self.transaction(records);
        transaction.append(TopicPartition::new("nowhere", 0), Record::default());
        transaction.advance(place(0, 0), Offset(1), Bytes::new());
        self.member.as_ref().unwrap().writer.commit(transaction).await.unwrap_err();
    }

    async fn trim(&mut self, at: &TopicPartition, share: u8) {
        let records = self.model.records.entry(at.clone()).or_default();
        let Some(before) = records.keys().nth(records.len() * usize::from(share) / 256).copied() else { return };
        *records = records.split_off(&before);
        self.backend.log().trim(at, Offset(before)).await.unwrap();
    }

    async fn delete(&mut self, topic: usize) {
        self.backend.log().delete_topic(&format!("topic{topic}")).await.unwrap();
        for partition in 0..2 {
            self.model.records.remove(&place(topic, partition));
        }
        if topic == 0 {
            self.model.position = None;
        }
        self.make(topic).await;
    }

    fn retain(&mut self) {
        self.backend.run();
        for partition in 0..2 {
            let Some(records) = self.model.records.get_mut(&place(COMPACTED, partition)) else { continue };
            let mut last = BTreeMap::new();
            records.iter().for_each(|(offset, record)| {
                last.insert(record.key.clone(), *offset);
            });
            records.retain(|offset, record| last[&record.key] == *offset);
        }
        self.backend.pass(Duration::from_millis(100));
    }

    async fn check(&self) {
        let log = self.backend.log();
        for (topic, partition) in (0..TOPICS).flat_map(|topic| [(topic, 0), (topic, 1)]) {
            let at = place(topic, partition);
            let expected = self.model.records.get(&at).cloned().unwrap_or_default();
            let found: BTreeMap<_, _> =
                read(&*log, &at).await.into_iter().map(|stored| (stored.offset.0, stored.record)).collect();
            assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{at}");
            assert!(found == expected, "{at}");
            self.check_time(&at, &expected).await;
        }
        let found = position(&*log, "group", &place(0, 0)).await.map(|position| position.offset.0);
        assert_eq!(found, self.model.position);
    }

    async fn check_time(&self, at: &TopicPartition, expected: &BTreeMap<u64, Record>) {
        let log = self.backend.log();
        let end = log.watermarks(at).await.unwrap().end;
        for shift in [-6000, -2000, 0, 3000, 6000] {
            let time = Timestamp::from_millis(self.backend.now().as_millis() + shift);
            let first = expected.iter().find(|(_, record)| record.timestamp >= time);
            let first = first.map_or(end, |(offset, _)| Offset(*offset));
            assert_eq!(log.offset_at(at, time).await.unwrap(), first, "{at} {shift}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_reads_as_the_model_says(
        steps in proptest::collection::vec(step(), 1..40),
        gap_every in proptest::option::of(2..9u64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(gap_every).await;
            for step in &steps {
                world.step(step).await;
                if matches!(step, Step::Kill | Step::Retain) {
                    world.check().await;
                }
            }
            world.check().await;
        });
    }
}
