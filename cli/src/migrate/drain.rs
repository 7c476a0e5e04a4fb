//! Before anything is copied: every frozen batch is finished, so that no call is repeated on the other side.
//!
//! The dispatcher does it, on the log that moves: it takes up what is frozen and freezes no more. Killed, it has done
//! what a node does that is killed. Owns the deadline, and what is said when it is over.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::topics::Topics;
use fpaas_core::{Clock, TopicPartition};
use fpaas_log::Log;
use fpaas_state::{Board, Context, Control};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::places::settled;
use crate::exit::Failure;

/// Whose batches, how, and for how long.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) log: Arc<dyn Log>,
    pub(super) topics: Topics,
    /// As it was called on that log.
    pub(super) node: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: fpaas_dispatcher::Config,
    pub(super) wait: Duration,
}

impl Draining {
    /// Returns once no batch is frozen.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { log, topics, node, clock, config, wait } = self;
        let control = Control::open(Arc::clone(&log), topics.clone(), &node).await?;
        // What it leads to is applied: topics of deleted subscriptions are gone, those of the others are there.
        drop(control.restore().await?);
        settled(&control.view())?;
        let context = Context { log, topics, control, board: Arc::new(Board::default()), clock, node };
        let shutdown = CancellationToken::new();
        info!(seconds = wait.as_secs(), "finishing the batches that are frozen");
        let mut drains = JoinSet::new();
        for pool in context.control.view().pools() {
            drains.spawn(fpaas_dispatcher::drain(context.clone(), pool, config.clone(), shutdown.clone()));
        }
        let mut all = std::pin::pin!(all(drains));
        let left = tokio::select! {
            left = &mut all => left?,
            () = tokio::time::sleep(wait) => {
                shutdown.cancel();
                all.await?
            }
        };
        if left.is_empty() { Ok(()) } else { Err(still_frozen(&context, &left, wait)) }
    }
}

/// What is left of all pools.
async fn all(
    mut drains: JoinSet<Result<Vec<TopicPartition>, fpaas_dispatcher::Error>>,
) -> Result<Vec<TopicPartition>, Failure> {
    let mut left = Vec::new();
    while let Some(drained) = drains.join_next().await {
        left.extend(drained.map_err(|error| Failure::Failed(format!("a task panicked: {error}")))??);
    }
    Ok(left)
}

/// Which subscriptions, why, and what can be done about it.
fn still_frozen(context: &Context, left: &[TopicPartition], wait: Duration) -> Failure {
    let lines: Vec<String> = left.iter().map(|at| describe(context, at)).collect();
    Failure::Failed(format!(
        "not moved: {} of the batches that were frozen are not finished after {} s, and none may be:\n  {}\n\
         Nothing was copied, and the installation can be started as before. Either mend the endpoint and run this \
         again, with a longer --drain-wait if it is slow; or start the installation and let the subscription give up \
         (retry: a shorter maxElapsedMs, onExhausted deadLetter or drop), or delete it.",
        left.len(),
        wait.as_secs(),
        lines.join("\n  ")
    ))
}

fn describe(context: &Context, at: &TopicPartition) -> String {
    let Some((_, _, subscription, _)) = context.topics.parse_internal(&at.topic) else { return at.to_string() };
    let view = context.control.view();
    let entry = view
        .subscriptions
        .values()
        .find(|entry| context.topics.deliveries(&entry.tenant, &entry.id, entry.incarnation) == *at.topic);
    let counters = entry.map(|entry| context.board.of(&entry.tenant, &entry.id, entry.incarnation));
    let why = counters.and_then(|counters| {
        let last = || counters.last_outcome().map(|last| format!("{}: {}", last.outcome, last.message));
        counters.stopped().or_else(last)
    });
    let why = why.unwrap_or_else(|| "its call is not answered yet".to_owned());
    format!("subscription {subscription}, lane {}: {why}", at.partition)
}
