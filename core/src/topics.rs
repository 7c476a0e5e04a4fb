//! The table of topics: names in the log, what they hold, who writes them (design §3). This file is the API between
//! the stages: they never import each other, they meet here.
//!
//! | topic | key | value | written by |
//! |---|---|---|---|
//! | `fpaas.slots` | – | never written: membership only | nobody |
//! | `fpaas.fence` | – | never written: the group's offsets on it count transactions | nobody |
//! | `fpaas.migration` | – | how far an installation that moves here has come (Kafka alone) | `fpaas migrate` |
//! | `fpaas.firehose` | DID | event JSON | ingest |
//! | `fpaas.ingest` | upstream | cursor | ingest; compacted |
//! | `fpaas.control` | resource path | command | api; one partition, kept for ever |
//! | `fpaas.control.snapshot` | revision | what all commands up to it add up to, in parts | api; trimmed |
//! | `fpaas.<tenant>.t.<name>` | user's key | user's bytes | dispatcher, router |
//! | `fpaas.<tenant>.t.system` | resource path | what happened to a subscription | dispatcher |
//! | `fpaas.<tenant>.attempts` | batch id | how a call of a webhook ended | dispatcher; one partition, some days |
//! | `fpaas.<tenant>.d.<subscription>.<incarnation>` | as source | the record, untouched | router, redrives; trimmed |
//! | `fpaas.<tenant>.x.<subscription>.<incarnation>` | as source | the record, `fpaas.error.*` | dispatcher, router |
//! | `fpaas.<pool>.tables.<stage>` | table and row key | row | router, dispatcher; compacted, partitions = slots |
//! | `fpaas.<pool>.moves.<stage>` | tenant, revision | what a tenant has in a slot | the pool that it leaves; trimmed |

use crate::{Incarnation, PoolId, SubscriptionId, TenantId, TopicName};

/// The names of one installation: all start with the prefix (`fpaas` where nothing else is said).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

/// The stages that keep tables and have a consumer group per pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Scans and catch-up.
    Router,
    /// Lanes.
    Dispatcher,
}

impl Stage {
    /// As in topic and group names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Dispatcher => "dispatcher",
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self::with_prefix("fpaas")
    }
}

impl Topics {
    /// Names that start with `prefix`.
    pub fn with_prefix(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What they all start with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The slots as partitions, never written: members of a group are assigned these (Kafka alone).
    pub fn slots(&self) -> String {
        format!("{}.slots", self.prefix)
    }

    /// Never written or read: a group's offsets on it count each slot's transactions (Kafka alone).
    pub fn fence(&self) -> String {
        format!("{}.fence", self.prefix)
    }

    /// How far an installation that moves here has come: nothing runs here before it is all there (Kafka alone).
    pub fn migration(&self) -> String {
        format!("{}.migration", self.prefix)
    }

    /// The built-in source: key = DID, value = event JSON.
    pub fn firehose(&self) -> String {
        format!("{}.firehose", self.prefix)
    }

    /// Cursors of the upstreams.
    pub fn ingest(&self) -> String {
        format!("{}.ingest", self.prefix)
    }

    /// Commands, one partition, never compacted, never expired.
    pub fn control(&self) -> String {
        format!("{}.control", self.prefix)
    }

    /// What nodes tell each other of how subscriptions fare; one partition, compacted.
    pub fn board(&self) -> String {
        format!("{}.board", self.prefix)
    }

    /// What commands add up to, now and then, so that a start does not replay all of them; one partition, trimmed.
    pub fn control_snapshot(&self) -> String {
        format!("{}.control.snapshot", self.prefix)
    }

    /// A tenant's topic, or the built-in source.
    pub fn of_tenant(&self, tenant: &TenantId, name: &TopicName) -> String {
        if name.is_firehose() { self.firehose() } else { format!("{}.{tenant}.t.{name}", self.prefix) }
    }

    /// The deliveries of a subscription; partitions = lanes.
    pub fn deliveries(&self, tenant: &TenantId, subscription: &SubscriptionId, incarnation: Incarnation) -> String {
        format!("{}.{tenant}.d.{subscription}.{incarnation}", self.prefix)
    }

    /// What every deliveries topic of every tenant looks like, to find those whose subscription is gone.
    pub fn parse_internal<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str, &'a str, Incarnation)> {
        let rest = topic.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        let mut parts = rest.split('.');
        let (tenant, kind, subscription) = (parts.next()?, parts.next()?, parts.next()?);
        let incarnation = parts.next()?.parse().ok()?;
        let internal = matches!(kind, "d" | "x") && parts.next().is_none();
        internal.then_some((tenant, kind, subscription, Incarnation(incarnation)))
    }

