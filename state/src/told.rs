//! How subscriptions fare at other nodes: each node tells the others what its board says, in a topic of its own.
//!
//! A node has on its board what it works for itself, and any node may be asked for a subscription's status. So each
//! appends what has changed every few seconds, under its name and the subscription's; whoever is asked reads what is
//! new. Nothing is decided by it, and what a crash loses of it is told again. A node that says nothing any more is not
//! heeded: whoever took over its work speaks for it. On a log of one process there is nobody to tell.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::{Incarnation, Offset, SubscriptionId, TenantId, Timestamp, TopicPartition};
use fpaas_log::{Error as LogError, FetchBounds, Log, Record, Stored, TopicSpec, Transaction, Writer};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::board::Fares;
use crate::rows;
use crate::{Context, Error, Result, SubscriptionEntry};

/// How often a node tells what has changed, and that it is there.
const EVERY: Duration = Duration::from_secs(5);
/// A node that has said nothing for so long is gone. Clocks may differ by some seconds.
const GONE_AFTER: Duration = Duration::from_secs(30);
/// Of one that has been gone for so long nothing is kept.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The most that is told at a time; the rest is told next.
const AT_ONCE: usize = 2000;

/// That a node is there: the value of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Beat {
    at: Timestamp,
}

/// Who, and which subscription, as the record's key has it.
type Key = (String, String);

fn name(tenant: &TenantId, id: &SubscriptionId, incarnation: Incarnation) -> String {
    format!("{tenant}/{id}/{incarnation}")
}

fn at(context: &Context) -> TopicPartition {
    TopicPartition::new(context.topics.board(), 0)
}

