//! The writer: a thread that owns a transactional producer and commits what is given to it, as much at a time as waits.
//!
//! A culprit is left out and the rest is done again. What became of a transaction is found out before anything else is
//! begun (`fence`): an answer of a webhook that waits for its commit is neither lost nor asked for twice. Invariants:
//! offsets-with-effects, one-owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use fpaas_core::partition::Slot;
use fpaas_core::{Offset, TopicPartition, limits};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{info, warn};

use super::admin::Admin;
use super::config::KafkaConfig;
use super::context::{Quiet, Trouble};
use super::error::{Failure, refusal};
use super::fence::{self, Counted};
use super::leases::Held;
use super::member::Member;
use super::offsets::Stuck;
use super::pace::Batches;
use super::rights::Want;
use super::transaction::{Transactional, Undone};
use crate::owners::Owners;
use crate::{Append, Culprit, Error, Position, Receipt, Refusal, Rejected, Result, Transaction};

/// How long an unknown outcome is looked for, and a transaction tried under a group that is being rebalanced.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// The unit in which the room for waiting transactions is counted.
const KIB: usize = 1024;

/// Which slot each position belongs to, for all writers of a log.
pub(super) type Known = Arc<Mutex<Owners<(Arc<str>, TopicPartition)>>>;

/// What a writer is made of.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) admin: Arc<Admin>,
    pub(super) config: KafkaConfig,
    pub(super) trouble: Trouble,
    pub(super) owners: Known,
    /// The transactional id.
    pub(super) id: String,
    /// The member whose leases fence it, and the number of its counters.
    pub(super) member: Option<(Arc<Member>, usize)>,
    /// Set when another writer of this id was made in this process.
    pub(super) replaced: Arc<AtomicBool>,
    /// What its counters carry: the id, and a number that no other writer has (`fence::mark`).
    pub(super) mark: String,
    pub(super) stuck: Stuck,
}

/// See the module's head. Dropping it ends the thread once what was given is decided.
#[derive(Debug)]
pub(super) struct Writer {
    given: mpsc::Sender<Given>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Given {
    transaction: Transaction,
    answer: oneshot::Sender<Result<Receipt, Rejected>>,
    _room: OwnedSemaphorePermit,
}

impl Given {
    fn done(self, offsets: Vec<Offset>) {
        // Whoever asked may have gone away; it is committed all the same.
        drop(self.answer.send(Ok(Receipt { offsets })));
    }

    fn rejected(self, error: Error) {
        drop(self.answer.send(Err(Rejected { error, transaction: Box::new(self.transaction) })));
    }
}

impl Writer {
    /// Initialises the id, which ends what its predecessor left open. Blocks.
    pub(super) fn open(writing: Writing) -> Result<Self> {
        let producer = writing.producer().map_err(|failed| failed.of_cluster())?;
        let (given, received) = mpsc::channel(limits::COMMITS_WAITING_MAX);
        let work = Work { writing, producer: Some(Arc::new(producer)), batches: Batches::default() };
        let spawned = thread::Builder::new().name("kafka-writer".to_owned()).spawn(move || work.run(received));
        spawned.map_err(|error| Error::Fatal(format!("no thread for writing: {error}")))?;
        Ok(Self { given, room: Arc::new(Semaphore::new(limits::COMMITS_WAITING_BYTES_MAX / KIB)) })
    }
}

#[async_trait]
impl crate::Writer for Writer {
    async fn commit(&self, transaction: Transaction) -> Result<Receipt, Rejected> {
        let kib = (transaction.bytes() / KIB + 1).min(limits::COMMITS_WAITING_BYTES_MAX / KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).await;
        let closed = |transaction| Rejected {
            error: Error::Retry("the writer is closed".to_owned()),
            transaction: Box::new(transaction),
        };
        let Ok(room) = room else { return Err(closed(transaction)) };
        let (answer, decided) = oneshot::channel();
        if let Err(unsent) = self.given.send(Given { transaction, answer, _room: room }).await {
            return Err(closed(unsent.0.transaction));
        }
        // The thread answers everything it takes; it ends only by a panic.
        let ended = || Error::Fatal("the writer's thread has ended".to_owned());
        decided.await.unwrap_or_else(|_| Err(Rejected { error: ended(), transaction: Box::default() }))
    }
}

impl Writing {
    fn producer(&self) -> Result<Transactional, Failure> {
        Transactional::open(&self.config, &self.id, Quiet(self.trouble.clone()), &self.stuck)
    }
}

struct Work {
    writing: Writing,
    /// None after an outcome that was not known, until the next one is made.
    producer: Option<Arc<Transactional>>,
    batches: Batches,
}

impl Work {
    fn run(mut self, mut received: mpsc::Receiver<Given>) {
        while let Some(first) = received.blocking_recv() {
            let mut bytes = first.transaction.bytes();
            let mut group = vec![first];
            while group.len() < limits::COMMIT_GROUP_MAX && bytes < limits::COMMIT_GROUP_BYTES_MAX {
                let Ok(next) = received.try_recv() else { break };
                bytes += next.transaction.bytes();
                group.push(next);
            }
            self.commit(group);
        }
    }

