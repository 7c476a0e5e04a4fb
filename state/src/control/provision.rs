//! Makes the topics a view names and removes those of deleted subscriptions once nobody uses them.
//!
//! Both are done again after a crash: making finds what is there, and a start removes what no subscription owns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fpaas_core::topic::TopicSettings;
use fpaas_core::topics::Topics;
use fpaas_core::{Incarnation, SubscriptionId, TenantId, Timestamp, TopicName};
use fpaas_log::{Created, Error as LogError, Log, Retention, TopicSpec};
use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::Result;
use crate::view::{SubscriptionEntry, Unmade, View};

type Name = (TenantId, SubscriptionId);
type Key = (TenantId, SubscriptionId, Incarnation);

/// How long other nodes are given to let go of a deleted subscription, too.
const ELSEWHERE: Duration = Duration::from_secs(30);
/// How often a topic that the log refuses is tried again: an operator has to do something about it.
const REFUSED_AGAIN: Duration = Duration::from_secs(15);
/// The subscriptions whose topics are made at the same time.
const MADE_AT_ONCE: usize = 16;

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

fn key_of(entry: &SubscriptionEntry) -> Key {
    (entry.tenant.clone(), entry.id.clone(), entry.incarnation)
}

#[derive(Debug)]
pub(super) struct Provisioner {
    log: Arc<dyn Log>,
    names: Topics,
    subscriptions: BTreeMap<Key, Weak<()>>,
    /// Deleted subscriptions that a stage may still work for: their topics go when the last one lets go.
    retired: Vec<Retired>,
    /// Removals under way. A log may take its time to forget a topic, and commands do not wait for that.
    removing: JoinSet<(Key, fpaas_log::Result<()>)>,
    topics: BTreeMap<(TenantId, TopicName), (Timestamp, TopicSettings)>,
    unmade: Unmade,
    /// When those that were refused are tried again.
    again: Option<Instant>,
}

impl Provisioner {
    pub(super) fn new(log: Arc<dyn Log>, names: Topics) -> Self {
        Self {
            log,
            names,
            subscriptions: BTreeMap::new(),
            retired: Vec::new(),
            removing: JoinSet::new(),
            topics: BTreeMap::new(),
            unmade: Unmade::default(),
            again: None,
        }
    }

    /// After this, every topic that `view` names exists with its settings, but for those that are answered.
    pub(super) async fn make_topics(&mut self, view: &View) -> Result<Unmade> {
        let known = std::mem::take(&mut self.unmade);
        let due = self.is_due();
        self.make_tenant_topics(view, &known, due).await?;
        let mut before = std::mem::take(&mut self.subscriptions);
        let mut wanted = Vec::new();
        for (name, entry) in &view.subscriptions {
            let (is_old, refused) = (before.remove(&key_of(entry)).is_some(), known.subscriptions.get(name));
            match refused {
                Some(why) if is_old && !due => drop(self.unmade.subscriptions.insert(name.clone(), why.clone())),
                None if is_old => {}
                _ => wanted.push((name.clone(), self.internal(entry), entry.config.lanes)),
            }
        }
        // A cluster takes a tenth of a second for each, and does many at a time.
        let making = wanted.into_iter().map(|(name, topics, lanes)| make(Arc::clone(&self.log), name, topics, lanes));
        let made: Vec<_> = stream::iter(making.collect::<Vec<_>>()).buffered(MADE_AT_ONCE).try_collect().await?;
        self.unmade.subscriptions.extend(made.into_iter().filter_map(|(name, why)| Some((name, why?))));
        for (name, entry) in &view.subscriptions {
            if let Some(why) = self.lacking(entry) {
                self.unmade.subscriptions.entry(name.clone()).or_insert(why);
            }
            self.subscriptions.insert(key_of(entry), Arc::downgrade(&entry.in_use));
        }
        let until = Instant::now() + if self.log.is_shared() { ELSEWHERE } else { Duration::ZERO };
        self.retired.extend(before.into_iter().map(|(key, in_use)| Retired { key, in_use, until }));
        if due || self.again.is_none() {
            self.again = (self.unmade != Unmade::default()).then(|| Instant::now() + REFUSED_AGAIN);
        }
        Ok(self.unmade.clone())
    }

