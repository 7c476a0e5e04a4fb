//! How far subscriptions are on their source, one by one: the router's rows, followed from their changelog.
//!
//! The group's position is the scan's and says nothing about a subscription that is still catching up. Read when
//! somebody asks, and then only what is new. Decides nothing.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{FetchBounds, Log, Stored};
use tokio::sync::Mutex;

use crate::rows::{self, ScanRow};
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

    async fn row(
        &self,
        context: &Context,
        entry: &SubscriptionEntry,
        source: &TopicPartition,
        key: &str,
    ) -> Result<Option<ScanRow>> {
        let tables = context.topics.tables(&entry.pool, Stage::Router);
        let changelog = TopicPartition::new(tables, Slot::of_source(source).0);
        let mut followed = self.0.lock().await;
        let followed = followed.entry(changelog.clone()).or_default();
        match followed.catch_up(&*context.log, &changelog).await {
            // The router did not start yet.
            Err(fpaas_log::Error::NoSuchTopic(_)) => return Ok(None),
            caught_up => caught_up?,
        }
        followed.rows.get(key).map(|row| rows::decode(key, row)).transpose()
    }
}

impl Followed {
    async fn catch_up(&mut self, log: &dyn Log, at: &TopicPartition) -> fpaas_log::Result<()> {
        let end = log.watermarks(at).await?.end;
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

    fn apply(&mut self, stored: Stored) {
        let key = stored.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let is_known = |key: &&str| key.starts_with(rows::SCAN) || key.starts_with(rows::REPLAY);
        let Some(key) = key.filter(is_known) else { return };
        match stored.record.value {
            Some(row) => self.rows.insert(key.to_owned(), row),
            None => self.rows.remove(key),
        };
    }
}
