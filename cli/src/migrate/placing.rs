//! Positions and rows of the other side: each slot's in one transaction, under its lease, as its owner writes them.
//!
//! Written only once every record is there, and the same each time: doing it again does no harm. Nobody else is a
//! member of these groups before the move is finished. Invariants: one-owner, offsets-with-effects.

use std::collections::BTreeMap;
use std::time::Duration;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::partition::{SLOTS, Slot};
use fpaas_core::topics::Stage;
use fpaas_core::{PoolId, Timestamp, TopicPartition};
use fpaas_log::{Lease, Log, Membership, MembershipEvent, Position, Record, TopicSpec, Transaction};
use tokio_util::bytes::Bytes;
use tracing::{info, warn};

use super::copy::{Copier, Reader, commit_same};
use super::places::{Kind, Places};
use super::rewrite::{self, Translations};
use crate::exit::Failure;

/// How long the group may take to give us its slots: a run that was killed may have been a member under another name.
const SLOTS_WAIT: Duration = Duration::from_secs(90);

/// What is placed, and where from.
#[derive(Debug)]
pub(super) struct Placing<'a> {
    pub(super) places: &'a Places,
    pub(super) translations: &'a Translations,
    /// The name of the node that will go on: its slots are its own at once.
    pub(super) node: &'a str,
}

/// What one slot gets.
#[derive(Debug, Default)]
struct Slotted {
    rows: Vec<(String, Bytes, Timestamp)>,
    positions: Vec<(TopicPartition, Position)>,
}

type Slots = BTreeMap<Slot, Slotted>;

impl Placing<'_> {
    /// Where the upstreams were left: the last record of each.
    pub(super) async fn cursors(&self, copier: &mut Copier) -> Result<(), Failure> {
        let Some((source, target)) = &self.places.cursors else { return Ok(()) };
        copier.to.create_topic(target, &TopicSpec::compacted(1)).await?;
        let (from, to) = (TopicPartition::new(source.as_str(), 0), TopicPartition::new(target.as_str(), 0));
        let mut transaction = Transaction::new();
        for record in last_records(&*copier.from, &from).await?.into_values() {
            let record = rewrite::cursor(&self.places.before.firehose(), self.translations, record)?;
            transaction.append(to.clone(), record);
        }
        copier.append(transaction).await
    }

    /// Positions and rows of one stage of a pool; how many positions.
    pub(super) async fn stage(&self, copier: &Copier, pool: &PoolId, stage: Stage) -> Result<usize, Failure> {
        let slots = self.gather(&*copier.from, pool, stage).await?;
        let positions = slots.values().map(|slotted| slotted.positions.len()).sum();
        let (to, after) = (&*copier.to, &self.places.after);
        let tables = after.tables(pool, stage);
        to.create_topic(&tables, &TopicSpec::compacted(SLOTS)).await?;
        let mut membership = to.join(&after.group(pool, stage), self.node).await?;
        let writer = to.writer(&format!("migrate.{pool}.{}", stage.as_str()), Some(&membership)).await?;
        let leases = tokio::time::timeout(SLOTS_WAIT, all_slots(&mut membership)).await;
        let leases = leases.map_err(|_| not_ours(&after.group(pool, stage)))??;
        for (slot, slotted) in slots {
            let lease = leases.get(&slot).ok_or_else(|| not_ours(&after.group(pool, stage)))?;
            commit_same(&*writer, &slotted.transaction(&tables, lease)).await?;
            crashpoint::hit(Point::MigrationPlacing);
        }
        info!(group = after.group(pool, stage), positions, "placed");
        Ok(positions)
    }

    async fn gather(&self, from: &dyn Log, pool: &PoolId, stage: Stage) -> Result<Slots, Failure> {
        let mut slots = Slots::new();
        let (names, tables) = (self.places.names(), self.places.before.tables(pool, stage));
        let there = from.describe_topic(&tables).await?.map_or(0, |spec| spec.partitions);
        for partition in 0..there {
            for (key, record) in last_records(from, &TopicPartition::new(tables.as_str(), partition)).await? {
                let (key, value) = (String::from_utf8_lossy(&key).into_owned(), record.value.unwrap_or_default());
                let Some((target, key, value)) = rewrite::row(&names, self.translations, &key, &value)? else {
                    continue;
                };
                slots.entry(self.slot(stage, &target)?).or_default().rows.push((key, value, record.timestamp));
            }
        }
        for (source, target, position) in self.positions(from, pool, stage).await? {
            let offset = rewrite::offset(self.translations, &source, position.offset)?;
            let slotted = slots.entry(self.slot(stage, &target)?).or_default();
            slotted.positions.push((target, Position { offset, ..position }));
        }
        Ok(slots)
    }

    /// Every position that the pool's group has there.
    async fn positions(
        &self,
        from: &dyn Log,
        pool: &PoolId,
        stage: Stage,
    ) -> Result<Vec<(TopicPartition, TopicPartition, Position)>, Failure> {
        let (group, mut found) = (self.places.before.group(pool, stage), Vec::new());
        for topic in self.places.topics.iter().filter(|topic| reads(stage, topic.kind)) {
            let pairs = topic.pairs();
            let sources: Vec<_> = pairs.iter().map(|pair| pair.source.clone()).collect();
            for (pair, position) in pairs.into_iter().zip(from.positions(&group, &sources).await?) {
                let Some(position) = position else { continue };
                let low = from.watermarks(&pair.source).await?.low;
                if position.offset < low && stage == Stage::Router {
                    warn!(group, at = %pair.source, position = %position.offset, %low,
                        "records were removed before they were read");
                }
                found.push((pair.source, pair.target, position));
            }
        }
        Ok(found)
    }

    fn slot(&self, stage: Stage, target: &TopicPartition) -> Result<Slot, Failure> {
        if stage == Stage::Router {
            return Ok(Slot::of_source(target));
        }
        let parsed = self.places.after.parse_internal(&target.topic);
        let (tenant, _, subscription, _) =
            parsed.ok_or_else(|| Failure::Failed(format!("{target} is no lane of a subscription")))?;
        Ok(Slot::of_lane(tenant, subscription, target.partition))
    }
}

