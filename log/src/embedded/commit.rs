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
use super::shared::{Ledger, Shared};
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
    for entry in admitted {
        // Whoever stopped waiting has its transaction committed all the same.
        entry.answer.send(written.clone().map(|()| Receipt { offsets: entry.offsets })).ok();
    }
}

/// One write for all that may commit; the others are answered.
fn decide(shared: &Shared, jobs: Vec<Job>) -> (Vec<Entry>, Result<()>) {
    let mut ledger = shared.ledger();
    let mut group = Group::new(shared);
    for job in jobs {
        match check(&mut ledger, &job) {
            Err(error) => drop(job.answer.send(Err(error))),
            Ok(()) => group.admit(job),
        }
    }
    if group.entries.is_empty() {
        return (group.entries, Ok(()));
    }
    let written = group.write();
    drop(ledger);
    (group.entries, written)
}

/// Whether a job may commit now.
fn check(ledger: &mut Ledger, job: &Job) -> Result<()> {
    check_topics(job)?;
    let fenced = Err(Error::Abort(Culprit::Fenced));
    if ledger.writers.get(&job.pen.id) != Some(&job.pen.epoch) {
        return fenced;
    }
    let position = job.draft.positions.first();
    let Some((group, id)) = &job.pen.seat else {
        let free = job.leases.is_empty();
        return if free { position.map_or(Ok(()), |(place, _)| Err(not_authorised(place))) } else { fenced };
    };
    // Also without a lease: who is no member any more commits nothing.
    let member = ledger.groups.is_member(group, *id);
    if !member || !job.leases.iter().all(|lease| lease.group == *group && ledger.groups.holds(lease, *id)) {
        return fenced;
    }
    if let Some((place, _)) = position.filter(|_| job.leases.is_empty()) {
        return Err(not_authorised(place));
    }
    let positions = job.draft.positions.iter().map(|(place, _)| (Arc::clone(group), place.partition.id));
    if ledger.owners.admit(&job.leases, positions) { Ok(()) } else { fenced }
}

/// A position moves under a lease.
fn not_authorised(place: &Place) -> Error {
    refuse(&place.at, Refusal::NotAuthorised)
}

/// A topic may have been deleted since the job was made.
fn check_topics(job: &Job) -> Result<()> {
    let gone = job.draft.places().find(|place| place.partition.tail().gone);
    gone.map_or(Ok(()), |place| Err(refuse(&place.at, Refusal::NoSuchTopic)))
}

/// A transaction that is committed, and the offsets its records were given.
struct Entry {
    draft: Draft,
    offsets: Vec<Offset>,
    group: Option<Arc<str>>,
    answer: oneshot::Sender<Result<Receipt>>,
}

/// What is written at once.
struct Group<'a> {
    shared: &'a Shared,
    entries: Vec<Entry>,
    touched: HashMap<PartitionId, Arc<Partition>>,
    chunks: Vec<(PartitionId, Chunk)>,
}

impl<'a> Group<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, entries: Vec::new(), touched: HashMap::new(), chunks: Vec::new() }
    }

    /// Gives a job's records their offsets.
    fn admit(&mut self, job: Job) {
        let offsets = self.assign(&job.draft);
        let group = job.pen.seat.as_ref().map(|(group, _)| Arc::clone(group));
        self.entries.push(Entry { draft: job.draft, offsets, group, answer: job.answer });
    }

    fn assign(&mut self, draft: &Draft) -> Vec<Offset> {
        let gap_every = self.shared.config.gap_every;
        let mut records = draft.records.iter();
        let mut offsets = Vec::with_capacity(draft.records.len());
        for Run { place: Place { partition, .. }, count } in &draft.runs {
            let mut tally = partition.tally();
            for (timestamp, length) in records.by_ref().take(*count) {
                let (offset, full) = tally.assign(codec::encoded_bytes(*length), *timestamp, gap_every);
                self.chunks.extend(full.map(|chunk| (partition.id, chunk)));
                offsets.push(Offset(offset));
            }
            self.touched.entry(partition.id).or_insert_with(|| Arc::clone(partition));
        }
        offsets
    }

    /// Durable, then visible.
    fn write(&self) -> Result<()> {
        self.shared.disk.write(|batch| self.put(batch))?;
        let mut visible = self.shared.visible_mut();
        self.touched.values().for_each(|partition| partition.publish());
        for (group, place, position) in self.positions() {
            visible.entry(Arc::clone(group)).or_default().insert(place.partition.id, position.clone());
        }
        Ok(())
    }

    fn put(&self, batch: &mut WriteBatch) -> Result<()> {
        self.entries.iter().try_for_each(|entry| self.put_records(batch, entry))?;
        self.chunks.iter().for_each(|(id, chunk)| batch.put(keys::chunk(*id, chunk.end), chunk.encode()));
        for (group, place, position) in self.positions() {
            batch.put(keys::position(place.partition.id, group), codec::encode_position(position));
        }
        for partition in self.touched.values() {
            batch.put(keys::end(partition.id), codec::encode_number(partition.tally().next));
        }
        Ok(())
    }

    fn put_records(&self, batch: &mut WriteBatch, entry: &Entry) -> Result<()> {
        let (disk, draft) = (&self.shared.disk, &entry.draft);
        let family = disk.records()?;
        let (mut values, mut records) = (&draft.values[..], draft.records.iter().zip(&entry.offsets));
        for Run { place, count } in &draft.runs {
            for ((_, length), offset) in records.by_ref().take(*count) {
                let (value, rest) = values.split_at_checked(*length).ok_or_else(|| disk.damaged("a draft is short"))?;
                batch.put_cf(family, keys::record(place.partition.id, offset.0), value);
                values = rest;
            }
        }
        Ok(())
    }

    fn positions(&self) -> impl Iterator<Item = (&Arc<str>, &Place, &Position)> {
        let members = self.entries.iter().filter_map(|entry| Some((entry.group.as_ref()?, &entry.draft)));
        members.flat_map(|(group, draft)| draft.positions.iter().map(move |(place, to)| (group, place, to)))
    }
}
