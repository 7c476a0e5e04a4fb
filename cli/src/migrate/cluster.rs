//! The cluster's side of a move before it has begun there, and what it says as the move goes on.

use fpaas_core::topics::Topics;
use fpaas_core::{Timestamp, TopicPartition};
use fpaas_log::{Log, Record, TopicSpec, Transaction};

use super::copy::Copier;
use crate::exit::Failure;
use crate::mark::{self, ClusterMark, State};

/// What is on the cluster under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Nothing,
    /// A move, this one or another.
    Move(ClusterMark),
    /// Topics that no move has made.
    Others(Vec<String>),
}

/// What is there under this prefix. What opening a log makes counts as nothing.
pub(super) async fn look(log: &dyn Log, topics: &Topics) -> Result<Found, Failure> {
    if let Some(mark) = mark::read(log, topics).await? {
        return Ok(Found::Move(mark));
    }
    let ours = [topics.slots(), topics.fence(), topics.migration()];
    let mut others = log.list_topics(&format!("{}.", topics.prefix())).await?;
    others.retain(|topic| !ours.contains(topic));
    Ok(if others.is_empty() { Found::Nothing } else { Found::Others(others) })
}

/// Says on the cluster how far the move has come; saying it again does no harm.
pub(super) async fn put(copier: &mut Copier, topics: &Topics, id: &str, state: State) -> Result<(), Failure> {
    let topic = topics.migration();
    copier.to.create_topic(&topic, &TopicSpec::kept(1)).await?;
    let mark = ClusterMark::new(id, state);
    let value = serde_json::to_vec(&mark).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut transaction = Transaction::new();
    let record = Record { value: Some(value.into()), timestamp: Timestamp::default(), ..Record::default() };
    transaction.append(TopicPartition::new(topic, 0), record);
    copier.append(transaction).await
}
