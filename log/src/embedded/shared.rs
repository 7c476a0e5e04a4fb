//! What all parts of an open log share: the disk, the topics, what is visible, and the ledger.
//!
//! Whoever changes the log does so with the ledger in hand, from the first check until the effects are visible. So a
//! lease that was checked stays good until then (invariant: one-owner), and a topic is not removed under a commit.
//! Locks are taken in this order: ledger, topics, positions, one partition's own.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fpaas_core::TopicPartition;

use super::config::EmbeddedConfig;
use super::disk::Disk;
use super::groups::Groups;
use super::keys::PartitionId;
use super::partition::{Partition, Tail};
use super::sync::{Bell, lock, read, write};
use crate::owners::Owners;
use crate::{Error, Position, Result, Retention, TopicSpec};

/// An open log.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: EmbeddedConfig,
    pub(super) disk: Disk,
    pub(super) retention: Bell,
    /// Records that went at a hard limit although a hold stood in the way.
    pub(super) lost: AtomicU64,
    topics: RwLock<Topics>,
    positions: RwLock<Positions>,
    ledger: Mutex<Ledger>,
}

/// Topics by name.
pub(super) type Topics = BTreeMap<Arc<str>, Arc<Topic>>;

/// The committed positions of all groups.
pub(super) type Positions = HashMap<Arc<str>, HashMap<PartitionId, Position>>;

/// What only the one who writes needs.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Who owns which slot.
    pub(super) groups: Groups,
    /// The latest writer of each id; those before it are fenced.
    pub(super) writers: HashMap<Arc<str>, u64>,
    /// Which slot each group's positions belong to, as far as they moved.
    pub(super) owners: Owners<(Arc<str>, PartitionId)>,
    /// The number of the next topic.
    pub(super) next_topic: u32,
}

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: u32,
    pub(super) name: Arc<str>,
    pub(super) partitions: Vec<Arc<Partition>>,
    compacted: bool,
    retention: Mutex<Retention>,
}

impl Topic {
    pub(super) fn new(id: u32, name: Arc<str>, spec: &TopicSpec, partitions: Vec<Arc<Partition>>) -> Arc<Self> {
        let retention = Mutex::new(spec.retention);
        Arc::new(Self { id, name, partitions, compacted: spec.compacted, retention })
    }

    /// Its settings.
    pub(super) fn spec(&self) -> TopicSpec {
        let partitions = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        TopicSpec { partitions, compacted: self.compacted, retention: *lock(&self.retention) }
    }

    /// Changes them.
    pub(super) fn retain(&self, retention: Retention) {
        *lock(&self.retention) = retention;
    }
}

impl Shared {
    pub(super) fn new(
        config: EmbeddedConfig,
        disk: Disk,
        topics: Topics,
        positions: Positions,
        ledger: Ledger,
    ) -> Self {
        Self {
            config,
            disk,
            retention: Bell::default(),
            lost: AtomicU64::new(0),
            topics: RwLock::new(topics),
            positions: RwLock::new(positions),
            ledger: Mutex::new(ledger),
        }
    }

    /// The right to change the log.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(super) fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        read(&self.topics)
    }

    pub(super) fn topics_mut(&self) -> RwLockWriteGuard<'_, Topics> {
        write(&self.topics)
    }

    /// The topic of that name.
    pub(super) fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        self.topics().get(name).cloned().ok_or_else(|| Error::NoSuchTopic(name.to_owned()))
    }

    /// That partition of that topic.
    pub(super) fn partition(&self, at: &TopicPartition) -> Result<Arc<Partition>> {
        self.disk.alive()?;
        find(&self.topics(), at).ok_or_else(|| Error::NoSuchTopic(at.to_string()))
    }

    /// What is visible: positions and ends change under this lock, so whoever reads several of them while holding it
    /// sees all of a transaction or nothing.
    pub(super) fn visible(&self) -> RwLockReadGuard<'_, Positions> {
        read(&self.positions)
    }

    /// The same to change it.
    pub(super) fn visible_mut(&self) -> RwLockWriteGuard<'_, Positions> {
        write(&self.positions)
    }

    /// The visible end of a partition.
    pub(super) fn tail_of(&self, partition: &Partition) -> Tail {
        let _visible = self.visible();
        partition.tail()
    }

    /// Refuses everything from now on, for this reason, and says so to those who wait.
    pub(super) fn end(&self, why: &str) {
        drop(self.disk.end(why.to_owned()));
        self.wake_all();
    }

    /// Lets those who wait at the end of a partition look again.
    pub(super) fn wake_all(&self) {
        self.topics().values().flat_map(|topic| &topic.partitions).for_each(|partition| partition.wake());
    }
}

/// The partition at this place, if there is one.
pub(super) fn find(topics: &Topics, at: &TopicPartition) -> Option<Arc<Partition>> {
    topics.get(&at.topic)?.partitions.get(at.partition.0 as usize).cloned()
}
