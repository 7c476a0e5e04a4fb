//! The control view: what the commands so far add up to. Pure: every node that applies the same commands has the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use fpaas_core::subscription::{Identity, PrivateKey, Secret, State, Subscription};
use fpaas_core::topic::TopicSettings;
use fpaas_core::{
    Incarnation, KeyId, Message, Offset, PoolId, SubscriptionId, TenantId, Timestamp, TopicName, Violation,
};

use serde::{Deserialize, Serialize};

use crate::command::{Change, Command, Outcome};

mod redrive;
mod secrets;
pub mod tenants;
mod topics;

pub use redrive::Redrive;
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
    /// What it says; its secret and the key of its client certificate are apart.
    pub config: Subscription,
    /// What its calls are signed with.
    pub secret: Secret,
    /// What they are signed with besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Retiring>,
    /// Of its client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PrivateKey>,
    /// Where it started in each partition of its source.
    pub starts: Vec<Offset>,
    /// What is delivered again, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// Which dead letters are delivered again, or were last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive: Option<Redrive>,
    /// Why it is disabled, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// How it came into its pool, where it was not made there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<Came>,
    /// Shared by all revisions of an incarnation: its topics are kept while anybody holds one of them.
    #[serde(skip)]
    pub in_use: Arc<()>,
}

/// A part of a source that is delivered once more. How far that has come is the router's to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replay {
    /// The revision it was asked for at: no other replay has the same.
    pub since: u64,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Where it begins in each partition of the source.
    pub from: Vec<Offset>,
    /// Where it ends.
    pub to: Vec<Offset>,
    /// At most so many events a second, in each partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u32>,
}

/// Why the endpoint of a subscription is called no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disabled {
    /// Since when.
    pub since: Timestamp,
    /// A sentence.
    pub why: Message,
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
    /// The revision it was made at, by which it is told from others that had its name before; 0 of those that were made
    /// by a command of version 3 or older.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub incarnation: u64,
    /// The revision it last changed at.
    pub revision: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Its settings.
    pub settings: TopicSettings,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
const fn is_zero(incarnation: &u64) -> bool {
    *incarnation == 0
}

