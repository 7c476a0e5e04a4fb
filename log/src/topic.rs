//! Topics: their settings and their watermarks.

use std::time::Duration;

use fpaas_core::Offset;
use serde::{Deserialize, Serialize};

/// How a topic is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSpec {
    /// At least 1, fixed at creation.
    pub partitions: u32,
    /// Keeps only the last record of each key; a record without a value removes its key.
    pub compacted: bool,
    /// When records may go.
    pub retention: Retention,
}

impl TopicSpec {
    /// Kept for ever, not compacted.
    pub const fn kept(partitions: u32) -> Self {
        Self { partitions, compacted: false, retention: Retention::FOREVER }
    }

    /// Kept for ever, compacted.
    pub const fn compacted(partitions: u32) -> Self {
        Self { partitions, compacted: true, retention: Retention::FOREVER }
    }
}

/// When records may go: the first limit that is reached. Both are soft where a [`crate::Hold`] stands in the way; the
/// hard limits are twice these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// By the records' timestamps.
    pub time: Option<Duration>,
    /// Of one partition.
    pub bytes: Option<u64>,
}

impl Retention {
    /// Never.
    pub const FOREVER: Self = Self { time: None, bytes: None };
}

/// What [`crate::Log::create_topic`] found or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New,
    /// It was there, as asked (retention apart).
    Existed,
    /// It was there with other partitions or compaction; this is what is there.
    Different(TopicSpec),
}

/// The readable range of a partition: `low..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Records below it are gone.
    pub low: Offset,
    /// The last stable offset: what is below it is committed.
    pub end: Offset,
}
