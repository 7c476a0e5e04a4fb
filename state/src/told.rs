//! How subscriptions fare at other nodes: each node tells the others what its board says, in a topic of its own.
//!
//! A node has on its board what it works for itself, and any node may be asked for a subscription's status. So each
//! appends what has changed every few seconds, under its name and the subscription's, and puts what the others have
//! told on its board. Nothing is decided by it, and what a crash loses of it is told again. On a log of one process
//! there is nobody to tell.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::{Offset, Timestamp, TopicPartition};
use fpaas_log::{Error as LogError, FetchBounds, Record, Stored, TopicSpec, Transaction, Writer};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::board::{self, Fares, Key, Others};
use crate::rows;
use crate::{Context, Error, Result};

/// How often a node tells what is news, and that it is there.
const EVERY: Duration = Duration::from_secs(5);
/// How often it tells numbers that have changed.
const NUMBERS_EVERY: Duration = Duration::from_secs(30);
/// Of a node that has been gone for so long nothing is kept.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The most that is told at a time: the rest, and what was told last, is told next.
const AT_ONCE: usize = 2000;

/// That a node is there: the value of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Beat {
    at: Timestamp,
}

/// Tells the others, and hears them, until `shutdown`. What cannot be told is told later.
pub async fn run(context: Context, shutdown: CancellationToken) -> Result<()> {
    if !context.log.is_shared() {
        shutdown.cancelled().await;
        return Ok(());
    }
    let (mut telling, mut is_refused) = (Telling::new(context), false);
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        match shutdown.run_until_cancelled(telling.turn()).await {
            None => {}
            Some(Ok(())) => is_refused = false,
            // Somebody has removed it: it is made again, and all is told.
            Some(Err(Error::Log(LogError::NoSuchTopic(_)))) => telling = Telling::new(telling.context),
            Some(Err(Error::Log(error @ LogError::Refused(_)))) if !is_refused => {
                warn!(%error, "other nodes are not told how subscriptions fare");
                is_refused = true;
            }
            Some(Err(Error::Log(error))) if !matches!(error, LogError::Fatal(_)) => {
                debug!(%error, "what the board says is told later");
            }
            Some(Err(error)) => return Err(error),
        }
    }
    Ok(())
}

struct Telling {
    context: Context,
    at: TopicPartition,
    writer: Option<Arc<dyn Writer>>,
    /// As it was told last, and when, by the subscription's name.
    told: HashMap<String, (Fares, Instant)>,
    /// What is heard next.
    next: Offset,
}

impl Telling {
    fn new(context: Context) -> Self {
        let at = TopicPartition::new(context.topics.board(), 0);
        Self { context, at, writer: None, told: HashMap::new(), next: Offset::ZERO }
    }

    async fn turn(&mut self) -> Result<()> {
        let writer = match &self.writer {
            Some(writer) => Arc::clone(writer),
            None => {
                let writer = self.begin().await?;
                Arc::clone(self.writer.insert(writer))
            }
        };
        self.tell(&*writer).await?;
        self.hear().await?;
        self.forget(&*writer).await
    }

    /// Makes the topic. What this node told in another life is taken back.
    async fn begin(&mut self) -> Result<Arc<dyn Writer>> {
        self.context.log.create_topic(&self.at.topic, &TopicSpec::compacted(1)).await?;
        let writer = self.context.log.writer(&format!("{}.board", self.context.node), None).await?;
        self.hear().await?;
        let node = self.context.node.to_string();
        let before = self.context.board.others().fares.remove(&node).unwrap_or_default();
        self.remove(&*writer, before.into_keys().map(|name| format!("{node}/{name}")).collect()).await?;
        Ok(writer)
    }

