//! How far subscriptions are on their source, and redrives in their lanes, one by one: the rows of the stages, followed
//! from their changelogs.
//!
//! The group's position is the scan's and says nothing about a subscription that is still catching up. Read when
//! somebody asks, and then only what is new. Decides nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{Error as LogError, FetchBounds, Log, Stored};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::rows::{self, RedriveRow, ScanRow};
use crate::{Context, Result, SubscriptionEntry};

/// See the module's head.
#[derive(Debug, Default)]
pub struct Standings(Mutex<HashMap<TopicPartition, Followed>>);

/// The rows of one slot, up to `next`.
#[derive(Debug, Default)]
struct Followed {
    next: Offset,
    rows: BTreeMap<String, Bytes>,
}

impl Standings {
    /// What the router wrote about `entry` on a partition of its source, if it did yet.
    pub async fn of(
        &self,
        context: &Context,
        entry: &SubscriptionEntry,
        source: &TopicPartition,
    ) -> Result<Option<ScanRow>> {
        self.row(context, entry, source, &rows::scan_key(entry, source)).await
    }

    /// The same of many, in their order, with few questions to the log. Of a slot whose changelog cannot be read it
    /// says why.
    pub async fn of_all(
        &self,
        context: &Context,
        asked: &[(&SubscriptionEntry, &TopicPartition)],
    ) -> Vec<Result<Option<ScanRow>>> {
        let changelogs: Vec<_> = asked.iter().map(|(entry, source)| changelog(context, entry, source)).collect();
        let different: Vec<_> = changelogs.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let ends = context.log.ends(&different).await;
        let (mut all, mut failed) = (self.0.lock().await, HashMap::new());
        for (at, end) in different.into_iter().zip(ends) {
            let followed = all.entry(at.clone()).or_default();
            let caught_up = match end {
                Ok(end) => followed.catch_up(&*context.log, &at, end).await,
                Err(error) => Err(error),
            };
            if let Err(error) = caught_up {
                failed.insert(at, error);
            }
        }
        let mut rows = Vec::with_capacity(asked.len());
        for ((entry, source), at) in asked.iter().zip(&changelogs) {
            let key = rows::scan_key(entry, source);
            rows.push(match (failed.get(at), all.get(at)) {
                // The router did not start yet.
                (Some(LogError::NoSuchTopic(_)), _) | (None, None) => Ok(None),
                (Some(error), _) => Err(error.clone().into()),
                (None, Some(followed)) => followed.row(&key),
            });
        }
        rows
    }

    /// How far a replay has come there, if it has begun.
    pub async fn of_replay(
        &self,
        context: &Context,
        entry: &SubscriptionEntry,
        since: u64,
        source: &TopicPartition,
    ) -> Result<Option<ScanRow>> {
        self.row(context, entry, source, &rows::replay_key(entry, since, source)).await
    }

    /// How far a redrive has come in the lane of these deliveries, if it has begun.
    pub async fn of_redrive(
        &self,
        context: &Context,
        entry: &SubscriptionEntry,
        since: u64,
        lane: &TopicPartition,
    ) -> Result<Option<RedriveRow>> {
        let slot = Slot::of_lane(entry.tenant.as_str(), entry.id.as_str(), lane.partition);
        let at = TopicPartition::new(context.topics.tables(&entry.pool, Stage::Dispatcher), slot.0);
        self.row_of(context, at, &rows::redrive_key(lane, since)).await
    }

    async fn row(
        &self,
        context: &Context,
        entry: &SubscriptionEntry,
        source: &TopicPartition,
        key: &str,
    ) -> Result<Option<ScanRow>> {
        self.row_of(context, changelog(context, entry, source), key).await
    }

    async fn row_of<T: DeserializeOwned>(&self, context: &Context, at: TopicPartition, key: &str) -> Result<Option<T>> {
        let end = match context.log.watermarks(&at).await {
            // The stage did not start yet.
            Err(LogError::NoSuchTopic(_)) => return Ok(None),
            marks => marks?.end,
        };
        let mut all = self.0.lock().await;
        let followed = all.entry(at.clone()).or_default();
        match followed.catch_up(&*context.log, &at, end).await {
            Err(LogError::NoSuchTopic(_)) => return Ok(None),
            caught_up => caught_up?,
        }
        followed.row(key)
    }
}

fn changelog(context: &Context, entry: &SubscriptionEntry, source: &TopicPartition) -> TopicPartition {
    let tables = context.topics.tables(&entry.pool, Stage::Router);
    TopicPartition::new(tables, Slot::of_source(source).0)
}

impl Followed {
    async fn catch_up(&mut self, log: &dyn Log, at: &TopicPartition, end: Offset) -> fpaas_log::Result<()> {
        while self.next < end {
            let fetched = log.fetch(at, self.next, FetchBounds::now()).await?;
            fetched.records.into_iter().for_each(|stored| self.apply(stored));
            if fetched.next <= self.next {
                break;
            }
            self.next = fetched.next;
        }
        Ok(())
    }

    fn row<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.rows.get(key).map(|row| rows::decode(key, row)).transpose()
    }

    fn apply(&mut self, stored: Stored) {
        let key = stored.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let is_known =
            |key: &&str| [rows::SCAN, rows::REPLAY, rows::REDRIVE].iter().any(|table| key.starts_with(table));
        let Some(key) = key.filter(is_known) else { return };
        match stored.record.value {
            Some(row) => self.rows.insert(key.to_owned(), row),
            None => self.rows.remove(key),
        };
    }
}
