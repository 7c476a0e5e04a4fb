//! What can be set about the embedded log, with what each setting costs.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::Clock;

/// When what was acknowledged is forced onto the disk.
///
/// A crash of the process never costs anything, whatever is set here: every commit is handed to the operating system
/// before it is acknowledged. Only a power cut, or a crash of the whole machine, makes a difference. It always cuts at
/// a transaction: what is left is a prefix of what was committed, records and positions alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before each acknowledgement (one sync for all commits that wait). A power cut costs nothing.
    Always,
    /// At most this long after. A power cut may cost the commits of the last interval, a frozen batch included: a
    /// webhook that was called in that interval may then be called again with another batch.
    Interval(Duration),
    /// When the operating system likes to, usually within 30 seconds.
    Never,
}

/// Settings of an [`crate::Embedded`] log.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// What time it is, for retention.
    pub clock: Arc<dyn Clock>,
    /// When commits reach the disk. Default: every 50 ms, which costs a hundredth of the throughput.
    pub fsync: Fsync,
    /// How often retention looks once it was started. Default: 10 s.
    pub retention_interval: Duration,
    /// How long a compacted topic keeps the tombstone of a key, so that a reader on its way sees it. Default: 1 h.
    pub tombstone_grace: Duration,
    /// What a compaction pass remembers of keys at most; with more it goes on in the next one. Default: 8 MiB.
    pub compaction_bytes: usize,
    /// How long a member may take to let go of its revoked slots. Default: 5 s.
    pub revoke_wait: Duration,
    /// Blocks of records kept in memory for readers. Default: 16 MiB.
    pub block_cache_bytes: usize,
    /// Records gathered in memory before they are written as a sorted file; up to three times this is in use.
    /// Default: 16 MiB.
    pub write_buffer_bytes: usize,
    /// For tests: leaves out one offset after every so many, as Kafka's control records do. Default: none.
    pub gap_every: Option<u64>,
}

impl EmbeddedConfig {
    /// The defaults.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            fsync: Fsync::Interval(Duration::from_millis(50)),
            retention_interval: Duration::from_secs(10),
            tombstone_grace: Duration::from_secs(3600),
            compaction_bytes: 8 * 1024 * 1024,
            revoke_wait: Duration::from_secs(5),
            block_cache_bytes: 16 * 1024 * 1024,
            write_buffer_bytes: 16 * 1024 * 1024,
            gap_every: None,
        }
    }
}
