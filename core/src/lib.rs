//! The vocabulary every crate shares: names, ids, events, subscriptions, topics, limits.
//!
//! What belongs here is pure: it takes time and randomness as arguments, and does no I/O. No tokio, no clock,
//! no file, no socket will ever be added; a thing that needs one belongs to the crate that owns it.

pub mod access;
pub mod batch_id;
pub mod clock;
pub mod crashpoint;
pub mod event;
pub mod hash;
pub mod headers;
pub mod invariant;
pub mod limits;
pub mod message;
pub mod names;
pub mod offset;
pub mod partition;
pub mod rfc3339;
pub mod subscription;
pub mod topic;
pub mod topics;
pub mod validate;

pub use access::{KeyHash, Scope};
pub use batch_id::BatchId;
pub use clock::{Clock, ManualClock, Timestamp};
pub use crashpoint::Point;
pub use headers::{Headers, HeadersBuilder};
pub use message::Message;
pub use names::{Did, Incarnation, KeyId, PoolId, SubscriptionId, TenantId, TopicName};
pub use offset::{Offset, Partition, TopicPartition};
pub use validate::Violation;
