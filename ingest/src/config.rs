//! What ingest is told at its start.

use fpaas_core::limits;
use fpaas_log::TopicSpec;

use crate::Upstream;

/// See the fields. Nothing in here changes while ingest runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name in the consumer group; the same after a restart.
    pub member: String,
    /// Where frames come from, all at once.
    pub upstreams: Vec<Upstream>,
    /// How the firehose topic is made where it is missing.
    pub firehose: TopicSpec,
}

impl Config {
    /// Kept for ever, with the usual number of partitions.
    pub fn new(member: impl Into<String>, upstreams: Vec<Upstream>) -> Self {
        Self { member: member.into(), upstreams, firehose: TopicSpec::kept(limits::FIREHOSE_PARTITIONS) }
    }
}
