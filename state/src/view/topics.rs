//! Tenants' topics in the view: what commands make of them.
//!
//! A topic's name in the log is its name in the view, so that readers outside find it. Therefore a deleted one's name
//! stays taken until no node can be about to remove it: else a late removal would hit the next topic of that name.

use std::sync::Arc;

use fpaas_core::subscription::Subscription;
use fpaas_core::topic::TopicSettings;
use fpaas_core::{SubscriptionId, TenantId, Timestamp, TopicName, Violation, rfc3339};

use super::{DeletedTopic, TopicEntry, View};
use crate::command::{Command, Outcome};

/// How many of the subscriptions that use a topic are named.
const USERS_SHOWN: usize = 5;

impl View {
    /// A tenant's topic that Kafka could not tell from `name`, if there is one.
    pub fn colliding_topic(&self, tenant: &TenantId, name: &TopicName) -> Option<&TopicName> {
        let key = name.collision_key();
        let same_tenant = self.topics.keys().filter(|(owner, _)| owner == tenant);
        same_tenant.map(|(_, other)| other).find(|other| *other != name && other.collision_key() == key)
    }

    /// Why a topic of that name cannot be made, if so.
    fn name_conflict(&self, command: &Command, pointer: &str, name: &TopicName) -> Option<Violation> {
        if let Some(other) = self.colliding_topic(&command.tenant, name) {
            return Some(collision(pointer, other));
        }
        let same =
            |other: &DeletedTopic| other.tenant == command.tenant && other.name.collision_key() == name.collision_key();
        let taken = |other: &DeletedTopic| other.free.is_none_or(|free| command.time < free);
        let deleted = self.deleted.values().find(|other| same(other) && taken(other))?;
        let free = deleted.free.map_or_else(|| "in a while".to_owned(), |free| format!("at {}", rfc3339::format(free)));
        let detail = format!("the topic {} was deleted a moment ago: its name is free again {free}", deleted.name);
        Some(Violation::new(pointer, detail))
    }

    pub(super) fn output_conflict(&self, command: &Command, config: &Subscription) -> Option<Outcome> {
        let output = &config.output.as_ref()?.topic;
        self.name_conflict(command, "/output/topic", output).map(|conflict| Outcome::Conflict(vec![conflict]))
    }

    pub(super) fn make_output_topic(&mut self, command: &Command, config: &Subscription) {
        let Some(output) = &config.output else { return };
        if self.topic(&command.tenant, &output.topic).is_none() {
            self.insert_topic(command, &output.topic, &TopicSettings::default());
        }
    }

    /// Once. It goes with the tenant: until it is gone from the log, a tenant of that name does without.
    pub(super) fn make_system_topic(&mut self, command: &Command) {
        let name = TopicName::system();
        if !command.makes_system()
            || self.topic(&command.tenant, &name).is_some()
            || self.name_conflict(command, "", &name).is_some()
        {
            return;
        }
        self.insert_topic(command, &name, &TopicSettings::system());
    }