    /// True when topics that were refused are to be tried again.
    pub(super) fn is_due(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() >= again)
    }

    /// Begins to remove the topics of a deleted subscription that no stage holds on to any more, one at a time.
    pub(super) fn sweep(&mut self) -> Result<()> {
        while let Some(removed) = self.removing.try_join_next() {
            match removed {
                Ok((key, removed)) => self.note_removed(key, removed)?,
                Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                // Only the end of the runtime cancels them.
                Err(_cancelled) => {}
            }
        }
        if self.removing.is_empty()
            && let Some(key) = self.next_free()
        {
            let removed = remove(Arc::clone(&self.log), self.names.clone(), key.clone());
            self.removing.spawn(async move { (key, removed.await) });
        }
        Ok(())
    }

    fn next_free(&mut self) -> Option<Key> {
        let free = self.retired.iter().position(Retired::is_free)?;
        Some(self.retired.swap_remove(free).key)
    }

    fn note_removed(&mut self, key: Key, removed: fpaas_log::Result<()>) -> Result<()> {
        let (tenant, id) = (&key.0, &key.1);
        match removed {
            Ok(()) => info!(%tenant, subscription = %id, "removed the topics of a deleted subscription"),
            Err(LogError::Refused(why)) => {
                warn!(%tenant, subscription = %id, why, "the topics of a deleted subscription stay");
            }
            Err(LogError::Retry(_)) => {
                self.retired.push(Retired { key, in_use: Weak::new(), until: Instant::now() + REFUSED_AGAIN });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
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
        while let Some(key) = self.next_free() {
            let removed = remove(Arc::clone(&self.log), self.names.clone(), key.clone()).await;
            self.note_removed(key, removed)?;
        }
        Ok(())
    }

    fn internal(&self, entry: &SubscriptionEntry) -> [String; 2] {
        let (tenant, id, incarnation) = (&entry.tenant, &entry.id, entry.incarnation);
        [self.names.deliveries(tenant, id, incarnation), self.names.dead_letters(tenant, id, incarnation)]
    }

    /// Why a topic that a subscription reads or writes could not be made, if so.
    fn lacking(&self, entry: &SubscriptionEntry) -> Option<String> {
        let output = entry.config.output.as_ref().map(|output| &output.topic);
        let mut named = [Some(&entry.config.source.topic), output].into_iter().flatten();
        named.find_map(|topic| self.unmade.topics.get(&(entry.tenant.clone(), topic.clone())).cloned())
    }

    async fn make_tenant_topics(&mut self, view: &View, known: &Unmade, due: bool) -> Result<()> {
        // One that is made again after it was deleted is another.
        self.topics.retain(|key, _| view.topics.contains_key(key));
        for (key, entry) in &view.topics {
            let now = (entry.created, entry.settings.clone());
            let changed = self.topics.get(key) != Some(&now);
            let refused = match known.topics.get(key) {
                Some(why) if !changed && !due => Some(why.clone()),
                None if !changed => None,
                _ => self.make_tenant_topic(&self.names.of_tenant(&key.0, &key.1), &entry.settings).await?,
            };
            if let Some(why) = refused {
                self.unmade.topics.insert(key.clone(), why);
            }
            self.topics.insert(key.clone(), now);
        }
        Ok(())
    }

    async fn make_tenant_topic(&self, name: &str, settings: &TopicSettings) -> Result<Option<String>> {
        let spec = spec(settings);
        match self.log.create_topic(name, &spec).await {
            Ok(Created::Different(found)) => {
                warn!(topic = name, ?found, "the topic is there with other settings and is used as it is");
            }
            created => {
                if let Some(why) = refused(created)? {
                    return Ok(Some(why));
                }
            }
        }
        if let Some(why) = refused(self.log.alter_topic(name, &spec.retention).await)? {
            warn!(topic = name, why, "the topic keeps the retention it has");
        }
        Ok(None)
    }
}

/// Makes a subscription's topics. Why they could not be made, if the log refuses one.
async fn make(log: Arc<dyn Log>, name: Name, topics: [String; 2], lanes: u32) -> Result<(Name, Option<String>)> {
    let (spec, [deliveries, dead_letters]) = (TopicSpec::kept(lanes), topics);
    let (first, second) = join(log.create_topic(&deliveries, &spec), log.create_topic(&dead_letters, &spec)).await;
    let why = refused(first)?.or(refused(second)?);
    Ok((name, why))
}

/// What an operator has to do something about, apart from what ends us.
fn refused<T>(asked: fpaas_log::Result<T>) -> Result<Option<String>> {
    match asked {
        Ok(_) => Ok(None),
        Err(LogError::Refused(why)) => {
            warn!(why, "the log refuses a topic: it is tried again");
            Ok(Some(why))
        }
        Err(error) => Err(error.into()),
    }
}

async fn remove(log: Arc<dyn Log>, names: Topics, key: Key) -> fpaas_log::Result<()> {
    let (tenant, id, incarnation) = key;
    log.delete_topic(&names.deliveries(&tenant, &id, incarnation)).await?;
    log.delete_topic(&names.dead_letters(&tenant, &id, incarnation)).await
}

fn key((tenant, _, subscription, incarnation): (&str, &str, &str, Incarnation)) -> Option<Key> {
    Some((TenantId::parse(tenant).ok()?, SubscriptionId::parse(subscription).ok()?, incarnation))
}

fn spec(settings: &TopicSettings) -> TopicSpec {
    let time = settings.retention_ms.map(Duration::from_millis);
    let retention = Retention { time, bytes: settings.retention_bytes };
    TopicSpec { partitions: settings.partitions, compacted: settings.compacted, retention }
}