    /// Commits them together; one that cannot be is answered and left out, and the others are tried again.
    fn commit(&mut self, mut group: Vec<Given>) {
        let began = Instant::now();
        loop {
            group = self.admissible(group);
            if group.is_empty() {
                return;
            }
            let undone = match self.attempt(&group) {
                Ok(offsets) => return answer(group, offsets, &self.writing.admin),
                Err(undone) => undone,
            };
            let late = began.elapsed() > PATIENCE;
            if undone.is_late() {
                self.step_aside(&group);
            }
            match undone {
                // The check leaves out what is known now.
                undone if undone.is_late() && !late => {}
                undone if undone.is_given_up() && !late && self.finds_denied(&group) => {}
                undone if undone.is_of_position() && !late && self.misses(&group) => {}
                Undone::Record(index, code) if !late && self.narrows(&group, index, code) => {}
                Undone::Record(index, code) => leave_out(&mut group, index, code, &self.writing.admin),
                Undone::Stale(code) if code != Code::FencedInstanceId && !late => thread::sleep(PAUSE),
                Undone::Stale(_) => return self.fenced(group),
                Undone::Later(failed) => return reject(group, &Error::Retry(failed.to_string())),
                Undone::Never(failed) => return reject(group, &failed.of_cluster()),
                // Another producer of our id: one of a dead self is ended by us, one that ended us by our successor.
                Undone::Fenced if self.is_to_go_on() && !late => self.renew(),
                Undone::Fenced => return self.fenced(group),
                Undone::Redo if !late => {}
                Undone::Redo => return reject(group, &Error::Retry("the brokers roll everything back".to_owned())),
                Undone::Unknown(..) => return reject(group, &Error::Unknown),
            }
        }
    }

    /// Somebody else owns what these were for. Who still holds a lease of it gives its membership up: it would wait for
    /// ever for the group to say so.
    fn fenced(&self, group: Vec<Given>) {
        if let Some((member, _)) = self.writing.member.as_ref().filter(|_| !self.is_replaced()) {
            member.renounce(group.iter().flat_map(|given| &given.transaction.leases));
        }
        reject(group, &Error::Abort(Culprit::Fenced));
    }

    /// A member that is one is not replaced, whoever ended its producer; without a membership the newer one is right.
    fn is_to_go_on(&self) -> bool {
        let member = self.writing.member.as_ref();
        !self.is_replaced() && member.is_some_and(|(member, _)| member.leases.is_open())
    }

    /// A partition has not taken its record in time. What is known of these topics is asked for again; and the end of
    /// this transaction may wait as long as that partition has no leader, so that the next one begins under another id.
    /// Without a membership nothing but the id fences: then it is waited for.
    fn step_aside(&mut self, group: &[Given]) {
        wanted(group).into_iter().for_each(|(topic, _)| self.writing.admin.forget(topic));
        self.producer = None;
        if self.writing.member.is_some() {
            self.writing.id = fence::sibling(&self.writing.id);
            self.writing.mark = fence::renamed(&self.writing.mark, &self.writing.id);
            warn!(writer = self.writing.id, "a partition takes no record: going on with another producer");
        }
    }

