//! What ingest is told at its start.

use fpaas_core::limits;
use fpaas_log::TopicSpec;

use crate::{Trust, Upstream};

/// See the fields. Nothing in here changes while ingest runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name in the consumer group; the same after a restart.
    pub member: String,
    /// Where frames come from, all at once.
    pub upstreams: Vec<Upstream>,
    /// Who vouches for `wss://` upstreams.
    pub trust: Trust,
    /// How the firehose topic is made where it is missing.
    pub firehose: TopicSpec,
}

impl Config {
    /// Public authorities alone; the topic kept for ever, with the usual number of partitions.
    pub fn new(member: impl Into<String>, upstreams: Vec<Upstream>) -> Self {
        let firehose = TopicSpec::kept(limits::FIREHOSE_PARTITIONS);
        Self { member: member.into(), upstreams, trust: Trust::default(), firehose }
    }
}
