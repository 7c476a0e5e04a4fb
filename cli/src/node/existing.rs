//! Topics that are on a cluster already: whether they are those that a node counts on, asked before it makes anything.

use fpaas_core::partition::SLOTS;
use fpaas_core::topics::{Stage, Topics};
use fpaas_core::{PoolId, TenantId};
use fpaas_log::{Reached, TopicSpec};
use fpaas_state::Control;

use super::backend::unopened;
use crate::exit::Failure;

/// A topic as it must be; any number of partitions will do where none is named.
struct Expected {
    topic: String,
    partitions: Option<u32>,
    compacted: bool,
}

/// `partitions` is how many the firehose was asked to have.
pub(super) async fn check(reached: &Reached, topics: &Topics, partitions: Option<u32>) -> Result<(), Failure> {
    for expected in all(topics, &PoolId::of_tenant(&TenantId::local())) {
        let found = reached.describe_topic(&expected.topic).await.map_err(unopened)?;
        if let Some(found) = found {
            expected.check(&found)?;
            if expected.topic == topics.firehose() {
                asked(&expected.topic, partitions, found.partitions)?;
            }
        }
    }
    Ok(())
}

fn all(topics: &Topics, pool: &PoolId) -> [Expected; 6] {
    let expected = |topic, partitions, compacted| Expected { topic, partitions, compacted };
    [
        expected(topics.firehose(), None, false),
        expected(topics.ingest(), Some(1), true),
        expected(topics.control(), Some(1), false),
        expected(topics.control_snapshot(), Some(1), false),
        expected(topics.tables(pool, Stage::Router), Some(SLOTS), true),
        expected(topics.tables(pool, Stage::Dispatcher), Some(SLOTS), true),
    ]
}

impl Expected {
    fn check(&self, found: &TopicSpec) -> Result<(), Failure> {
        let shape = |partitions: u32, compacted: bool| {
            format!("{partitions} partitions, {}", if compacted { "compacted" } else { "not compacted" })
        };
        let partitions = self.partitions.unwrap_or(found.partitions);
        if partitions == found.partitions && self.compacted == found.compacted {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "the topic {} is there with {}, and FPaaS needs {}: it is not ours, or was changed; choose another --topic-prefix",
            self.topic,
            shape(found.partitions, found.compacted),
            shape(partitions, self.compacted)
        )))
    }
}

/// Who asks for a number of partitions that is not there is told: it cannot be changed.
pub(super) fn asked(topic: &str, asked: Option<u32>, found: u32) -> Result<(), Failure> {
    match asked {
        Some(asked) if asked != found => Err(Failure::Usage(format!(
            "--partitions {asked}: the topic {topic} has {found} since it was made, which stays; leave --partitions out"
        ))),
        _ => Ok(()),
    }
}

/// A source that has fewer partitions than it had when a subscription began to read it was made anew: what stood in it
/// is gone, and places in it mean something else.
pub(super) fn whole(topic: &str, found: u32, control: &Control) -> Result<(), Failure> {
    let view = control.view();
    let of_firehose = view.subscriptions.values().filter(|entry| entry.config.source.topic.is_firehose());
    let most = of_firehose.map(|entry| (entry.starts.len(), &entry.id)).max();
    match most {
        Some((had, id)) if had > found as usize => Err(Failure::Usage(format!(
            "the topic {topic} has {found} partitions, and had {had} when the subscription {id} was made: somebody has \
             made it anew; restore it, or choose another --topic-prefix"
        ))),
        _ => Ok(()),
    }
}
