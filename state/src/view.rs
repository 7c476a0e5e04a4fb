//! The control view: what the commands so far add up to. Pure: every node that applies the same commands has the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use fpaas_core::subscription::{Secret, State, Subscription, Webhook};
use fpaas_core::topic::TopicSettings;
use fpaas_core::{Incarnation, KeyId, Offset, PoolId, SubscriptionId, TenantId, Timestamp, TopicName, Violation};

use serde::{Deserialize, Serialize};

use crate::command::{Change, Command, Outcome};

pub mod tenants;

use tenants::{KeyEntry, TenantEntry};

/// A subscription as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionEntry {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which pool its tenant is in.
    pub pool: PoolId,
    /// Its id.
    pub id: SubscriptionId,
    /// The revision it was made at: part of its topics' names and of its batches' ids.
    pub incarnation: Incarnation,
    /// The revision it last changed at.
    pub revision: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When it was made, or last went on after a pause.
    pub active_since: Timestamp,
    /// What it says; its secret is apart.
    pub config: Subscription,
    /// What its calls are signed with.
    pub secret: Secret,
    /// What they are signed with besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Retiring>,
    /// Where it started in each partition of its source.
    pub starts: Vec<Offset>,
    /// How it came into its pool, where it was not made there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<Came>,
    /// Shared by all revisions of an incarnation: its topics are kept while anybody holds one of them.
    #[serde(skip)]
    pub in_use: Arc<()>,
}

/// A subscription that moved with its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Came {
    /// The revision it moved at.
    pub since: u64,
    /// The pool it was in before.
    pub from: PoolId,
    /// The revision since when it was in that one.
    pub there: u64,
}

/// The secret before the current one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retiring {
    /// It.
    pub secret: Secret,
    /// From then on it signs nothing any more.
    pub until: Timestamp,
}

/// A tenant's topic as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicEntry {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name within the tenant.
    pub name: TopicName,
    /// The revision it last changed at.
    pub revision: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Its settings.
    pub settings: TopicSettings,
}

/// Topics that the log refuses to make, and why: a sentence that says what to do. They are tried again now and then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmade {
    /// Subscriptions that lack a topic: no stage works for them.
    pub subscriptions: BTreeMap<(TenantId, SubscriptionId), String>,
    /// Tenants' topics.
    pub topics: BTreeMap<(TenantId, TopicName), String>,
}

/// What the commands up to `revision` add up to.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// How many commands it has applied: a counter, not an offset.
    pub revision: u64,
    /// By tenant and id.
    pub subscriptions: BTreeMap<(TenantId, SubscriptionId), Arc<SubscriptionEntry>>,
    /// By tenant and name.
    pub topics: BTreeMap<(TenantId, TopicName), Arc<TopicEntry>>,
    /// Those that were made. [`TenantId::LOCAL`] is there without it.
    pub tenants: BTreeMap<TenantId, Arc<TenantEntry>>,
    /// Of all tenants, by their ids.
    pub keys: BTreeMap<KeyId, Arc<KeyEntry>>,
    /// What the log does not let us make the topics of, as this node finds it: no part of what commands say.
    pub unmade: Unmade,
}

impl SubscriptionEntry {
    /// The revision since when it is in its pool.
    pub fn since(&self) -> u64 {
        self.came.as_ref().map_or(self.incarnation.0, |came| came.since)
    }

    /// The secrets that a call at `now` is signed with, the newest first.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        let previous = self.previous.as_ref().filter(move |previous| now < previous.until);
        std::iter::once(&self.secret).chain(previous.map(|previous| &previous.secret))
    }
}

impl View {
    /// A tenant's subscription.
    pub fn subscription(&self, tenant: &TenantId, id: &SubscriptionId) -> Option<&Arc<SubscriptionEntry>> {
        self.subscriptions.get(&(tenant.clone(), id.clone()))
    }

    /// Why a subscription has not all of its topics, if so.
    pub fn unmade(&self, entry: &SubscriptionEntry) -> Option<&str> {
        self.unmade.subscriptions.get(&(entry.tenant.clone(), entry.id.clone())).map(String::as_str)
    }

    /// A tenant's topic; the built-in source is not among them.
    pub fn topic(&self, tenant: &TenantId, name: &TopicName) -> Option<&Arc<TopicEntry>> {
        self.topics.get(&(tenant.clone(), name.clone()))
    }

