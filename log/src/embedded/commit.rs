//! The committer: one thread that makes all transactions that wait durable with one write.
//!
//! Checks and the write happen with the ledger in hand, and so does making it visible: readers see all of a
//! transaction or nothing, and nothing before it is written. A transaction that is refused is refused alone.
//! Invariants: offsets-with-effects, one-owner.

use std::collections::HashMap;
use std::sync::Arc;

use fpaas_core::{Offset, limits};
use rocksdb::WriteBatch;
use tokio::sync::{mpsc, oneshot};

use super::codec::{self, Chunk};
use super::keys::{self, PartitionId};
use super::partition::Partition;
use super::shared::{Ledger, Positions, Shared};
use super::writer::{Draft, Job, Message, Place, Run, refuse};
use crate::{Culprit, Error, Position, Receipt, Refusal, Result};

/// Commits what is queued until it is told to stop.
pub(super) fn run(shared: &Shared, mut queue: mpsc::Receiver<Message>) {
    while let Some(Message::Commit(first)) = queue.blocking_recv() {
        let (jobs, stopped) = gather(*first, &mut queue);
        commit(shared, jobs);
        if stopped {
            break;
        }
    }
}

/// Takes what waits, without waiting. True when a stop was among it.
fn gather(first: Job, queue: &mut mpsc::Receiver<Message>) -> (Vec<Job>, bool) {
    let mut bytes = first.draft.values.len();
    let mut jobs = vec![first];
    while bytes < limits::COMMIT_GROUP_BYTES_MAX && jobs.len() < limits::COMMIT_GROUP_MAX {
        match queue.try_recv() {
            Ok(Message::Commit(job)) => {
                bytes += job.draft.values.len();
                jobs.push(*job);
            }
            Ok(Message::Stop) => return (jobs, true),
            Err(_) => break,
        }
    }
    (jobs, false)
}

fn commit(shared: &Shared, jobs: Vec<Job>) {
    let (admitted, written) = decide(shared, jobs);
    if written.is_err() {
        shared.wake_all();
    }
    for (answer, receipt) in admitted {
        // Whoever stopped waiting has its transaction committed all the same.
        answer.send(written.clone().map(|()| receipt)).ok();
    }
}

type Admitted = Vec<(oneshot::Sender<Result<Receipt>>, Receipt)>;

/// One write for all that may commit; the others are answered.
fn decide(shared: &Shared, jobs: Vec<Job>) -> (Admitted, Result<()>) {
    let ledger = shared.ledger();
    let mut group = Group::new(shared);
    let mut admitted = Vec::with_capacity(jobs.len());
    for job in jobs {
        match check(&ledger, &job) {
            Err(error) => drop(job.answer.send(Err(error))),
            Ok(()) => match group.admit(job) {
                Ok(entry) => admitted.push(entry),
                Err(error) => return (admitted, Err(error)),
            },
        }
    }
    if admitted.is_empty() {
        return (admitted, Ok(()));
    }
    let written = group.write();
    drop(ledger);
    (admitted, written)
}

/// Whether a job may commit now.
fn check(ledger: &Ledger, job: &Job) -> Result<()> {
    let fenced = Error::Abort(Culprit::Fenced);
    if ledger.writers.get(&job.pen.id) != Some(&job.pen.epoch) {
        return Err(fenced);
    }
    if let Some((group, id)) = &job.pen.seat {
        let owner = job.leases.iter().all(|lease| lease.group == *group && ledger.groups.holds(lease, *id));
        let member = job.draft.positions.is_empty() || ledger.groups.is_member(group, *id);
        if !owner || !member {
            return Err(fenced);
        }
    } else if !job.leases.is_empty() {
        return Err(fenced);
    } else if let Some((place, _)) = job.draft.positions.first() {
        return Err(refuse(&place.at, Refusal::NotAuthorised));
    }
    check_topics(job)
}

/// A topic may have been deleted since the job was made.
fn check_topics(job: &Job) -> Result<()> {
    let gone = job.draft.places().find(|place| place.partition.tail().gone);
    gone.map_or(Ok(()), |place| Err(refuse(&place.at, Refusal::NoSuchTopic)))
}

/// What is written at once.
struct Group<'a> {
    shared: &'a Shared,
    batch: WriteBatch,
    touched: HashMap<PartitionId, Arc<Partition>>,
    positions: Vec<(Arc<str>, PartitionId, Position)>,
}

impl<'a> Group<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, batch: shared.disk.batch(), touched: HashMap::new(), positions: Vec::new() }
    }

    /// Adds a job's rows. It fails only when the disk does.
    fn admit(&mut self, job: Job) -> Result<(oneshot::Sender<Result<Receipt>>, Receipt)> {
        let receipt = Receipt { offsets: self.append(&job.draft)? };
        if let Some((group, _)) = &job.pen.seat {
            for (place, position) in job.draft.positions {
                let id = place.partition.id;
                self.batch.put(keys::position(id, group), codec::encode_position(&position));
                self.positions.push((Arc::clone(group), id, position));
            }
        }
        Ok((job.answer, receipt))
    }

    fn append(&mut self, draft: &Draft) -> Result<Vec<Offset>> {
        let disk = &self.shared.disk;
        let (family, gap_every) = (disk.records()?, self.shared.config.gap_every);
        let (mut values, mut records) = (&draft.values[..], draft.records.iter());
        let mut offsets = Vec::with_capacity(draft.records.len());
        for Run { place: Place { partition, .. }, count } in &draft.runs {
            let mut tally = partition.tally();
            for (timestamp, length) in records.by_ref().take(*count) {
                let (value, rest) = values.split_at_checked(*length).ok_or_else(|| disk.damaged("a draft is short"))?;
                let (offset, full) = tally.assign(codec::row_bytes(value), *timestamp, gap_every);
                self.batch.put_cf(family, keys::record(partition.id, offset), value);
                put_chunk(&mut self.batch, partition.id, full);
                offsets.push(Offset(offset));
                values = rest;
            }
            self.touched.entry(partition.id).or_insert_with(|| Arc::clone(partition));
        }
        Ok(offsets)
    }

    /// Durable, then visible.
    fn write(mut self) -> Result<()> {
        for partition in self.touched.values() {
            self.batch.put(keys::end(partition.id), codec::encode_number(partition.tally().next));
        }
        self.shared.disk.write(self.batch)?;
        let mut visible = self.shared.visible_mut();
        self.touched.values().for_each(|partition| partition.publish());
        move_positions(&mut visible, self.positions);
        Ok(())
    }
}

fn put_chunk(batch: &mut WriteBatch, id: PartitionId, full: Option<Chunk>) {
    if let Some(chunk) = full {
        batch.put(keys::chunk(id, chunk.end), chunk.encode());
    }
}

fn move_positions(visible: &mut Positions, positions: Vec<(Arc<str>, PartitionId, Position)>) {
    for (group, id, position) in positions {
        visible.entry(group).or_default().insert(id, position);
    }
}
