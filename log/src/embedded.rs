//! The log of one process, on RocksDB: durable, transactional, one folder.
//!
//! ```text
//!  writers ──▶ queue ──▶ committer ──▶ one write for all that waits ──▶ ends and positions become visible
//!                          │ checks leases, topics; gives offsets               │
//!  membership ─▶ groups ◀──┘ (all with the ledger in hand)                      ▼
//!  readers ◀───────────── scans of RocksDB, from the low watermark up to the visible end, woken at the tail
//! ```
//!
//! A process may end at any instruction: what was acknowledged is there again, what was not is there as a whole or not
//! at all. Owns the folder it is given. Does not own what records mean.

mod admin;
mod balance;
mod codec;
mod commit;
mod compaction;
mod config;
mod disk;
mod explain;
mod fetch;
mod folder;
mod groups;
mod index;
mod keys;
mod options;
mod partition;
mod recovery;
mod restore;
mod retention;
mod room;
mod seat;
mod shared;
mod sync;
mod wal;
mod writer;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use fpaas_core::{Offset, Timestamp, TopicPartition};

pub use config::{EmbeddedConfig, Fsync};

use crate::{
    Created, Error, FetchBounds, Fetched, Hold, Log, Membership, Position, Result, Retention, TopicSpec, Watermarks,
    Writer,
};
use disk::Disk;
use folder::Folder;
use seat::Seat;
use shared::Shared;
use sync::lock;
use writer::{Committing, Queue};

/// The embedded log. Open once per folder; dropping it closes it.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    queue: Queue,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens the log in `folder`, which is made if it is not there. [`Error::Fatal`] says what is wrong with a folder
    /// that cannot be used: not a folder, not writable, holding other things, in use, of a newer format, damaged.
    pub fn open(folder: &Path, config: EmbeddedConfig) -> Result<Arc<Self>> {
        let disk = Disk::open(Folder::open(folder)?, &config)?;
        let shared = Arc::new(restore::shared(disk, config)?);
        let (queue, messages) = Queue::new();
        let log = Self { shared, queue, threads: Mutex::default() };
        log.start("log-commit", move |shared| {
            commit::run(shared, messages);
        })?;
        log.start("log-retention", retention::run)?;
        if let Fsync::Interval(interval) = log.shared.config.fsync {
            log.start("log-sync", move |shared| sync_each(shared, interval))?;
        }
        Ok(Arc::new(log))
    }

    /// Lets retention begin in the background. Not done by opening, since readers first have to say what they hold.
    pub fn start_retention(&self) {
        self.shared.retention.ring();
    }

    /// One pass of retention and compaction, now.
    pub fn run_retention_once(&self) -> Result<()> {
        retention::pass(&self.shared)
    }

    /// How many records were removed at a hard limit although a hold stood in the way, since the open.
    pub fn lost_records(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Commits what is queued, forces everything onto the disk and ends. Every later call is refused.
    pub fn close(&self) -> Result<()> {
        self.queue.stop();
        self.shared.retention.stop();
        self.shared.disk.unsynced.stop();
        let threads = std::mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return Ok(());
        }
        // A thread that panicked has said so; what it left undone was not acknowledged.
        threads.into_iter().for_each(|thread| drop(thread.join()));
        let synced = self.shared.disk.sync();
        self.shared.end("the log is closed");
        synced
    }

    fn start(&self, name: &str, work: impl FnOnce(&Shared) + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared));
        let thread = spawned.map_err(|error| Error::Fatal(format!("cannot start the thread {name}: {error}")))?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Runs `work` where it holds up no task.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> Result<T> + Send + 'static) -> Result<T> {
        self.shared.disk.alive()?;
        let shared = Arc::clone(&self.shared);
        fetch::blocking(move || work(&shared)).await
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the log was not closed well");
        }
    }
}

/// Off the commits' path: what was written is forced onto the disk at most `interval` later.
fn sync_each(shared: &Shared, interval: std::time::Duration) {
    while shared.disk.unsynced.wait() && shared.disk.unsynced.pause(interval) {
        if shared.disk.sync().is_err() {
            return shared.wake_all();
        }
    }
}

#[async_trait]
impl Log for Embedded {
    fn is_shared(&self) -> bool {
        false
    }

    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<Created> {
        let (topic, spec) = (topic.to_owned(), spec.clone());
        self.blocking(move |shared| admin::create(shared, &topic, &spec)).await
    }

    async fn alter_topic(&self, topic: &str, retention: &Retention) -> Result<()> {
        let (topic, retention) = (topic.to_owned(), *retention);
        self.blocking(move |shared| admin::alter(shared, &topic, retention)).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        let topic = topic.to_owned();
        self.blocking(move |shared| admin::delete(shared, &topic)).await
    }

    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicSpec>> {
        self.shared.disk.alive()?;
        Ok(self.shared.topics().get(topic).map(|topic| topic.spec()))
    }

    async fn list_topics(&self, prefix: &str) -> Result<Vec<String>> {
        self.shared.disk.alive()?;
        let topics = self.shared.topics();
        let from = topics.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        Ok(from.map(|(name, _)| name.to_string()).take_while(|name| name.starts_with(prefix)).collect())
    }

    async fn watermarks(&self, at: &TopicPartition) -> Result<Watermarks> {
        let partition = self.shared.partition(at)?;
        let low = Offset(partition.low());
        Ok(Watermarks { low, end: Offset(self.shared.tail_of(&partition).end).max(low) })
    }

    async fn ends(&self, at: &[TopicPartition]) -> Vec<Result<Offset>> {
        let end = |at| self.shared.partition(at).map(|of| Offset(self.shared.tail_of(&of).end.max(of.low())));
        at.iter().map(end).collect()
    }

    /// What is appended is decided.
    async fn appended_end(&self, at: &TopicPartition) -> Result<Offset> {
        Ok(self.watermarks(at).await?.end)
    }

    async fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset> {
        let partition = self.shared.partition(at)?;
        self.blocking(move |shared| fetch::offset_at(shared, &partition, time)).await
    }

    async fn trim(&self, at: &TopicPartition, before: Offset) -> Result<()> {
        let partition = self.shared.partition(at)?;
        self.blocking(move |shared| admin::trim(shared, &partition, before.0)).await
    }

    async fn fetch(&self, at: &TopicPartition, from: Offset, bounds: FetchBounds) -> Result<Fetched> {
        fetch::fetch(&self.shared, at, from, bounds).await
    }

    fn hold(&self, at: &TopicPartition, from: Offset) -> Hold {
        self.shared.partition(at).map_or(Hold::nothing(), |partition| Hold::new(partition.hold(from.0)))
    }

    async fn positions(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>> {
        self.shared.disk.alive()?;
        let topics = self.shared.topics();
        let visible = self.shared.visible();
        let positions = visible.get(group);
        let position = |at| positions?.get(&shared::find(&topics, at)?.id).cloned();
        Ok(at.iter().map(position).collect())
    }

    async fn join(&self, group: &str, member: &str) -> Result<Membership> {
        self.shared.disk.alive()?;
        Ok(seat::join(&self.shared, group, member))
    }

    async fn writer(&self, id: &str, membership: Option<&Membership>) -> Result<Arc<dyn Writer>> {
        self.shared.disk.alive()?;
        let seat = membership.map(|membership| {
            let seat = membership.guard::<Seat>().ok_or_else(|| Error::Fatal("a membership of another log".to_owned()));
            seat.map(|seat| (Arc::clone(membership.group()), seat.id))
        });
        Ok(Arc::new(Committing::new(&self.shared, self.queue.clone(), id, seat.transpose()?)))
    }
}