    /// Whether we are denied a topic of these: no record of a transaction that failed for that says so.
    fn finds_denied(&self, group: &[Given]) -> bool {
        let wanted: Vec<_> = wanted(group).into_iter().collect();
        self.writing.admin.find_denied(&wanted).unwrap_or(false)
    }

    /// Whether a topic of these is gone: it is asked for again.
    fn misses(&self, group: &[Given]) -> bool {
        let admin = &self.writing.admin;
        wanted(group).into_iter().any(|(topic, _)| {
            admin.forget(topic);
            matches!(admin.is_there_now(topic), Ok(false))
        })
    }

    /// A record that was refused for its size, with others of its partition: they may have been too large together.
    fn narrows(&self, group: &[Given], index: usize, code: Code) -> bool {
        let appends = group.iter().flat_map(|given| &given.transaction.appends);
        let Some(append) = appends.clone().nth(index) else { return false };
        let in_company = appends.filter(|other| other.at == append.at).nth(1).is_some();
        refusal(code) == Some(Refusal::TooLarge)
            && in_company
            && self.batches.narrow(&append.at.topic, append.record.bytes())
    }

    fn is_replaced(&self) -> bool {
        self.writing.replaced.load(Ordering::SeqCst)
    }

    fn renew(&mut self) {
        self.producer = None;
        thread::sleep(PAUSE);
    }

    /// Those whose leases hold, whose records fit and whose topics are there; the others are answered.
    fn admissible(&self, group: Vec<Given>) -> Vec<Given> {
        let mut admitted = Vec::with_capacity(group.len());
        let mut away = None;
        for given in group {
            // Where no broker answers, one question is enough.
            match away.clone().map_or_else(|| self.check(&given.transaction), Err) {
                Ok(()) => admitted.push(given),
                Err(error @ Error::Retry(_)) => {
                    given.rejected(error.clone());
                    away = Some(error);
                }
                Err(error) => given.rejected(error),
            }
        }
        admitted
    }

    fn check(&self, transaction: &Transaction) -> Result<()> {
        if self.is_replaced() {
            return Err(Error::Abort(Culprit::Fenced));
        }
        self.check_leases(transaction)?;
        let admin = &self.writing.admin;
        for (at, _) in &transaction.positions {
            let there = admin.check_denied(&at.topic, Want::Read).and_then(|()| admin.is_there_now(&at.topic));
            if !there.map_err(|failed| self.unwritable(at, &failed))? {
                return Err(refused(at, Refusal::NoSuchTopic));
            }
        }
        for Append { at, record } in &transaction.appends {
            if record.bytes() > limits::RECORD_BYTES_MAX {
                return Err(refused(at, Refusal::TooLarge));
            }
            let partitions = admin.check_denied(&at.topic, Want::Write).and_then(|()| admin.partitions_now(&at.topic));
            let partitions = partitions.map_err(|failed| self.unwritable(at, &failed))?;
            if partitions.is_none_or(|partitions| at.partition.0 >= partitions) {
                return Err(refused(at, Refusal::NoSuchTopic));
            }
        }
        Ok(())
    }

    /// A topic that cannot be looked at: its own fault where that is a matter of rights, or of its leaders. Who writes
    /// for nobody but itself has nobody to let go on meanwhile.
    fn unwritable(&self, at: &TopicPartition, failed: &Failure) -> Error {
        match refusal(failed.code) {
            Some(Refusal::Unavailable) if self.writing.member.is_none() => failed.on(&at.topic),
            Some(refusal) => refused(at, refusal),
            None => failed.on(&at.topic),
        }
    }