/// Tells the others until `shutdown`. What cannot be told is told later.
pub async fn run(context: Context, shutdown: CancellationToken) -> Result<()> {
    if !context.log.is_shared() {
        shutdown.cancelled().await;
        return Ok(());
    }
    let mut telling = Telling { context, writer: None, told: HashMap::new() };
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        match shutdown.run_until_cancelled(telling.tell()).await {
            None | Some(Ok(())) => {}
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
    writer: Option<Arc<dyn Writer>>,
    /// As it was told last, by the subscription's name.
    told: HashMap<String, Fares>,
}

impl Telling {
    async fn tell(&mut self) -> Result<()> {
        let writer = match &self.writer {
            Some(writer) => Arc::clone(writer),
            None => {
                let writer = self.begin().await?;
                Arc::clone(self.writer.insert(writer))
            }
        };
        let (at, now, node) = (at(&self.context), self.context.clock.now(), Arc::clone(&self.context.node));
        let record = |key: String, value| Record { key: Some(key.into()), value, timestamp: now, ..Record::default() };
        let mut transaction = Transaction::new();
        transaction.append(at.clone(), record(node.to_string(), Some(encode(&Beat { at: now })?)));
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        let board: HashMap<_, _> = self.context.board.fares().collect();
        for ((tenant, id, incarnation), fares) in &board {
            let name = name(tenant, id, *incarnation);
            if changed.len() < AT_ONCE && self.told.get(&name) != Some(fares) {
                changed.push((name, fares.clone()));
            }
        }
        if self.told.len() > board.len() {
            let there: Vec<_> = board.keys().map(|(tenant, id, incarnation)| name(tenant, id, *incarnation)).collect();
            gone.extend(self.told.keys().filter(|name| !there.contains(name)).take(AT_ONCE).cloned());
        }
        for (name, fares) in &changed {
            transaction.append(at.clone(), record(format!("{node}/{name}"), Some(encode(fares)?)));
        }
        for name in &gone {
            transaction.append(at.clone(), record(format!("{node}/{name}"), None));
        }
        writer.commit(transaction).await.map_err(|rejected| rejected.error)?;
        self.told.extend(changed);
        gone.iter().for_each(|name| drop(self.told.remove(name)));
        Ok(())
    }

    /// Makes the topic, and removes what nodes have told that are gone for good, and what this one told in another
    /// life.
    async fn begin(&self) -> Result<Arc<dyn Writer>> {
        let (log, at) = (&self.context.log, at(&self.context));
        log.create_topic(&at.topic, &TopicSpec::compacted(1)).await?;
        let writer = log.writer(&format!("{}.board", self.context.node), None).await?;
        let mut heard = Heard::default();
        heard.catch_up(&**log, &at, log.watermarks(&at).await?.end).await?;
        let (now, ours) = (self.context.clock.now(), &*self.context.node);
        let forgotten = |node: &String| *node == ours || heard.is_gone(node, now, FORGOTTEN_AFTER);
        let keys = heard.fares.keys().filter(|(node, _)| forgotten(node)).map(|(node, name)| format!("{node}/{name}"));
        let keys: Vec<_> = keys.chain(heard.nodes.keys().filter(|node| forgotten(node)).cloned()).collect();
        for keys in keys.chunks(AT_ONCE) {
            let mut transaction = Transaction::new();
            for key in keys {
                let record = Record { key: Some(key.clone().into()), timestamp: now, ..Record::default() };
                transaction.append(at.clone(), record);
            }
            writer.commit(transaction).await.map_err(|rejected| rejected.error)?;
        }
        Ok(writer)
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Bytes> {
    rows::encode(value)
}

/// What the others have told, read when somebody asks, and then only what is new.
#[derive(Debug, Default)]
pub struct Told(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    next: Offset,
    nodes: HashMap<String, Timestamp>,
    fares: HashMap<Key, Fares>,
}

impl Told {
    /// How a subscription fares at all nodes together. What others say is left out where the log does not say it now.
    pub async fn of(&self, context: &Context, entry: &SubscriptionEntry) -> Fares {
        if context.log.is_shared() {
            return self.at_all(context, entry).await;
        }
        context.board.of(&entry.tenant, &entry.id, entry.incarnation).fares()
    }

    async fn at_all(&self, context: &Context, entry: &SubscriptionEntry) -> Fares {
        let mut all = context.board.of(&entry.tenant, &entry.id, entry.incarnation).fares();
        let mut heard = self.0.lock().await;
        match heard.follow(&*context.log, &at(context)).await {
            Ok(()) | Err(Error::Log(LogError::NoSuchTopic(_))) => {}
            Err(error) => warn!(%error, "how a subscription fares at other nodes is not known"),
        }
        let (now, name) = (context.clock.now(), name(&entry.tenant, &entry.id, entry.incarnation));
        let speaks = |node: &&String| **node != *context.node && !heard.is_gone(node, now, GONE_AFTER);
        for node in heard.nodes.keys().filter(speaks) {
            heard.fares.get(&(node.clone(), name.clone())).into_iter().for_each(|fares| all.add(fares.clone()));
        }
        all
    }
}

impl Heard {
    async fn follow(&mut self, log: &dyn Log, at: &TopicPartition) -> Result<()> {
        let end = log.watermarks(at).await?.end;
        self.catch_up(log, at, end).await
    }

    async fn catch_up(&mut self, log: &dyn Log, at: &TopicPartition, end: Offset) -> Result<()> {
        while self.next < end {
            let fetched = log.fetch(at, self.next, FetchBounds::now()).await?;
            fetched.records.into_iter().for_each(|stored| self.hear(stored));
            if fetched.next <= self.next {
                break;
            }
            self.next = fetched.next;
        }
        Ok(())
    }

    /// What cannot be read was told by a node of another version.
    fn hear(&mut self, stored: Stored) {
        let Some(key) = stored.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) else { return };
        let value = stored.record.value;
        match key.split_once('/') {
            None => match value.and_then(|value| rows::decode::<Beat>(key, &value).ok()) {
                Some(beat) => drop(self.nodes.insert(key.to_owned(), beat.at)),
                None => drop(self.nodes.remove(key)),
            },
            Some((node, name)) => {
                let key = (node.to_owned(), name.to_owned());
                match value.and_then(|value| rows::decode(name, &value).ok()) {
                    Some(fares) => drop(self.fares.insert(key, fares)),
                    None => drop(self.fares.remove(&key)),
                }
            }
        }
    }

    fn is_gone(&self, node: &str, now: Timestamp, after: Duration) -> bool {
        self.nodes.get(node).is_none_or(|at| now.since(*at) > after)
    }
}

#[cfg(test)]
mod tests;