    /// A tenant's topic that Kafka could not tell from `name`, if there is one.
    pub fn colliding_topic(&self, tenant: &TenantId, name: &TopicName) -> Option<&TopicName> {
        let key = name.collision_key();
        let same_tenant = self.topics.keys().filter(|(owner, _)| owner == tenant);
        same_tenant.map(|(_, other)| other).find(|other| *other != name && other.collision_key() == key)
    }

    /// Applies a command that was not applied before, which makes this revision.
    pub(crate) fn change(&mut self, command: &Command) -> Outcome {
        let current = self.current(command);
        match &command.change {
            _ if !self.is_meant(command) => Outcome::NotFound,
            _ if !command.expects.holds(current) => Outcome::Unexpected(current),
            Change::PutSubscription { id, subscription, secret, starts } => {
                self.put_subscription(command, id, subscription, secret, starts)
            }
            Change::SetState { id, state } => self.set_state(command, id, *state),
            Change::RotateSecret { id, secret, until } => self.rotate_secret(command, id, secret, *until),
            Change::DeleteSubscription { id } => self.delete_subscription(command, id),
            Change::PutTopic { name, settings } => self.put_topic(command, name, settings),
            Change::PutTenant { pool } => self.put_tenant(command, pool.as_ref()),
            Change::EndMove { since } => self.end_move(command, *since),
            Change::DeleteTenant {} => self.delete_tenant(command),
            Change::PutKey { id, hash, scopes, description, expires } => {
                let (tenant, created) = (command.tenant.clone(), command.time);
                let (hash, scopes, description) = (hash.clone(), scopes.clone(), description.clone());
                self.put_key(KeyEntry { tenant, id: id.clone(), hash, scopes, description, created, expires: *expires })
            }
            Change::DeleteKey { id } => self.delete_key(command, id),
        }
    }

    /// The revision of what a command is about, if it is there.
    fn current(&self, command: &Command) -> Option<u64> {
        match &command.change {
            Change::PutSubscription { id, .. }
            | Change::SetState { id, .. }
            | Change::RotateSecret { id, .. }
            | Change::DeleteSubscription { id } => Some(self.subscription(&command.tenant, id)?.revision),
            Change::PutTopic { name, .. } => Some(self.topic(&command.tenant, name)?.revision),
            Change::PutTenant { .. } | Change::EndMove { .. } | Change::DeleteTenant {} => {
                Some(self.tenants.get(&command.tenant)?.revision)
            }
            // They never change: nothing is expected of them.
            Change::PutKey { .. } | Change::DeleteKey { .. } => None,
        }
    }

    fn put_subscription(
        &mut self,
        command: &Command,
        id: &SubscriptionId,
        config: &Subscription,
        secret: &Secret,
        starts: &[Offset],
    ) -> Outcome {
        if let Some(conflict) = self.output_conflict(command, config) {
            return conflict;
        }
        let key = (command.tenant.clone(), id.clone());
        let old = self.subscriptions.get(&key).cloned();
        if let Some(old) = &old {
            let conflicts = config.conflicts(&old.config);
            if !conflicts.is_empty() {
                return Outcome::Conflict(conflicts);
            }
        }
        let mut config = config.clone();
        let brought = take_secret(&mut config);
        config.id = Some(id.clone());
        let entry = match &old {
            Some(old) => self.replaced(command, old, config, brought),
            None => self.created(command, id, config, brought.unwrap_or_else(|| secret.clone()), starts),
        };
        self.make_output_topic(command, &entry.config);
        self.subscriptions.insert(key, Arc::new(entry));
        if old.is_some() { Outcome::Replaced } else { Outcome::Created }
    }

    fn created(
        &self,
        command: &Command,
        id: &SubscriptionId,
        config: Subscription,
        secret: Secret,
        starts: &[Offset],
    ) -> SubscriptionEntry {
        SubscriptionEntry {
            tenant: command.tenant.clone(),
            pool: self.pool_of(&command.tenant),
            id: id.clone(),
            incarnation: Incarnation(self.revision),
            revision: self.revision,
            created: command.time,
            updated: command.time,
            active_since: command.time,
            config,
            secret,
            previous: None,
            starts: starts.to_vec(),
            came: None,
            in_use: Arc::default(),
        }
    }