    fn check_leases(&self, transaction: &Transaction) -> Result<()> {
        let Some((member, _)) = &self.writing.member else {
            if !transaction.leases.is_empty() {
                return Err(Error::Abort(Culprit::Fenced));
            }
            return transaction.positions.first().map_or(Ok(()), |(at, _)| Err(refused(at, Refusal::NotAuthorised)));
        };
        let held = member.leases.read();
        if !is_held(member, &held, transaction) {
            return Err(Error::Abort(Culprit::Fenced));
        }
        drop(held);
        let Some((at, _)) = transaction.positions.first() else { return Ok(()) };
        if transaction.leases.is_empty() {
            return Err(refused(at, Refusal::NotAuthorised));
        }
        for (at, position) in &transaction.positions {
            let fits = position.metadata.len() <= limits::POSITION_METADATA_BYTES_MAX;
            if !fits || std::str::from_utf8(&position.metadata).is_err() {
                return Err(refused(at, Refusal::TooLarge));
            }
        }
        let keys = transaction.positions.iter().map(|(at, _)| (Arc::clone(&member.group), at.clone()));
        let mut owners = self.writing.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.admit(&transaction.leases, keys) { Ok(()) } else { Err(Error::Abort(Culprit::Fenced)) }
    }

    /// One transaction of the brokers for all of them.
    fn attempt(&mut self, group: &[Given]) -> Result<Vec<Offset>, Undone> {
        let producer = self.ready()?;
        let appends: Vec<&Append> = group.iter().flat_map(|given| &given.transaction.appends).collect();
        let Some((member, number)) = self.writing.member.clone() else {
            let done = producer.commit(&appends, None, &self.batches);
            return self.settled(done, None);
        };
        // Held until it is decided: no slot is let go of meanwhile.
        let held = member.leases.read();
        if !group.iter().all(|given| is_held(&member, &held, &given.transaction)) {
            return Err(Undone::Stale(Code::IllegalGeneration));
        }
        let counted = counted(group, &held, number);
        let Some(metadata) = member.metadata() else { return Err(Undone::Stale(Code::UnknownMemberId)) };
        // The very id that is sent: the broker takes what comes in the name of a member, whatever that holds.
        if !counted.keys().all(|slot| held.is_of(*slot, metadata.member_id())) {
            return Err(Undone::Stale(Code::FencedInstanceId));
        }
        // A number is used once, whatever comes of it: it proves its own transaction and no other.
        counted.iter().for_each(|(slot, count)| held.note(*slot, number, *count));
        let positions = self.positions(group, &counted, number);
        let done = producer.commit(&appends, Some((positions, metadata)), &self.batches);
        self.settled(done, Some((&*member, &counted, number)))
    }

    /// The producer, made anew where the last one was thrown away: that ends whatever it had left open.
    fn ready(&mut self) -> Result<Arc<Transactional>, Undone> {
        if let Some(producer) = self.producer.as_ref().filter(|producer| !producer.is_broken()) {
            return Ok(Arc::clone(producer));
        }
        self.producer = None;
        let made = self.writing.producer().map_err(Undone::Later)?;
        Ok(Arc::clone(self.producer.insert(Arc::new(made))))
    }

    /// The positions of all of them, the last one of a partition, and the counters of their slots.
    fn positions(
        &self,
        group: &[Given],
        counted: &BTreeMap<Slot, u64>,
        number: usize,
    ) -> Vec<(TopicPartition, Position)> {
        let topic: Arc<str> = self.writing.config.fence.as_str().into();
        let mark = Bytes::copy_from_slice(self.writing.mark.as_bytes());
        let given = group.iter().flat_map(|given| given.transaction.positions.iter().cloned());
        let mut positions: BTreeMap<TopicPartition, Position> = given.collect();
        for (slot, count) in counted {
            let position = Position { offset: Offset(*count), metadata: mark.clone() };
            positions.insert(fence::of(&topic, *slot, number), position);
        }
        if counted.is_empty() {
            positions.insert(fence::of_none(&topic), Position { offset: Offset::ZERO, metadata: mark });
        }
        positions.into_iter().collect()
    }

