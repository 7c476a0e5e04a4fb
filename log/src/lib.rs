//! The log as FPaaS needs it: one contract, real backends, one suite that every backend passes.
//!
//! ```text
//!                 low                                          end (last stable offset)
//!                  │                                            │
//!   trimmed away   ▼   readable, committed, gaps are normal     ▼   not there yet, or not committed
//!  ───────────────┬──┬──┬──┬──────┬──┬──┬──────┬──┬──┬──┬──┬──┐
//!       …         │ 7│ 8│ 9│  gap │12│13│  gap │17│18│19│20│21│22 …
//!  ───────────────┴──┴──┴──┴──────┴──┴──┴──────┴──┴──┴──┴──┴──┘
//!                           ▲                 ▲
//!                           position 10: 7–9 and all their effects are committed; the next record is 12
//! ```
//!
//! Owns topics, records, positions and membership. Does not own what records mean: that is `core`'s table of topics.
//! Nothing here matches on the text of an error, and nothing may count on `end - start`: offsets have gaps.

mod error;
mod fetch;
mod kafka;
mod membership;
mod owners;
mod patient;
mod record;
mod replay;
mod topic;
mod writer;

pub mod embedded;

#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(feature = "test-util")]
pub mod faulty;

use std::sync::Arc;

use async_trait::async_trait;
use fpaas_core::{Offset, Timestamp, TopicPartition};

pub use embedded::{Embedded, EmbeddedConfig, Fsync};
pub use error::{Culprit, Error, Refusal, Result};
pub use fetch::{FetchBounds, Fetched, Hold, HoldGuard};
pub use kafka::{Finding, Grade, Kafka, KafkaConfig, Reached, Subject};
pub use membership::{Ack, Lease, LeaveGuard, Membership, MembershipEvent};
pub use patient::{Backoff, Patient, patiently};
pub use record::{Record, Stored};
pub use replay::replay;
pub use topic::{Created, Retention, TopicSpec, Watermarks};
pub use writer::{Append, Position, Receipt, Rejected, Transaction, Writer};

/// A log: what `embedded` and `kafka` both are.
///
/// Topics are named by their full name (`fpaas.firehose`). Every method may be called from many tasks at once. What is
/// done with one topic may be answered [`Error::Refused`] where a cluster does not let us.
#[async_trait]
pub trait Log: Send + Sync + std::fmt::Debug {
    /// True where other processes may use the log, too: what no task here uses may be in use elsewhere.
    fn is_shared(&self) -> bool;

    /// Makes a topic, or finds it. A topic that is there with another number of partitions or compaction is
    /// [`Created::Different`] and is left as it is; retention is left as it is too ([`Log::alter_topic`] changes it).
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<Created>;

    /// Changes a topic's retention. [`Error::NoSuchTopic`] where there is none.
    async fn alter_topic(&self, topic: &str, retention: &Retention) -> Result<()>;

    /// Removes a topic with its records and the positions on it. Removing one that is not there is no error.
    async fn delete_topic(&self, topic: &str) -> Result<()>;

    /// A topic's settings, or `None`.
    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicSpec>>;

    /// The names of all topics that start with `prefix`, in order.
    async fn list_topics(&self, prefix: &str) -> Result<Vec<String>>;

    /// The low watermark and the last stable offset of a partition.
    async fn watermarks(&self, at: &TopicPartition) -> Result<Watermarks>;

    /// The last stable offset of each of these partitions, in their order, as [`Log::watermarks`] says it: many at once
    /// cost a cluster little more than one.
    async fn ends(&self, at: &[TopicPartition]) -> Vec<Result<Offset>>;

    /// The end of everything that is appended, decided or not: at or above the last stable offset. Who takes over from
    /// another reads committed records until past it, so as to miss nothing whose commit is on its way.
    async fn appended_end(&self, at: &TopicPartition) -> Result<Offset>;

    /// The offset of the first readable record whose timestamp is `time` or later, or the end where there is none.
    async fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset>;

    /// Removes the records below `before` (at most up to the end): the low watermark never falls.
    async fn trim(&self, at: &TopicPartition, before: Offset) -> Result<()>;

    /// Committed records from `from` on, in order. Waits at most `bounds.wait` at the tail, without polling, and then
    /// answers empty. One fetch serves tailing, browsing, replay and catch-up alike; the caller's pace is the
    /// back-pressure: nothing is read ahead beyond `bounds`.
    async fn fetch(&self, at: &TopicPartition, from: Offset, bounds: FetchBounds) -> Result<Fetched>;

    /// Keeps retention from removing records at or above `from` until the hold moves or is dropped. At the topic's
    /// hard limit (twice its soft one) records go all the same, and the next fetch says which were lost. Trimming
    /// is the owner's own act and obeys no hold. A backend whose retention is not ours (Kafka) holds nothing.
    fn hold(&self, at: &TopicPartition, from: Offset) -> Hold;

    /// The group's committed positions on these partitions, in their order; `None` where none was ever committed.
    /// Always stable: a transaction that is still open is waited for.
    async fn positions(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>>;

    /// Joins a group over the slots (`core::partition::Slot`). A member that joins under a name that is already there
    /// takes its place: the old one is fenced.
    async fn join(&self, group: &str, member: &str) -> Result<Membership>;

    /// A writer. `membership` names the group whose positions its transactions advance and whose leases fence them;
    /// without one, transactions only append. `id` is stable per node, stage and pool: initialising it ends whatever
    /// its predecessor left open.
    async fn writer(&self, id: &str, membership: Option<&Membership>) -> Result<Arc<dyn Writer>>;
}
