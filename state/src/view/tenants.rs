//! Tenants and their keys in the view: what commands make of them.
//!
//! A command for a tenant names the incarnation it means, so that nothing is made for one that was removed meanwhile.
//! Does not own whether a key opens anything: that depends on the time, and is the API's to say.

use std::collections::BTreeSet;
use std::sync::Arc;

use fpaas_core::{Incarnation, KeyHash, KeyId, PoolId, Scope, TenantId, Timestamp, TopicName, Violation};
use serde::{Deserialize, Serialize};

use super::{Came, SubscriptionEntry, View};
use crate::command::{Change, Command, Outcome};

/// A tenant as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantEntry {
    /// Its id.
    pub id: TenantId,
    /// The pool that its subscriptions are in.
    pub pool: PoolId,
    /// The revision it was made at.
    pub incarnation: Incarnation,
    /// The revision it was last put at.
    pub revision: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Where it comes from, until all of it is in its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Moving>,
}

/// A move of a tenant into the pool that it is in by name already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Moving {
    /// The pool it leaves.
    pub from: PoolId,
    /// The revision that began it.
    pub since: u64,
}

/// A key as it stands: it never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyEntry {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its id.
    pub id: KeyId,
    /// Of its whole text.
    pub hash: KeyHash,
    /// What it permits.
    pub scopes: BTreeSet<Scope>,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was made.
    pub created: Timestamp,
    /// From then on it opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl KeyEntry {
    /// True where one of its scopes includes `needed`.
    pub fn permits(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.includes(needed))
    }

    /// True until it expires.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl View {
    /// True of tenants that were made, and of [`TenantId::LOCAL`].
    pub fn has_tenant(&self, id: &TenantId) -> bool {
        id.is_local() || self.tenants.contains_key(id)
    }

    /// The revision that a tenant was made at; none of one that nobody made.
    pub fn made(&self, id: &TenantId) -> Option<Incarnation> {
        self.tenants.get(id).map(|entry| entry.incarnation)
    }

    /// The pool of a tenant: its own where nobody said otherwise.
    pub fn pool_of(&self, id: &TenantId) -> PoolId {
        self.tenants.get(id).map_or_else(|| PoolId::of_tenant(id), |entry| entry.pool.clone())
    }

    /// Every pool that a tenant is in, or is leaving.
    pub fn pools(&self) -> BTreeSet<PoolId> {
        let made = self.tenants.values().map(|entry| entry.pool.clone());
        let left = self.moving().map(|(_, moving)| moving.from.clone());
        made.chain(left).chain([self.pool_of(&TenantId::local())]).collect()
    }

    /// The tenants that are on their way from one pool to another.
    pub fn moving(&self) -> impl Iterator<Item = (&Arc<TenantEntry>, &Moving)> {
        self.tenants.values().filter_map(|entry| Some((entry, entry.moving.as_ref()?)))
    }

    /// The move that a subscription is a part of, and that has not come to its end.
    pub fn on_the_move(&self, entry: &SubscriptionEntry) -> Option<&Moving> {
        let moving = self.tenants.get(&entry.tenant)?.moving.as_ref()?;
        (entry.since() == moving.since).then_some(moving)
    }

    /// A tenant's keys, by their ids.
    pub fn keys_of<'v>(&'v self, tenant: &'v TenantId) -> impl Iterator<Item = &'v Arc<KeyEntry>> {
        self.keys.values().filter(move |entry| entry.tenant == *tenant)
    }

    /// Are tenant and subscription still those that were meant? Whoever makes a tenant cannot have seen it.
    pub(crate) fn is_meant(&self, command: &Command) -> bool {
        let makes = matches!(command.change, Change::PutTenant { .. } | Change::EndMove { .. });
        let tenant = makes || command.made.is_none_or(|made| self.made(&command.tenant) == Some(made));
        let of = |id| self.subscription(&command.tenant, id).map(|entry| entry.incarnation);
        tenant && command.means().is_none_or(|(id, meant)| of(id) == Some(meant))
    }

    pub(super) fn put_tenant(&mut self, command: &Command, pool: Option<&PoolId>) -> Outcome {
        let id = &command.tenant;
        let old = self.tenants.get(id);
        let is_there = self.has_tenant(id);
        let current = self.pool_of(id);
        let pool = pool.cloned().unwrap_or_else(|| current.clone());
        let moves = is_there && pool != current;
        if moves && !command.may_move() {
            let detail = format!("cannot change: the tenant is in the pool {current}");
            return Outcome::Conflict(vec![Violation::new("/pool", detail)]);
        }
        let moving = old.and_then(|old| old.moving.clone());
        if let Some(Moving { from, .. }) = moving.as_ref().filter(|_| moves) {
            let detail = format!("cannot change now: the tenant is still moving from the pool {from} to {current}");
            return Outcome::Conflict(vec![Violation::new("/pool", detail)]);
        }
        if !pool.is_shared() && pool != PoolId::of_tenant(id) {
            let detail = format!("must be {id}, the tenant's own, or the name of a shared one, which begins with _");
            return Outcome::Conflict(vec![Violation::new("/pool", detail)]);
        }
        let since = self.revision;
        let moving = if moves { Some(Moving { from: current, since }) } else { moving };
        let entry = TenantEntry {
            id: id.clone(),
            pool,
            incarnation: old.map_or(Incarnation(self.revision), |old| old.incarnation),
            revision: self.revision,
            created: old.map_or(command.time, |old| old.created),
            moving,
        };
        let replaces = old.is_some() || (is_there && command.is_exact());
        let outcome = if replaces { Outcome::Replaced } else { Outcome::Created };
        if moves {
            self.move_subscriptions(&entry);
        }
        self.tenants.insert(id.clone(), Arc::new(entry));
        outcome
    }

    /// They are in the tenant's pool from this revision on.
    fn move_subscriptions(&mut self, tenant: &TenantEntry) {
        let since = self.revision;
        for entry in self.subscriptions.values_mut().filter(|entry| entry.tenant == tenant.id) {
            let came = Came { since, from: entry.pool.clone(), there: entry.since() };
            *entry = Arc::new(SubscriptionEntry { pool: tenant.pool.clone(), came: Some(came), ..(**entry).clone() });
        }
    }

    /// Of several who say so, the first ends it.
    pub(super) fn end_move(&mut self, command: &Command, since: u64) -> Outcome {
        let old =
            self.tenants.get(&command.tenant).filter(|old| old.moving.as_ref().is_some_and(|of| of.since == since));
        let Some(old) = old else { return Outcome::NotFound };
        let entry = TenantEntry { moving: None, revision: self.revision, ..(**old).clone() };
        self.tenants.insert(command.tenant.clone(), Arc::new(entry));
        Outcome::Replaced
    }

    pub(super) fn delete_tenant(&mut self, command: &Command) -> Outcome {
        let id = &command.tenant;
        if id.is_local() {
            return Outcome::Conflict(vec![Violation::new("", format!("the tenant {id} is always there"))]);
        }
        let subscriptions = self.subscriptions.keys().filter(|(owner, _)| owner == id).count();
        let topics = self.topics.keys().filter(|(owner, name)| owner == id && !name.is_system()).count();
        let has = |what: &str, count: usize| {
            (count > 0).then(|| Violation::new("", format!("the tenant still has {what}, {count} of them")))
        };
        let moving = self.tenants.get(id).and_then(|entry| entry.moving.as_ref());
        let moving =
            moving.map(|of| Violation::new("", format!("the tenant is still moving from the pool {}", of.from)));
        let has = [has("subscriptions", subscriptions), has("topics", topics), moving];
        let conflicts: Vec<_> = has.into_iter().flatten().collect();
        if !conflicts.is_empty() {
            return Outcome::Conflict(conflicts);
        }
        if self.tenants.remove(id).is_none() {
            return Outcome::NotFound;
        }
        self.keys.retain(|_, key| key.tenant != *id);
        self.retire_topic((id.clone(), TopicName::system()));
        Outcome::Deleted
    }

    pub(super) fn put_key(&mut self, key: KeyEntry) -> Outcome {
        if !self.has_tenant(&key.tenant) {
            return Outcome::NotFound;
        }
        if self.keys.contains_key(&key.id) {
            return Outcome::Conflict(vec![Violation::new("/id", "is that of another key")]);
        }
        self.keys.insert(key.id.clone(), Arc::new(key));
        Outcome::Created
    }

    pub(super) fn delete_key(&mut self, command: &Command, id: &KeyId) -> Outcome {
        match self.keys.get(id) {
            Some(key) if key.tenant == command.tenant => {
                self.keys.remove(id);
                Outcome::Deleted
            }
            _ => Outcome::NotFound,
        }
    }
}

#[cfg(test)]
mod tests;