/// A tenant's topic that is deleted, while its name cannot be used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeletedTopic {
    /// Whose it was.
    pub tenant: TenantId,
    /// Its name within the tenant.
    pub name: TopicName,
    /// The revision it was deleted at.
    pub since: u64,
    /// From when on its name is free; none while the log may still have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Timestamp>,
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
    /// Those whose names cannot be used yet.
    pub deleted: BTreeMap<(TenantId, TopicName), DeletedTopic>,
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

    /// What its endpoint knows the caller by.
    pub fn identity(&self) -> Option<Identity<'_>> {
        let certificate = self.config.webhook()?.client_certificate.as_ref()?;
        Some(Identity { certificate, key: self.client_key.as_ref()? })
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

    /// Applies a command that was not applied before, which makes this revision.
    pub(crate) fn change(&mut self, command: &Command) -> Outcome {
        let current = self.current(command);
        match &command.change {
            _ if !self.is_meant(command) => Outcome::NotFound,
            _ if !command.expects.holds(current) => Outcome::Unexpected(current),
            Change::PutSubscription { id, subscription, secret, starts } => {
                self.put_subscription(command, id, subscription, secret, starts)
            }
            Change::SetState { id, state, .. } => self.set_state(command, id, *state),
            Change::DisableSubscription { id, why, .. } => self.disable(command, id, why),
            Change::RotateSecret { id, secret, until, .. } => self.rotate_secret(command, id, secret, *until),
            Change::StartReplay { id, of, instead_of, from, to, events_per_second, .. } => {
                let (from, to, events_per_second) = (from.clone(), to.clone(), *events_per_second);
                let replay = Replay { since: self.revision, asked: command.time, from, to, events_per_second };
                self.set_replay(command, id, (*of, *instead_of), Some(replay))
            }
            Change::CancelReplay { id, of, since } => self.set_replay(command, id, (*of, Some(*since)), None),
            Change::StartRedrive { .. } | Change::CancelRedrive { .. } => self.redrive(command),
            Change::DeleteSubscription { id } => self.delete_subscription(command, id),
            Change::PutTopic { name, settings } => self.put_topic(command, name, settings),
            Change::DeleteTopic { name } => self.delete_topic(command, name),
            Change::FreeTopic { name, since, free } => self.free_topic(command, name, *since, *free),
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
            | Change::DisableSubscription { id, .. }
            | Change::RotateSecret { id, .. }
            | Change::StartReplay { id, .. }
            | Change::CancelReplay { id, .. }
            | Change::StartRedrive { id, .. }
            | Change::CancelRedrive { id, .. }
            | Change::DeleteSubscription { id } => Some(self.subscription(&command.tenant, id)?.revision),
            Change::PutTopic { name, .. } | Change::DeleteTopic { name } => {
                Some(self.topic(&command.tenant, name)?.revision)
            }
            Change::FreeTopic { .. } => None,
            Change::PutTenant { .. } | Change::EndMove { .. } | Change::DeleteTenant {} => {
                // The one that nobody made is there from the beginning.
                let unmade = command.tenant.is_local() && command.is_exact();
                self.tenants.get(&command.tenant).map(|entry| entry.revision).or(unmade.then_some(0))
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
        let source = &config.source.topic;
        if old.is_none() && !source.is_firehose() && self.topic(&command.tenant, source).is_none() {
            // It was deleted since whoever asks has seen it.
            let gone = Violation::new("/source/topic", format!("there is no topic {source}"));
            return Outcome::Conflict(vec![gone]);
        }
        if let Some(old) = &old {
            let conflicts = config.conflicts(&old.config);
            if !conflicts.is_empty() {
                return Outcome::Conflict(conflicts);
            }
        }
        let mut config = config.clone();
        let brought = secrets::take_secret(&mut config);
        let client_key = match secrets::take_key(&mut config, old.as_deref()) {
            Ok(key) => key,
            // It was another certificate when whoever asks has seen it.
            Err(missing) => return Outcome::Conflict(vec![missing]),
        };
        config.id = Some(id.clone());
        let entry = match &old {
            Some(old) => self.replaced(command, old, config, brought),
            None => self.created(command, id, config, brought.unwrap_or_else(|| secret.clone()), starts),
        };
        let entry = SubscriptionEntry { client_key, ..entry };
        self.make_output_topic(command, &entry.config);
        self.make_system_topic(command);
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
            client_key: None,
            starts: starts.to_vec(),
            replay: None,
            redrive: None,
            disabled: None,
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
        let disabled = old.disabled.clone().filter(|_| config.state == State::Disabled);
        // One that is put takes the place of all others at once.
        let previous = old.previous.clone().filter(|_| secret.as_ref().is_none_or(|secret| *secret == old.secret));
        SubscriptionEntry {
            revision: self.revision,
            updated: command.time,
            active_since: if resumed { command.time } else { old.active_since },
            config,
            secret: secret.unwrap_or_else(|| old.secret.clone()),
            previous,
            disabled,
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
            self.make_system_topic(command);
        }
        Outcome::Replaced
    }

    /// One that is paused stays so: nobody calls it.
    fn disable(&mut self, command: &Command, id: &SubscriptionId, why: &Message) -> Outcome {
        let Some(old) = self.subscription(&command.tenant, id).cloned() else { return Outcome::NotFound };
        if !old.config.is_paused() {
            let config = Subscription { state: State::Disabled, ..old.config.clone() };
            let disabled = Some(Disabled { since: command.time, why: why.clone() });
            let entry = SubscriptionEntry { disabled, ..self.replaced(command, &old, config, None) };
            self.subscriptions.insert((command.tenant.clone(), id.clone()), Arc::new(entry));
            self.make_system_topic(command);
        }
        Outcome::Replaced
    }

    /// What it says stays as it is, and so does its revision.
    fn set_replay(
        &mut self,
        command: &Command,
        id: &SubscriptionId,
        (of, instead_of): (Incarnation, Option<u64>),
        replay: Option<Replay>,
    ) -> Outcome {
        let Some(old) = self.subscription(&command.tenant, id).filter(|old| old.incarnation == of).cloned() else {
            return Outcome::NotFound;
        };
        if old.replay.as_ref().map(|replay| replay.since) != instead_of {
            let why = "a replay is under way: wait for its end, or cancel it with DELETE …/replay";
            return Outcome::Conflict(vec![Violation::new("", why)]);
        }
        let entry = SubscriptionEntry { replay, ..(*old).clone() };
        self.subscriptions.insert((command.tenant.clone(), id.clone()), Arc::new(entry));
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

    fn delete_subscription(&mut self, command: &Command, id: &SubscriptionId) -> Outcome {
        let key = (command.tenant.clone(), id.clone());
        if self.subscriptions.remove(&key).is_some() { Outcome::Deleted } else { Outcome::NotFound }
    }
}

#[cfg(test)]
mod tests;