    async fn tell(&mut self, writer: &dyn Writer) -> Result<()> {
        let view = self.context.control.view();
        let is_there = |(tenant, id, incarnation): &Key| {
            view.subscription(tenant, id).is_some_and(|entry| entry.incarnation == *incarnation)
        };
        self.context.board.retain(is_there);
        let fares: HashMap<String, Fares> =
            self.context.board.fares().map(|(key, fares)| (board::name(&key), fares)).collect();
        let is_due = |(name, fares): &(&String, &Fares)| match self.told.get(*name) {
            None => true,
            Some((told, since)) => told != *fares && (fares.is_news(told) || since.elapsed() >= NUMBERS_EVERY),
        };
        let mut due: Vec<_> = fares.iter().filter(is_due).map(|(name, fares)| (name.clone(), fares.clone())).collect();
        // Those that have waited longest first.
        due.sort_by_key(|(name, _)| self.told.get(name).map(|(_, since)| *since));
        due.truncate(AT_ONCE);
        let gone: Vec<_> = self.told.keys().filter(|name| !fares.contains_key(*name)).take(AT_ONCE).cloned().collect();
        let (mut transaction, node) = (Transaction::new(), Arc::clone(&self.context.node));
        let now = self.context.clock.now();
        let mut append = |key: String, value| {
            let record = Record { key: Some(key.into()), value, timestamp: now, ..Record::default() };
            transaction.append(self.at.clone(), record);
        };
        for (name, fares) in &due {
            append(format!("{node}/{name}"), Some(rows::encode(fares)?));
        }
        gone.iter().for_each(|name| append(format!("{node}/{name}"), None));
        append(node.to_string(), Some(rows::encode(&Beat { at: now })?));
        writer.commit(transaction).await.map_err(|rejected| rejected.error)?;
        let since = Instant::now();
        self.told.extend(due.into_iter().map(|(name, fares)| (name, (fares, since))));
        gone.iter().for_each(|name| drop(self.told.remove(name)));
        Ok(())
    }

    /// Puts on the board what others have told since.
    async fn hear(&mut self) -> Result<()> {
        let end = self.context.log.watermarks(&self.at).await?.end;
        while self.next < end {
            let fetched = self.context.log.fetch(&self.at, self.next, FetchBounds::now()).await?;
            let mut others = self.context.board.others();
            fetched.records.into_iter().for_each(|stored| note(&mut others, stored));
            if fetched.next <= self.next {
                break;
            }
            self.next = fetched.next;
        }
        Ok(())
    }

    /// What is of nobody: subscriptions that are deleted here, and nodes that are gone for good, for everybody.
    async fn forget(&self, writer: &dyn Writer) -> Result<()> {
        let now = self.context.clock.now();
        let view = self.context.control.view();
        let there = view.subscriptions.values();
        let there = there.map(|entry| board::name(&(entry.tenant.clone(), entry.id.clone(), entry.incarnation)));
        let there: HashSet<String> = there.collect();
        let mut keys = Vec::new();
        {
            let mut others = self.context.board.others();
            let Others { nodes, fares } = &mut *others;
            fares.values_mut().for_each(|fares| fares.retain(|name, _| there.contains(name)));
            for (node, _) in nodes.iter().filter(|(_, at)| now.since(**at) > FORGOTTEN_AFTER) {
                let names = fares.get(node).into_iter().flatten();
                keys.extend(names.map(|(name, _)| format!("{node}/{name}")).chain([node.clone()]));
            }
        }
        self.remove(writer, keys).await
    }

    async fn remove(&self, writer: &dyn Writer, keys: Vec<String>) -> Result<()> {
        let timestamp = self.context.clock.now();
        for keys in keys.chunks(AT_ONCE) {
            let mut transaction = Transaction::new();
            for key in keys {
                let record = Record { key: Some(key.clone().into()), timestamp, ..Record::default() };
                transaction.append(self.at.clone(), record);
            }
            writer.commit(transaction).await.map_err(|rejected| rejected.error)?;
        }
        Ok(())
    }
}

/// What cannot be read was told by a node of another version.
fn note(others: &mut Others, stored: Stored) {
    let Some(key) = stored.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) else { return };
    let value = stored.record.value;
    match key.split_once('/') {
        None => match value.and_then(|value| rows::decode::<Beat>(key, &value).ok()) {
            Some(beat) => drop(others.nodes.insert(key.to_owned(), beat.at)),
            None => {
                others.nodes.remove(key);
                others.fares.remove(key);
            }
        },
        Some((node, name)) => match value.and_then(|value| rows::decode(name, &value).ok()) {
            Some(fares) => drop(others.fares.entry(node.to_owned()).or_default().insert(name.to_owned(), fares)),
            None => drop(others.fares.get_mut(node).and_then(|fares| fares.remove(name))),
        },
    }
}

#[cfg(test)]
mod tests;