impl Slotted {
    fn transaction(self, tables: &str, lease: &Lease) -> Transaction {
        let mut transaction = Transaction::under(lease);
        for (key, value, timestamp) in self.rows {
            let record = Record { key: Some(key.into()), value: Some(value), timestamp, ..Record::default() };
            transaction.append(TopicPartition::new(tables, lease.slot.0), record);
        }
        for (at, Position { offset, metadata }) in self.positions {
            transaction.advance(at, offset, metadata);
        }
        transaction
    }
}

/// True of what the positions of this stage's groups are on.
const fn reads(stage: Stage, kind: Kind) -> bool {
    match stage {
        Stage::Router => matches!(kind, Kind::Firehose | Kind::Tenant(_)),
        Stage::Dispatcher => matches!(kind, Kind::Deliveries),
    }
}

/// What a compacted partition adds up to.
async fn last_records(log: &dyn Log, at: &TopicPartition) -> Result<BTreeMap<Bytes, Record>, Failure> {
    let (mut last, mut reader) = (BTreeMap::new(), Reader::open(log, at).await?);
    while let Some(stored) = reader.next().await? {
        let key = stored.record.key.clone().unwrap_or_default();
        if stored.record.value.is_some() {
            last.insert(key, stored.record);
        } else {
            last.remove(&key);
        }
    }
    Ok(last)
}

/// Waits until every slot is ours.
async fn all_slots(membership: &mut Membership) -> Result<BTreeMap<Slot, Lease>, Failure> {
    let mut held = BTreeMap::new();
    while held.len() < SLOTS as usize {
        match membership.next().await {
            Some(MembershipEvent::Assigned(leases)) => held.extend(leases.into_iter().map(|lease| (lease.slot, lease))),
            Some(MembershipEvent::Revoked(leases, _) | MembershipEvent::Lost(leases)) => {
                leases.iter().for_each(|lease| drop(held.remove(&lease.slot)));
            }
            None => return Err(not_ours(membership.group())),
        }
    }
    Ok(held)
}

fn not_ours(group: &str) -> Failure {
    Failure::Failed(format!(
        "somebody else is a member of the group {group}: stop every node that uses this --topic-prefix, and run this again"
    ))
}