    pub(super) fn put_topic(&mut self, command: &Command, name: &TopicName, settings: &TopicSettings) -> Outcome {
        if let Some(conflict) = self.name_conflict(command, "/name", name) {
            return Outcome::Conflict(vec![conflict]);
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
        self.deleted.remove(&key);
        let old = self.topics.get(&key);
        let made = if command.is_exact() { self.revision } else { 0 };
        let incarnation = old.map_or(made, |old| old.incarnation);
        let created = old.map_or(command.time, |old| old.created);
        let entry = TopicEntry {
            tenant: command.tenant.clone(),
            name: name.clone(),
            incarnation,
            revision: self.revision,
            created,
            settings: settings.clone(),
        };
        self.topics.insert(key, Arc::new(entry));
    }

    pub(super) fn delete_topic(&mut self, command: &Command, name: &TopicName) -> Outcome {
        let key = (command.tenant.clone(), name.clone());
        if !self.topics.contains_key(&key) {
            return Outcome::NotFound;
        }
        if name.is_system() {
            let detail = "is there for as long as the tenant is: it tells what happens to its subscriptions";
            return Outcome::Conflict(vec![Violation::new("/name", detail)]);
        }
        let users: Vec<_> = self.users_of(&command.tenant, name).map(ToString::to_string).collect();
        if !users.is_empty() {
            let detail = format!("is used by subscriptions: {}", users.join(", "));
            return Outcome::Conflict(vec![Violation::new("/name", detail)]);
        }
        self.retire_topic(key);
        Outcome::Deleted
    }

    /// It is to be removed from the log.
    pub(super) fn retire_topic(&mut self, key: (TenantId, TopicName)) {
        if self.topics.remove(&key).is_some() {
            let (tenant, name) = key.clone();
            self.deleted.insert(key, DeletedTopic { tenant, name, since: self.revision, free: None });
        }
    }

    /// A tenant's subscriptions that read or write the topic: the first few.
    fn users_of(&self, tenant: &TenantId, name: &TopicName) -> impl Iterator<Item = &SubscriptionId> {
        let theirs = self.subscriptions.values().filter(move |entry| entry.tenant == *tenant);
        let using = theirs.filter(move |entry| {
            let output = entry.config.output.as_ref().is_some_and(|output| output.topic == *name);
            output || entry.config.source.topic == *name
        });
        using.map(|entry| &entry.id).take(USERS_SHOWN)
    }

    pub(super) fn free_topic(&mut self, command: &Command, name: &TopicName, since: u64, free: Timestamp) -> Outcome {
        // Those whose time has come are forgotten: a name need not be remembered for ever.
        self.deleted.retain(|_, deleted| deleted.free.is_none_or(|free| command.time < free));
        let key = (command.tenant.clone(), name.clone());
        match self.deleted.get_mut(&key) {
            Some(deleted) if deleted.since == since && deleted.free.is_none() => {
                deleted.free = Some(free);
                if free <= command.time {
                    self.deleted.remove(&key);
                }
                Outcome::Replaced
            }
            _ => Outcome::NotFound,
        }
    }
}

fn collision(pointer: &str, other: &TopicName) -> Violation {
    Violation::new(pointer, format!("the topic {other} is there: names that differ only in . and _ cannot both exist"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Change;
    use crate::machine::Machine;
    use fpaas_core::Offset;

    /// As version 3 writes them: they stay readable.
    const DELETE: &str = r#"{"v":3,"id":"b","time":6,"tenant":"acme","change":{"deleteTopic":{"name":"a.b"}}}"#;
    const FREE: &str =
        r#"{"v":3,"id":"c","time":7,"tenant":"acme","change":{"freeTopic":{"name":"a.b","since":1,"free":9}}}"#;

    fn apply(machine: &mut Machine, text: &str) -> Outcome {
        let command = Command::decode(text.as_bytes()).unwrap();
        assert_eq!(command.encode().unwrap(), text);
        machine.apply(&command)
    }

    fn put(machine: &mut Machine, id: &str, time: i64, name: &str) -> Outcome {
        let (tenant, name) = (TenantId::parse("acme").unwrap(), TopicName::parse(name).unwrap());
        let change = Change::PutTopic { name, settings: TopicSettings::default() };
        machine.apply(&Command::new(id.to_owned(), Timestamp::from_millis(time), tenant, change))
    }

    fn deleted() -> Machine {
        let mut machine = Machine::default();
        assert_eq!(put(&mut machine, "a", 5, "a.b"), Outcome::Created);
        assert_eq!(apply(&mut machine, DELETE), Outcome::Deleted);
        machine
    }

    #[test]
    fn the_name_of_a_deleted_topic_is_free_from_its_time_on_and_not_before() {
        let mut machine = deleted();
        assert!(matches!(put(&mut machine, "d", 100, "a.b"), Outcome::Conflict(_)), "the log may still have it");
        assert_eq!(apply(&mut machine, &FREE.replace("\"since\":1", "\"since\":2")), Outcome::Replaced);
        for (id, name) in [("e", "a.b"), ("f", "a_b")] {
            assert!(matches!(put(&mut machine, id, 8, name), Outcome::Conflict(_)), "{name}");
        }
        assert_eq!(put(&mut machine, "g", 8, "a-b"), Outcome::Created);
        assert_eq!(put(&mut machine, "h", 9, "a.b"), Outcome::Created);
        assert!(machine.view.deleted.is_empty());
    }

    #[test]
    fn a_topic_that_is_made_again_is_another_incarnation_and_one_that_is_put_is_not() {
        let mut machine = Machine::default();
        let made = |machine: &Machine| machine.view.topics.values().next().map(|topic| topic.incarnation);
        put(&mut machine, "a", 5, "a.b");
        assert_eq!((put(&mut machine, "a2", 5, "a.b"), made(&machine)), (Outcome::Replaced, Some(1)));
        apply(&mut machine, DELETE);
        apply(&mut machine, &FREE.replace("\"since\":1", "\"since\":3"));
        assert_eq!((put(&mut machine, "d", 9, "a.b"), made(&machine)), (Outcome::Created, Some(5)));
    }

    /// Two nodes, one of which reads an image that an older version wrote, must come to the same.
    #[test]
    fn a_topic_of_an_older_command_has_no_incarnation() {
        let mut machine = Machine::default();
        let old = r#"{"v":3,"id":"o","time":5,"tenant":"acme","change":{"putTopic":{"name":"out","settings":{"partitions":1,"retentionMs":null,"retentionBytes":null,"compacted":false}}}}"#;
        assert_eq!(apply(&mut machine, old), Outcome::Created);
        assert_eq!(put(&mut machine, "p", 6, "out"), Outcome::Replaced);
        assert_eq!(machine.view.topics.values().next().map(|topic| topic.incarnation), Some(0));
    }

    #[test]
    fn a_subscription_is_not_made_on_a_topic_that_was_deleted_meanwhile() {
        let mut machine = deleted();
        let change = Change::PutSubscription {
            id: SubscriptionId::parse("likes").unwrap(),
            subscription: serde_json::from_str(r#"{"source":{"topic":"a.b"}}"#).unwrap(),
            secret: fpaas_core::subscription::Secret::from_bytes(&[7; 32]).unwrap(),
            starts: vec![],
        };
        let tenant = TenantId::parse("acme").unwrap();
        let put = Command::new("z".to_owned(), Timestamp::from_millis(7), tenant, change);
        assert!(matches!(machine.apply(&put), Outcome::Conflict(_)));
    }

    #[test]
    fn what_frees_another_topic_of_that_name_does_nothing() {
        let mut machine = deleted();
        assert_eq!(apply(&mut machine, FREE), Outcome::NotFound);
        assert!(machine.view.deleted.values().all(|deleted| deleted.free.is_none()));
    }

    #[test]
    fn a_deleted_topic_is_part_of_an_image() {
        let machine = deleted();
        let image = machine.image(Offset(2)).unwrap();
        let known = r#""deleted":[{"tenant":"acme","name":"a.b","since":2}]"#;
        assert!(String::from_utf8_lossy(&image).contains(known));
        let (read, _) = Machine::from_image(&image).unwrap().unwrap();
        assert_eq!(read.digest().unwrap(), machine.digest().unwrap());
    }
}
