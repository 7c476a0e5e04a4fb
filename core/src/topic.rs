//! A tenant's topic as the API takes and gives it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Violation, limits};

/// The settings of a topic. Absent fields take these defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TopicSettings {
    /// Fixed at creation.
    pub partitions: u32,
    /// Records older than this are removed; null keeps them.
    pub retention_ms: Option<u64>,
    /// The oldest records of a partition are removed beyond this; null keeps them.
    pub retention_bytes: Option<u64>,
    /// Keeps only the last record of each key.
    pub compacted: bool,
}

impl Default for TopicSettings {
    /// One partition, seven days: Kafka's default retention.
    fn default() -> Self {
        let week = Duration::from_secs(7 * 24 * 3600);
        Self {
            partitions: 1,
            retention_ms: u64::try_from(week.as_millis()).ok(),
            retention_bytes: None,
            compacted: false,
        }
    }
}

impl TopicSettings {
    /// Those of a tenant's topic `system`.
    pub fn system() -> Self {
        Self { retention_bytes: Some(limits::SYSTEM_KEPT_BYTES), ..Self::default() }
    }

    /// What is wrong with them.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        if !(1..=limits::PARTITIONS_MAX).contains(&self.partitions) {
            found.push(Violation::new("/partitions", format!("must be 1 to {}", limits::PARTITIONS_MAX)));
        }
        if self.retention_ms.is_some_and(|ms| ms < 1000) {
            found.push(Violation::new("/retentionMs", "must be at least 1000, or null to keep records for ever"));
        }
        if self.retention_bytes.is_some_and(|bytes| bytes < 1024 * 1024) {
            found.push(Violation::new("/retentionBytes", "must be at least 1048576, or null for no limit"));
        }
        found
    }
}
