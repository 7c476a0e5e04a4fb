//! A writer: checks and encodes on its caller's task, then queues to the one committer.
//!
//! Nothing that is wrong with a transaction by itself gets as far as the queue, so that it cannot hurt those it would
//! be committed with.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use fpaas_core::{Timestamp, TopicPartition, limits};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::codec;
use super::partition::Partition;
use super::shared::{self, Shared, Topics};
use crate::{Append, Culprit, Error, Lease, Position, Receipt, Refusal, Rejected, Result, Transaction, Writer};

/// The room for transactions that wait, in units of 1 KiB.
const ROOM: usize = limits::COMMITS_WAITING_BYTES_MAX / 1024;

/// The way to the committer.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    messages: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
}

/// What the committer hears.
#[derive(Debug)]
pub(super) enum Message {
    /// Commit this.
    Commit(Box<Job>),
    /// Nothing more will come.
    Stop,
}

/// A transaction ready to be committed.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) pen: Arc<Pen>,
    pub(super) leases: Vec<Lease>,
    pub(super) draft: Draft,
    pub(super) answer: oneshot::Sender<Result<Receipt>>,
    _room: OwnedSemaphorePermit,
}

/// The effects of a transaction that is right by itself.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Where its records go, in order.
    pub(super) runs: Vec<Run>,
    /// Timestamp and length of each record; their bytes follow each other in `values`.
    pub(super) records: Vec<(Timestamp, usize)>,
    pub(super) values: Vec<u8>,
    pub(super) positions: Vec<(Place, Position)>,
}

/// A partition by its name, and itself.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) at: TopicPartition,
    pub(super) partition: Arc<Partition>,
}

/// Records that follow each other and go to one partition.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) place: Place,
    pub(super) count: usize,
}

/// Who writes: fenced when another takes the same id, or when the seat is another's.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) id: Arc<str>,
    pub(super) epoch: u64,
    /// The group and the member's number.
    pub(super) seat: Option<(Arc<str>, u64)>,
}

impl Queue {
    /// A queue, and its other end for the committer.
    pub(super) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(limits::COMMITS_WAITING_MAX);
        (Self { messages, room: Arc::new(Semaphore::new(ROOM)) }, receiver)
    }

    /// Ends the committer once it has done what is queued. To be called outside of a runtime's tasks or with room left.
    pub(super) fn stop(&self) {
        while let Err(mpsc::error::TrySendError::Full(_)) = self.messages.try_send(Message::Stop) {
            std::thread::yield_now();
        }
    }

    async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let units = (bytes / 1024).clamp(1, ROOM);
        let permits = Arc::clone(&self.room).acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await;
        permits.map_err(|_| closed())
    }
}

/// Writes for one id.
#[derive(Debug)]
pub(super) struct Committing {
    shared: Weak<Shared>,
    queue: Queue,
    pen: Arc<Pen>,
    /// Held while queueing, so that one caller's commits keep their order: this lock is handed on in turn.
    turn: Mutex<()>,
}

impl Committing {
    /// Takes over the id: whoever wrote under it before is fenced.
    pub(super) fn new(shared: &Arc<Shared>, queue: Queue, id: &str, seat: Option<(Arc<str>, u64)>) -> Self {
        let mut ledger = shared.ledger();
        let epoch = ledger.writers.entry(id.into()).or_default();
        *epoch += 1;
        let pen = Arc::new(Pen { id: id.into(), epoch: *epoch, seat });
        Self { shared: Arc::downgrade(shared), queue, pen, turn: Mutex::default() }
    }

    async fn decide(&self, transaction: &Transaction) -> Result<Receipt> {
        let shared = self.shared.upgrade().ok_or_else(closed)?;
        shared.disk.alive()?;
        let draft = Draft::of(transaction, &shared)?;
        drop(shared);
        let (answer, decided) = oneshot::channel();
        {
            let _turn = self.turn.lock().await;
            let room = self.queue.room_for(draft.values.len()).await?;
            let (pen, leases) = (Arc::clone(&self.pen), transaction.leases.clone());
            let job = Job { pen, leases, draft, answer, _room: room };
            self.queue.messages.send(Message::Commit(Box::new(job))).await.map_err(|_| closed())?;
        }
        decided.await.unwrap_or_else(|_| Err(closed()))
    }
}

#[async_trait]
impl Writer for Committing {
    async fn commit(&self, transaction: Transaction) -> Result<Receipt, Rejected> {
        let decided = self.decide(&transaction).await;
        decided.map_err(|error| Rejected { error, transaction: Box::new(transaction) })
    }
}

impl Draft {
    fn of(transaction: &Transaction, shared: &Shared) -> Result<Self> {
        let bytes = check_sizes(transaction)?;
        let mut draft = Self { values: Vec::with_capacity(bytes), ..Self::default() };
        let topics = shared.topics();
        for append in &transaction.appends {
            draft.append(append, &topics)?;
        }
        for (at, position) in &transaction.positions {
            check_metadata(at, position)?;
            draft.positions.push((find(&topics, at)?, position.clone()));
        }
        Ok(draft)
    }

    fn append(&mut self, append: &Append, topics: &Topics) -> Result<()> {
        match self.runs.last_mut().filter(|run| run.place.at == append.at) {
            Some(run) => run.count += 1,
            None => self.runs.push(Run { place: find(topics, &append.at)?, count: 1 }),
        }
        let start = self.values.len();
        codec::encode(&append.record, &mut self.values);
        self.records.push((append.record.timestamp, self.values.len() - start));
        Ok(())
    }

    /// Every place it has to do with.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.runs.iter().map(|run| &run.place).chain(self.positions.iter().map(|(place, _)| place))
    }
}

/// The bytes to be written, once they are found to be allowed.
fn check_sizes(transaction: &Transaction) -> Result<usize> {
    let mut bytes = 0;
    for append in &transaction.appends {
        bytes += codec::stored_bytes(&append.record);
        // Where the whole is too large, the record that made it so is to blame.
        if append.record.bytes() > limits::RECORD_BYTES_MAX || bytes > limits::TRANSACTION_BYTES_MAX {
            return Err(refuse(&append.at, Refusal::TooLarge));
        }
    }
    Ok(bytes)
}

fn find(topics: &Topics, at: &TopicPartition) -> Result<Place> {
    let partition = shared::find(topics, at).ok_or_else(|| refuse(at, Refusal::NoSuchTopic))?;
    Ok(Place { at: at.clone(), partition })
}

fn check_metadata(at: &TopicPartition, position: &Position) -> Result<()> {
    let fits = position.metadata.len() <= limits::POSITION_METADATA_BYTES_MAX;
    fits.then_some(()).ok_or_else(|| refuse(at, Refusal::TooLarge))
}

/// This append, or this position, cannot be done.
pub(super) fn refuse(at: &TopicPartition, refusal: Refusal) -> Error {
    Error::Abort(Culprit::Append { at: at.clone(), refusal })
}

pub(super) fn closed() -> Error {
    Error::Fatal("the log is closed".to_owned())
}