    /// The dead letters of a subscription.
    pub fn dead_letters(&self, tenant: &TenantId, subscription: &SubscriptionId, incarnation: Incarnation) -> String {
        format!("{}.{tenant}.x.{subscription}.{incarnation}", self.prefix)
    }

    /// How the calls of a tenant's webhooks ended; one partition. Made with the first of them.
    pub fn attempts(&self, tenant: &TenantId) -> String {
        format!("{}.{tenant}.attempts", self.prefix)
    }

    /// Whose attempts a topic holds, if it is such a one.
    pub fn parse_attempts<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let tenant = topic.strip_prefix(&self.prefix)?.strip_prefix('.')?.strip_suffix(".attempts")?;
        (!tenant.contains('.')).then_some(tenant)
    }

    /// The dead letters beside these deliveries: a lane's are in the partition of its number.
    pub fn dead_letters_beside(deliveries: &str) -> Option<String> {
        let mut parts = deliveries.rsplitn(3, '.');
        let (incarnation, subscription, head) = (parts.next()?, parts.next()?, parts.next()?.strip_suffix(".d")?);
        Some(format!("{head}.x.{subscription}.{incarnation}"))
    }

    /// The tables of a stage of a pool; partition = slot.
    pub fn tables(&self, pool: &PoolId, stage: Stage) -> String {
        format!("{}.{pool}.tables.{}", self.prefix, stage.as_str())
    }

    /// What tenants that move into a pool have in a stage of the one they leave; partition = slot. Made with the first.
    pub fn moves(&self, pool: &PoolId, stage: Stage) -> String {
        format!("{}.{pool}.moves.{}", self.prefix, stage.as_str())
    }

    /// The consumer group of a stage of a pool.
    pub fn group(&self, pool: &PoolId, stage: Stage) -> String {
        format!("{}.{pool}.{}", self.prefix, stage.as_str())
    }

    /// The group whose one live member writes the firehose.
    pub fn ingest_group(&self) -> String {
        format!("{}.ingest", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_deliveries_are_read_back_and_others_are_not() {
        let topics = Topics::default();
        let (tenant, subscription) = (TenantId::parse("acme").unwrap(), SubscriptionId::parse("likes").unwrap());
        let name = topics.deliveries(&tenant, &subscription, Incarnation(7));
        assert_eq!(name, "fpaas.acme.d.likes.7");
        assert_eq!(topics.parse_internal(&name), Some(("acme", "d", "likes", Incarnation(7))));
        let dead_letters = topics.dead_letters(&tenant, &subscription, Incarnation(7));
        assert_eq!(Topics::dead_letters_beside(&name).as_deref(), Some(&*dead_letters));
        assert_eq!(Topics::dead_letters_beside(&dead_letters), None);
        assert_eq!(topics.parse_internal("fpaas.acme.t.likes.7"), None);
        assert_eq!(topics.parse_internal("fpaas.firehose"), None);
        assert_eq!(topics.parse_attempts(&topics.attempts(&tenant)), Some("acme"));
        assert_eq!(topics.parse_attempts("fpaas.acme.t.attempts"), None);
    }
}
