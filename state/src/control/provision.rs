//! Makes the topics a view names and removes those of deleted subscriptions once nobody uses them.
//!
//! Both are done again after a crash: making finds what is there, and a start removes what no subscription owns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fpaas_core::topic::TopicSettings;
use fpaas_core::topics::Topics;
use fpaas_core::{Incarnation, SubscriptionId, TenantId, TopicName};
use fpaas_log::{Created, Log, Retention, TopicSpec};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::Result;
use crate::view::{SubscriptionEntry, View};

type Key = (TenantId, SubscriptionId, Incarnation);

/// How long other nodes are given to let go of a deleted subscription, too.
const ELSEWHERE: Duration = Duration::from_secs(30);

/// A deleted subscription, what shows that it is still in use here, and when it may be in use elsewhere at the latest.
#[derive(Debug)]
struct Retired {
    key: Key,
    in_use: Weak<()>,
    until: Instant,
}

impl Retired {
    fn is_free(&self) -> bool {
        self.in_use.strong_count() == 0 && Instant::now() >= self.until
    }
}

#[derive(Debug)]
pub(super) struct Provisioner {
    log: Arc<dyn Log>,
    names: Topics,
    subscriptions: BTreeMap<Key, Weak<()>>,
    /// Deleted subscriptions that a stage may still work for: their topics go when the last one lets go.
    retired: Vec<Retired>,
    topics: BTreeMap<(TenantId, TopicName), TopicSettings>,
}

impl Provisioner {
    pub(super) fn new(log: Arc<dyn Log>, names: Topics) -> Self {
        let (subscriptions, retired, topics) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { log, names, subscriptions, retired, topics }
    }

    /// After this, every topic that `view` names exists with its settings.
    pub(super) async fn make_topics(&mut self, view: &View) -> Result<()> {
        self.make_tenant_topics(view).await?;
        let mut before = std::mem::take(&mut self.subscriptions);
        for entry in view.subscriptions.values() {
            let key = (entry.tenant.clone(), entry.id.clone(), entry.incarnation);
            if before.remove(&key).is_none() {
                self.make_internal(entry).await?;
            }
            self.subscriptions.insert(key, Arc::downgrade(&entry.in_use));
        }
        let until = Instant::now() + if self.log.is_shared() { ELSEWHERE } else { Duration::ZERO };
        self.retired.extend(before.into_iter().map(|(key, in_use)| Retired { key, in_use, until }));
        Ok(())
    }

    /// Removes the topics of one deleted subscription that no stage holds on to any more: commands wait meanwhile.
    /// True when there was one.
    pub(super) async fn sweep(&mut self) -> Result<bool> {
        let Some(free) = self.retired.iter().position(Retired::is_free) else { return Ok(false) };
        let Retired { key: (tenant, id, incarnation), .. } = self.retired.swap_remove(free);
        self.log.delete_topic(&self.names.deliveries(&tenant, &id, incarnation)).await?;
        self.log.delete_topic(&self.names.dead_letters(&tenant, &id, incarnation)).await?;
        info!(%tenant, subscription = %id, "removed the deliveries and dead letters of a deleted subscription");
        Ok(true)
    }

    /// Removes internal topics that no subscription of `view` owns: what a crash left behind. Only before stages run.
    /// One that is younger than the view is left alone: another node may have made it a moment ago. Where there may be
    /// other nodes they go later, as if they were deleted now.
    pub(super) async fn remove_orphans(&mut self, view: &View) -> Result<()> {
        let owned: BTreeSet<String> = view.subscriptions.values().flat_map(|entry| self.internal(entry)).collect();
        let until = Instant::now() + if self.log.is_shared() { ELSEWHERE } else { Duration::ZERO };
        let mut orphans = BTreeSet::new();
        for topic in self.log.list_topics(&format!("{}.", self.names.prefix())).await? {
            if owned.contains(&topic) {
                continue;
            }
            orphans
                .extend(self.names.parse_internal(&topic).filter(|(.., made)| made.0 <= view.revision).and_then(key));
        }
        self.retired.extend(orphans.into_iter().map(|key| Retired { key, in_use: Weak::new(), until }));
        while self.sweep().await? {}
        Ok(())
    }

    fn internal(&self, entry: &SubscriptionEntry) -> [String; 2] {
        let (tenant, id, incarnation) = (&entry.tenant, &entry.id, entry.incarnation);
        [self.names.deliveries(tenant, id, incarnation), self.names.dead_letters(tenant, id, incarnation)]
    }

    async fn make_internal(&self, entry: &SubscriptionEntry) -> Result<()> {
        let [deliveries, dead_letters] = self.internal(entry);
        let lanes = entry.config.lanes;
        self.log.create_topic(&deliveries, &TopicSpec::kept(lanes)).await?;
        self.log.create_topic(&dead_letters, &TopicSpec::kept(lanes)).await?;
        Ok(())
    }

    async fn make_tenant_topics(&mut self, view: &View) -> Result<()> {
        for (key, entry) in &view.topics {
            if self.topics.get(key) != Some(&entry.settings) {
                self.make_tenant_topic(&self.names.of_tenant(&key.0, &key.1), &entry.settings).await?;
                self.topics.insert(key.clone(), entry.settings.clone());
            }
        }
        Ok(())
    }

    async fn make_tenant_topic(&self, name: &str, settings: &TopicSettings) -> Result<()> {
        let spec = spec(settings);
        if let Created::Different(found) = self.log.create_topic(name, &spec).await? {
            warn!(topic = name, ?found, "the topic is there with other settings and is used as it is");
        }
        Ok(self.log.alter_topic(name, &spec.retention).await?)
    }
}

fn key((tenant, _, subscription, incarnation): (&str, &str, &str, Incarnation)) -> Option<Key> {
    Some((TenantId::parse(tenant).ok()?, SubscriptionId::parse(subscription).ok()?, incarnation))
}

fn spec(settings: &TopicSettings) -> TopicSpec {
    let time = settings.retention_ms.map(Duration::from_millis);
    let retention = Retention { time, bytes: settings.retention_bytes };
    TopicSpec { partitions: settings.partitions, compacted: settings.compacted, retention }
}