    /// A known outcome as it is; for an unknown one, what the counters say.
    fn settled(
        &mut self,
        done: Result<Vec<Offset>, Undone>,
        counted: Option<(&Member, &BTreeMap<Slot, u64>, usize)>,
    ) -> Result<Vec<Offset>, Undone> {
        let Err(Undone::Unknown(why, offsets)) = done else { return done };
        warn!(writer = self.writing.id, %why, "the outcome of a transaction is not known: finding out");
        self.producer = None;
        let Some((member, counted, number)) = counted.filter(|(_, counted, _)| !counted.is_empty()) else {
            return Err(Undone::Unknown(why, offsets));
        };
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            // Whoever took our place decides what was open, and counts on.
            if self.is_replaced() || !member.leases.is_open() {
                return Err(Undone::Fenced);
            }
            let outcome = self.outcome(&member.group, counted, number);
            info!(writer = self.writing.id, ?outcome, "what became of the transaction");
            match outcome {
                Some(Counted::Ours) => return Ok(offsets),
                Some(Counted::Before) => return Err(Undone::Redo),
                Some(Counted::Others) => return Err(Undone::Stale(Code::FencedInstanceId)),
                None => thread::sleep(PAUSE * 5),
            }
        }
        Err(Undone::Unknown(why, offsets))
    }

    /// What the counters say of a transaction that would have put them there; `None` while nobody says.
    fn outcome(&mut self, group: &str, counted: &BTreeMap<Slot, u64>, number: usize) -> Option<Counted> {
        // Initialising the id decides what was open.
        self.ready().ok()?;
        let topic: Arc<str> = self.writing.config.fence.as_str().into();
        let at: Vec<_> = counted.keys().map(|slot| fence::of(&topic, *slot, number)).collect();
        let found = self.writing.admin.positions_now(group, &at, true).ok()??;
        fence::judge(&found, counted.values(), self.writing.mark.as_bytes())
    }
}

fn is_held(member: &Member, held: &Held, transaction: &Transaction) -> bool {
    member.leases.is_open() && transaction.leases.iter().all(|lease| held.holds(&member.group, lease))
}

/// What these want of which topics.
fn wanted(group: &[Given]) -> BTreeSet<(&str, Want)> {
    let mut wanted = BTreeSet::new();
    for Given { transaction, .. } in group {
        wanted.extend(transaction.appends.iter().map(|append| (&*append.at.topic, Want::Write)));
        wanted.extend(transaction.positions.iter().map(|(at, _)| (&*at.topic, Want::Read)));
    }
    wanted
}

/// What the counter of each slot that these touch will be.
fn counted(group: &[Given], held: &Held, number: usize) -> BTreeMap<Slot, u64> {
    let slots: BTreeSet<Slot> =
        group.iter().flat_map(|given| &given.transaction.leases).map(|lease| lease.slot).collect();
    slots.into_iter().map(|slot| (slot, held.count(slot, number) + 1)).collect()
}

fn refused(at: &TopicPartition, refusal: Refusal) -> Error {
    Error::Abort(Culprit::Append { at: at.clone(), refusal })
}

/// The transaction whose record this is, of all of theirs, is answered and no longer among them.
fn leave_out(group: &mut Vec<Given>, index: usize, code: Code, admin: &Admin) {
    let mut passed = 0;
    let of = group.iter().position(|given| {
        passed += given.transaction.appends.len();
        index < passed
    });
    let Some(of) = of else { return };
    let given = group.remove(of);
    let within = index + given.transaction.appends.len() - passed;
    let at = given.transaction.appends.get(within).map(|append| append.at.clone());
    let error = match (at, refusal(code)) {
        (Some(at), Some(refusal)) => {
            admin.forget(&at.topic);
            refused(&at, refusal)
        }
        _ => Error::Retry(code.to_string()),
    };
    given.rejected(error);
}

fn answer(group: Vec<Given>, offsets: Vec<Offset>, admin: &Admin) {
    let mut offsets = offsets.into_iter();
    for given in group {
        let of: Vec<_> = offsets.by_ref().take(given.transaction.appends.len()).collect();
        given.transaction.appends.iter().zip(&of).for_each(|(append, at)| admin.promised.note(&append.at, *at));
        given.done(of);
    }
}

fn reject(group: Vec<Given>, error: &Error) {
    group.into_iter().for_each(|given| given.rejected(error.clone()));
}
