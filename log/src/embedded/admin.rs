//! Making, changing, deleting and trimming topics. Each change is one write, with the ledger in hand.

use std::sync::Arc;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::limits;
use rocksdb::WriteBatch;

use super::codec::{self, TopicRow};
use super::keys::{self, PartitionId};
use super::partition::{Partition, Tally};
use super::shared::{Shared, Topic};
use crate::{Created, Error, Result, Retention, TopicSpec};

/// Makes a topic, or finds it.
pub(super) fn create(shared: &Shared, name: &str, spec: &TopicSpec) -> Result<Created> {
    check(name, spec)?;
    let mut ledger = shared.ledger();
    if let Ok(topic) = shared.topic(name) {
        return Ok(compare(topic.spec(), spec));
    }
    let id = ledger.next_topic;
    shared.disk.write(|batch| {
        batch.put(keys::NEXT_TOPIC, codec::encode_number(u64::from(id) + 1));
        put_topic(batch, name, id, spec)
    })?;
    ledger.next_topic += 1;
    let partition = |number| Partition::restored(PartitionId { topic: id, number }, 0, Tally::default());
    let topic = Topic::new(id, name.into(), spec, (0..spec.partitions).map(partition).collect());
    shared.topics_mut().insert(Arc::clone(&topic.name), topic);
    Ok(Created::New)
}

/// The names are those that Kafka takes.
fn check(name: &str, spec: &TopicSpec) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > limits::TOPIC_NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(Error::Fatal(format!("{name:?} cannot be the name of a topic")));
    }
    if spec.partitions == 0 || spec.partitions > limits::PARTITIONS_MAX {
        return Err(Error::Fatal(format!("topic {name} cannot have {} partitions", spec.partitions)));
    }
    Ok(())
}

fn compare(found: TopicSpec, asked: &TopicSpec) -> Created {
    let same = found.partitions == asked.partitions && found.compacted == asked.compacted;
    if same { Created::Existed } else { Created::Different(found) }
}

fn put_topic(batch: &mut WriteBatch, name: &str, id: u32, spec: &TopicSpec) -> Result<()> {
    let row = TopicRow { id, spec: spec.clone() }.encode();
    batch.put(keys::topic(name), row.ok_or_else(|| Error::Fatal(format!("topic {name} cannot be written")))?);
    Ok(())
}

/// Changes how long records are kept.
pub(super) fn alter(shared: &Shared, name: &str, retention: Retention) -> Result<()> {
    let _ledger = shared.ledger();
    let topic = shared.topic(name)?;
    let spec = TopicSpec { retention, ..topic.spec() };
    shared.disk.write(|batch| put_topic(batch, name, topic.id, &spec))?;
    topic.retain(retention);
    Ok(())
}

/// Deletes a topic, its records and the positions on it.
pub(super) fn delete(shared: &Shared, name: &str) -> Result<()> {
    let mut ledger = shared.ledger();
    let Ok(topic) = shared.topic(name) else { return shared.disk.alive() };
    let (records, family) = (keys::records_of(topic.id), shared.disk.records()?);
    shared.disk.write(|batch| {
        batch.delete(keys::topic(name));
        keys::rows_of(topic.id).for_each(|range| batch.delete_range(range.start, range.end));
        batch.delete_range_cf(family, records.start, records.end);
        Ok(())
    })?;
    forget(shared, &topic);
    ledger.owners.forget(|(_, id)| id.topic == topic.id);
    drop(ledger);
    shared.disk.free_files(&records.start, &keys::last_of(topic.id))
}

fn forget(shared: &Shared, topic: &Topic) {
    shared.topics_mut().remove(&topic.name);
    let mut visible = shared.visible_mut();
    visible.values_mut().for_each(|positions| positions.retain(|id, _| id.topic != topic.id));
    visible.retain(|_, positions| !positions.is_empty());
    topic.partitions.iter().for_each(|partition| partition.close());
}

/// Raises the low watermark. What is below it is removed from the disk by a later retention pass.
pub(super) fn trim(shared: &Shared, partition: &Partition, before: u64) -> Result<()> {
    let _ledger = shared.ledger();
    let low = before.min(partition.tail().end);
    if low <= partition.low() || partition.tail().gone {
        return Ok(());
    }
    let gone = partition.tally().index.forget_below(low);
    shared.disk.write(|batch| {
        batch.put(keys::low(partition.id), codec::encode_number(low));
        gone.iter().for_each(|chunk| batch.delete(keys::chunk(partition.id, chunk.end)));
        Ok(())
    })?;
    partition.raise_low(low);
    crashpoint::hit(Point::RetentionTrimmed);
    Ok(())
}
