//! The control view: what the commands so far add up to. Pure: every node that applies the same commands has the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fpaas_core::subscription::{Secret, Subscription, Webhook};
use fpaas_core::topic::TopicSettings;
use fpaas_core::{Incarnation, Offset, PoolId, SubscriptionId, TenantId, Timestamp, TopicName, Violation};

use crate::command::{Change, Command, Outcome};

/// How many recent commands a view remembers the results of.
const REMEMBERED: usize = 10_000;

/// A subscription as it stands.
#[derive(Clone, Debug, PartialEq)]
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
    /// What it says; its secret is apart.
    pub config: Subscription,
    /// What its calls are signed with.
    pub secret: Secret,
    /// Where it started in each partition of its source.
    pub starts: Vec<Offset>,
    /// Shared by all revisions of an incarnation: its topics are kept while anybody holds one of them.
    pub in_use: Arc<()>,
}

/// A tenant's topic as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What the log does not let us make the topics of, as this node finds it: no part of what commands say.
    pub unmade: Unmade,
    results: BTreeMap<String, Outcome>,
    order: VecDeque<String>,
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

    /// Applies the next command. A repeated id changes nothing and returns its first result.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.revision += 1;
        if let Some(outcome) = self.results.get(&command.id) {
            return outcome.clone();
        }
        let current = self.current(command);
        let outcome = match &command.change {
            _ if !command.expects.holds(current) => Outcome::Unexpected(current),
            Change::PutSubscription { id, subscription, secret, starts } => {
                self.put_subscription(command, id, subscription, secret, starts)
            }
            Change::DeleteSubscription { id } => self.delete_subscription(command, id),
            Change::PutTopic { name, settings } => self.put_topic(command, name, settings),
        };
        self.remember(&command.id, &outcome);
        outcome
    }

    /// The revision of what a command is about, if it is there.
    fn current(&self, command: &Command) -> Option<u64> {
        match &command.change {
            Change::PutSubscription { id, .. } | Change::DeleteSubscription { id } => {
                Some(self.subscription(&command.tenant, id)?.revision)
            }
            Change::PutTopic { name, .. } => Some(self.topic(&command.tenant, name)?.revision),
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
            pool: PoolId::of_tenant(&command.tenant),
            id: id.clone(),
            incarnation: Incarnation(self.revision),
            revision: self.revision,
            created: command.time,
            updated: command.time,
            config,
            secret,
            starts: starts.to_vec(),
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
        SubscriptionEntry {
            revision: self.revision,
            updated: command.time,
            config,
            secret: secret.unwrap_or_else(|| old.secret.clone()),
            ..old.clone()
        }
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

    fn remember(&mut self, id: &str, outcome: &Outcome) {
        self.results.insert(id.to_owned(), outcome.clone());
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.results.remove(&oldest);
        }
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
mod tests {
    use super::*;
    use crate::command::Expects;

    fn tenant() -> TenantId {
        TenantId::parse("local").unwrap()
    }

    fn command(id: &str, change: Change) -> Command {
        Command::new(id.to_owned(), Timestamp::from_millis(5), tenant(), change)
    }

    fn put(id: &str, json: &str) -> Command {
        let change = Change::PutSubscription {
            id: SubscriptionId::parse("likes").unwrap(),
            subscription: serde_json::from_str(json).unwrap(),
            secret: Secret::from_bytes(&[7; 32]).unwrap(),
            starts: vec![Offset(3)],
        };
        command(id, change)
    }

    fn likes(view: &View) -> &Arc<SubscriptionEntry> {
        view.subscription(&tenant(), &SubscriptionId::parse("likes").unwrap()).unwrap()
    }

    #[test]
    fn a_repeated_command_returns_its_first_result_and_changes_nothing() {
        let mut view = View::default();
        assert_eq!(view.apply(&put("a", "{}")), Outcome::Created);
        let before = Arc::clone(likes(&view));
        assert_eq!(view.apply(&put("a", "{}")), Outcome::Created);
        assert!(Arc::ptr_eq(&before, likes(&view)));
        assert_eq!(view.apply(&put("b", "{}")), Outcome::Replaced);
    }

    #[test]
    fn a_replaced_subscription_keeps_what_is_read_at_creation() {
        let mut view = View::default();
        view.apply(&put("a", r#"{"startFrom":"earliest"}"#));
        view.apply(&put("b", r#"{"startFrom":"latest","collector":{"maxEvents":7}}"#));
        let entry = likes(&view);
        assert_eq!(entry.incarnation, Incarnation(1));
        assert_eq!(entry.revision, 2);
        assert_eq!(entry.starts, [Offset(3)]);
        assert_eq!(String::from(entry.config.start_from.clone()), "earliest");
        assert_eq!(entry.config.collector.max_events, 7);
    }

    #[test]
    fn a_subscription_made_again_is_another_incarnation() {
        let mut view = View::default();
        view.apply(&put("a", "{}"));
        let delete = Change::DeleteSubscription { id: SubscriptionId::parse("likes").unwrap() };
        assert_eq!(view.apply(&command("b", delete.clone())), Outcome::Deleted);
        assert_eq!(view.apply(&command("c", delete)), Outcome::NotFound);
        assert_eq!(view.apply(&put("d", "{}")), Outcome::Created);
        assert_eq!(likes(&view).incarnation, Incarnation(4));
    }

    #[test]
    fn source_and_lanes_cannot_change() {
        let mut view = View::default();
        view.apply(&put("a", "{}"));
        let Outcome::Conflict(conflicts) = view.apply(&put("b", r#"{"source":{"topic":"x"},"lanes":2}"#)) else {
            panic!("accepted");
        };
        let pointers: Vec<_> = conflicts.iter().map(|conflict| conflict.pointer.as_str()).collect();
        assert_eq!(pointers, ["/source", "/lanes"]);
        assert_eq!(likes(&view).revision, 1);
    }

    #[test]
    fn an_output_topic_is_made_unless_kafka_could_not_tell_it_from_another() {
        let mut view = View::default();
        assert_eq!(view.apply(&put("a", r#"{"output":{"topic":"like.results"}}"#)), Outcome::Created);
        assert_eq!(view.topics.len(), 1);
        let outcome = view.apply(&put("b", r#"{"output":{"topic":"like_results"}}"#));
        assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
        assert_eq!(view.topics.len(), 1);
    }

    #[test]
    fn a_secret_that_is_brought_is_kept_apart_from_what_readers_see() {
        let mut view = View::default();
        let secret = Secret::from_bytes(&[9; 24]).unwrap();
        let webhook =
            format!(r#"{{"processor":{{"webhook":{{"url":"https://a.example/","secret":"{}"}}}}}}"#, secret.reveal());
        view.apply(&put("a", &webhook));
        assert_eq!(likes(&view).secret, secret);
        assert!(
            !format!("{:?}{}", likes(&view), serde_json::to_string(&likes(&view).config).unwrap()).contains("whsec_")
        );
        view.apply(&put("b", r#"{"processor":{"webhook":{"url":"https://a.example/"}}}"#));
        assert_eq!(likes(&view).secret, secret);
    }

    #[test]
    fn the_same_commands_make_the_same_view() {
        let commands = [put("a", "{}"), put("b", r#"{"output":{"topic":"out"}}"#), put("a", "{}")];
        let view = |commands: &[Command]| {
            let mut view = View::default();
            for command in commands {
                let command = Command::decode(&command.encode().unwrap()).unwrap();
                view.apply(&command);
            }
            format!("{view:?}")
        };
        assert_eq!(view(&commands), view(&commands));
    }

    /// As version 1 wrote it: it stays readable.
    const VERSION_1: &str = r#"{"v":1,"id":"a","time":5,"tenant":"local","change":{"putTopic":{"name":"out","settings":{"partitions":3,"retentionMs":null,"retentionBytes":null,"compacted":false}}}}"#;

    #[test]
    fn a_command_of_an_older_version_is_read_and_one_of_a_newer_is_refused() {
        let old = Command::decode(VERSION_1.as_bytes()).unwrap();
        let mut view = View::default();
        assert_eq!(view.apply(&old), Outcome::Created);
        assert_eq!(view.topics.values().next().unwrap().settings.partitions, 3);
        let newer = VERSION_1.replace(r#""v":1"#, r#""v":3"#);
        let refused = Command::decode(newer.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("its version is 3, and this program knows 1 to 2"), "{refused}");
    }

    #[test]
    fn a_command_changes_only_what_is_as_it_expects() {
        let mut view = View::default();
        let mut apply = |id: &str, expects| view.apply(&put(id, "{}").expecting(expects));
        assert_eq!(apply("a", Expects::Present), Outcome::Unexpected(None));
        assert_eq!(apply("b", Expects::OneOf(vec![1])), Outcome::Unexpected(None));
        assert_eq!(apply("c", Expects::Absent), Outcome::Created);
        assert_eq!(apply("d", Expects::Absent), Outcome::Unexpected(Some(3)));
        assert_eq!(apply("e", Expects::OneOf(vec![3])), Outcome::Replaced);
        assert_eq!(apply("f", Expects::OneOf(vec![3])), Outcome::Unexpected(Some(5)));
        assert_eq!(apply("g", Expects::NoneOf(vec![5])), Outcome::Unexpected(Some(5)));
        // Repeated, it is what it was.
        assert_eq!(apply("e", Expects::OneOf(vec![3])), Outcome::Replaced);
        assert_eq!(likes(&view).revision, 5);
    }
}