    /// `startFrom` is read at creation only, so the old one stays.
    fn replaced(
        &self,
        command: &Command,
        old: &SubscriptionEntry,
        mut config: Subscription,
        secret: Option<Secret>,
    ) -> SubscriptionEntry {
        config.start_from = old.config.start_from.clone();
        let resumed = old.config.is_paused() && !config.is_paused();
        // One that is put takes the place of all others at once.
        let previous = old.previous.clone().filter(|_| secret.as_ref().is_none_or(|secret| *secret == old.secret));
        SubscriptionEntry {
            revision: self.revision,
            updated: command.time,
            active_since: if resumed { command.time } else { old.active_since },
            config,
            secret: secret.unwrap_or_else(|| old.secret.clone()),
            previous,
            ..old.clone()
        }
    }

    /// One that is in that state already keeps its revision.
    fn set_state(&mut self, command: &Command, id: &SubscriptionId, state: State) -> Outcome {
        let Some(old) = self.subscription(&command.tenant, id).cloned() else { return Outcome::NotFound };
        if old.config.state != state {
            let config = Subscription { state, ..old.config.clone() };
            let entry = self.replaced(command, &old, config, None);
            self.subscriptions.insert((command.tenant.clone(), id.clone()), Arc::new(entry));
        }
        Outcome::Replaced
    }

    fn rotate_secret(&mut self, command: &Command, id: &SubscriptionId, secret: &Secret, until: Timestamp) -> Outcome {
        let Some(old) = self.subscription(&command.tenant, id).cloned() else { return Outcome::NotFound };
        if old.secret == *secret {
            return Outcome::Conflict(vec![Violation::new("/secret", "is the one that is in use")]);
        }
        let entry = SubscriptionEntry {
            revision: self.revision,
            updated: command.time,
            secret: secret.clone(),
            previous: Some(Retiring { secret: old.secret.clone(), until }),
            ..(*old).clone()
        };
        self.subscriptions.insert((command.tenant.clone(), id.clone()), Arc::new(entry));
        Outcome::Replaced
    }

    fn output_conflict(&self, command: &Command, config: &Subscription) -> Option<Outcome> {
        let output = &config.output.as_ref()?.topic;
        let other = self.colliding_topic(&command.tenant, output)?;
        Some(Outcome::Conflict(vec![collision("/output/topic", other)]))
    }

    fn make_output_topic(&mut self, command: &Command, config: &Subscription) {
        let Some(output) = &config.output else { return };
        if self.topic(&command.tenant, &output.topic).is_none() {
            self.insert_topic(command, &output.topic, &TopicSettings::default());
        }
    }

    fn delete_subscription(&mut self, command: &Command, id: &SubscriptionId) -> Outcome {
        let key = (command.tenant.clone(), id.clone());
        if self.subscriptions.remove(&key).is_some() { Outcome::Deleted } else { Outcome::NotFound }
    }

    fn put_topic(&mut self, command: &Command, name: &TopicName, settings: &TopicSettings) -> Outcome {
        if let Some(other) = self.colliding_topic(&command.tenant, name) {
            return Outcome::Conflict(vec![collision("/name", other)]);
        }
        let old = self.topic(&command.tenant, name).cloned();
        if let Some(old) = &old {
            let fixed = [
                ("/partitions", old.settings.partitions != settings.partitions),
                ("/compacted", old.settings.compacted != settings.compacted),
            ];
            let changed = fixed.iter().filter(|(_, changed)| *changed);
            let conflicts: Vec<_> =
                changed.map(|(pointer, _)| Violation::new(*pointer, "cannot change once the topic is made")).collect();
            if !conflicts.is_empty() {
                return Outcome::Conflict(conflicts);
            }
        }
        self.insert_topic(command, name, settings);
        if old.is_some() { Outcome::Replaced } else { Outcome::Created }
    }

    fn insert_topic(&mut self, command: &Command, name: &TopicName, settings: &TopicSettings) {
        let key = (command.tenant.clone(), name.clone());
        let created = self.topics.get(&key).map_or(command.time, |old| old.created);
        let entry = TopicEntry {
            tenant: command.tenant.clone(),
            name: name.clone(),
            revision: self.revision,
            created,
            settings: settings.clone(),
        };
        self.topics.insert(key, Arc::new(entry));
    }
}

fn collision(pointer: &str, other: &TopicName) -> Violation {
    Violation::new(pointer, format!("the topic {other} is there: names that differ only in . and _ cannot both exist"))
}

/// The secret is kept apart from what is given back to readers.
fn take_secret(config: &mut Subscription) -> Option<Secret> {
    use fpaas_core::subscription::Processor;
    match &mut config.processor {
        Some(Processor::Webhook(Webhook { secret, .. })) => secret.take(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
