//! The control state machine: the view, and what makes a repeated command harmless. Pure: the same commands in the same
//! order make the same state on every node, and its image is the same, byte for byte.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fpaas_core::{Offset, hash};
use serde::{Deserialize, Serialize};

use crate::command::{Change, Command, Outcome};
use crate::once::{Begun, Requests};
use crate::view::tenants::{KeyEntry, TenantEntry};
use crate::view::{DeletedTopic, SubscriptionEntry, TopicEntry, View};
use crate::{Error, Result};

/// How many recent commands it remembers the results of.
const REMEMBERED: usize = 10_000;
/// Of its image.
const VERSION: u8 = 6;
/// What is read, too: of 5 no webhook had a client certificate, of 4 no dead letters were delivered again, of 3 nothing
/// was disabled, of 2 no topic had an incarnation, and of 1 no tenant had moved.
const OLDEST: u8 = 1;

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// What the commands so far add up to.
    pub view: View,
    results: BTreeMap<Arc<str>, Outcome>,
    order: VecDeque<Arc<str>>,
    requests: Requests,
}

/// Its state, and the offset of the command that it applies next.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    v: u8,
    next: Offset,
    revision: u64,
    subscriptions: Vec<&'a SubscriptionEntry>,
    topics: Vec<&'a TopicEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deleted: Vec<&'a DeletedTopic>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tenants: Vec<&'a TenantEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<&'a KeyEntry>,
    #[serde(skip_serializing_if = "Requests::is_empty")]
    requests: &'a Requests,
    results: Vec<(&'a str, &'a Outcome)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Read {
    #[serde(rename = "v")]
    _v: u8,
    next: Offset,
    revision: u64,
    subscriptions: Vec<SubscriptionEntry>,
    topics: Vec<TopicEntry>,
    #[serde(default)]
    deleted: Vec<DeletedTopic>,
    #[serde(default)]
    tenants: Vec<TenantEntry>,
    #[serde(default)]
    keys: Vec<KeyEntry>,
    #[serde(default)]
    requests: Requests,
    results: Vec<(String, Outcome)>,
}

impl Machine {
    /// Applies the next command. A repeated id changes nothing and returns its first result.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.view.revision += 1;
        if let Some(outcome) = self.results.get(command.id.as_str()) {
            return outcome.clone();
        }
        let outcome = match self.requests.repeated(command) {
            // Of the tenant and the subscription that were meant, and of no later ones of their names.
            Some(outcome) if self.view.is_meant(command) => outcome,
            _ => self.change(command),
        };
        self.remember(command.id.as_str().into(), outcome.clone());
        outcome
    }

    fn change(&mut self, command: &Command) -> Outcome {
        let outcome = self.view.change(command);
        self.requests.note(command, &outcome, self.just_begun(command, &outcome));
        if matches!((&command.change, &outcome), (Change::DeleteTenant {}, Outcome::Deleted)) {
            self.requests.forget(&command.tenant);
        }
        outcome
    }

    fn just_begun(&self, command: &Command, outcome: &Outcome) -> Begun {
        if *outcome == Outcome::Replaced && command.is_exact() { self.under_way(command) } else { Begun::default() }
    }

    /// What a command that begins something has begun, right after it.
    pub(crate) fn under_way(&self, command: &Command) -> Begun {
        let entry = |id| self.view.subscription(&command.tenant, id);
        match &command.change {
            Change::StartReplay { id, .. } => {
                Begun { replay: entry(id).and_then(|entry| entry.replay.clone()), redrive: None }
            }
            Change::StartRedrive { id, .. } => {
                Begun { redrive: entry(id).and_then(|entry| entry.redrive.clone()), replay: None }
            }
            _ => Begun::default(),
        }
    }

    /// What a command which is to be done once has begun, or did when it was asked for first.
    pub(crate) fn began(&self, command: &Command) -> Begun {
        self.requests.began(command)
    }

    fn remember(&mut self, id: Arc<str>, outcome: Outcome) {
        self.results.insert(Arc::clone(&id), outcome);
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.results.remove(&oldest);
        }
    }

    /// Everything of it, as JSON. `next` is the offset of the command that comes next.
    pub(crate) fn image(&self, next: Offset) -> Result<Vec<u8>> {
        let results = self.order.iter().filter_map(|id| Some((&**id, self.results.get(id)?)));
        let written = Written {
            v: VERSION,
            next,
            revision: self.view.revision,
            subscriptions: self.view.subscriptions.values().map(|entry| &**entry).collect(),
            topics: self.view.topics.values().map(|entry| &**entry).collect(),
            deleted: self.view.deleted.values().collect(),
            tenants: self.view.tenants.values().map(|entry| &**entry).collect(),
            keys: self.view.keys.values().map(|entry| &**entry).collect(),
            requests: &self.requests,
            results: results.collect(),
        };
        serde_json::to_vec(&written).map_err(|error| corrupt(&error.to_string()))
    }

    /// The same again, and the offset of the command that comes next. `None` of an image of another version: the
    /// commands say the same.
    pub(crate) fn from_image(image: &[u8]) -> Result<Option<(Self, Offset)>> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u8,
        }
        let wrong = |error: serde_json::Error| corrupt(&error.to_string());
        let Versioned { v } = serde_json::from_slice(image).map_err(wrong)?;
        if !(OLDEST..=VERSION).contains(&v) {
            return Ok(None);
        }
        let read: Read = serde_json::from_slice(image).map_err(wrong)?;
        let mut machine = Self::default();
        machine.view.revision = read.revision;
        for entry in read.subscriptions {
            machine.view.subscriptions.insert((entry.tenant.clone(), entry.id.clone()), Arc::new(entry));
        }
        for entry in read.topics {
            machine.view.topics.insert((entry.tenant.clone(), entry.name.clone()), Arc::new(entry));
        }
        let deleted = read.deleted.into_iter().map(|entry| ((entry.tenant.clone(), entry.name.clone()), entry));
        machine.view.deleted = deleted.collect();
        let tenants = read.tenants.into_iter().map(|entry| (entry.id.clone(), Arc::new(entry)));
        machine.view.tenants = tenants.collect();
        machine.view.keys = read.keys.into_iter().map(|entry| (entry.id.clone(), Arc::new(entry))).collect();
        machine.requests = read.requests;
        for (id, outcome) in read.results {
            machine.remember(id.into(), outcome);
        }
        Ok(Some((machine, read.next)))
    }

    /// What two nodes compare: equal where their states are.
    pub fn digest(&self) -> Result<String> {
        Ok(hash::hex(&[&self.image(Offset::ZERO)?], 64))
    }
}

fn corrupt(why: &str) -> Error {
    Error::Corrupt { what: "a snapshot of the control topic".to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Once;
    use expect_test::expect;
    use fpaas_core::subscription::{Secret, State};
    use fpaas_core::{Incarnation, KeyHash, KeyId, PoolId, Scope, SubscriptionId, TenantId, Timestamp, TopicName};

    fn put(id: &str, subscription: &str, json: &str) -> Command {
        let change = Change::PutSubscription {
            id: SubscriptionId::parse(subscription).unwrap(),
            subscription: serde_json::from_str(json).unwrap(),
            secret: Secret::from_bytes(&[7; 32]).unwrap(),
            starts: vec![Offset(3)],
        };
        Command::new(id.to_owned(), Timestamp::from_millis(5), TenantId::parse("local").unwrap(), change)
    }

    fn of_acme(id: &str, change: Change) -> Command {
        Command::new(id.to_owned(), Timestamp::from_millis(6), TenantId::parse("acme").unwrap(), change)
    }

    fn key(number: u8) -> Change {
        Change::PutKey {
            id: KeyId::parse(&format!("key{number:013}")).unwrap(),
            hash: KeyHash::of("fpaas_key"),
            scopes: [Scope::Read].into(),
            description: "of a test".to_owned(),
            expires: Some(Timestamp::from_millis(7)),
        }
    }

    #[test]
    fn an_image_makes_the_same_machine_which_goes_on_the_same() {
        let mut machine = Machine::default();
        machine.apply(&put("a", "likes", r#"{"output":{"topic":"out"}}"#));
        machine.apply(&put("b", "posts", r#"{"source":{"topic":"out"}}"#));
        machine.apply(&put("c", "posts", r#"{"source":{"topic":"firehose"}}"#));
        machine.apply(&of_acme("t", Change::PutTenant { pool: Some(PoolId::parse("_free").unwrap()) }));
        machine.apply(&of_acme("s", put("s", "likes", "{}").change));
        machine.apply(&of_acme("m", Change::PutTenant { pool: Some(PoolId::parse("acme").unwrap()) }));
        machine.apply(&of_acme("k", key(1)));
        machine.apply(&of_acme("l", key(2)));
        let image = machine.image(Offset(9)).unwrap();
        let (mut again, next) = Machine::from_image(&image).unwrap().unwrap();
        assert_eq!(next, Offset(9));
        assert_eq!(again.image(next).unwrap(), image);
        assert_eq!((again.view.tenants.len(), again.view.keys.len()), (1, 2));
        let old = KeyId::parse("key0000000000001").unwrap();
        for command in [
            put("c", "posts", "{}"),
            put("d", "posts", r#"{"lanes":2}"#),
            put("e", "likes", "{}"),
            of_acme("f", Change::PutTenant { pool: None }),
            of_acme("g", key(2)),
            of_acme("h", Change::DeleteKey { id: old }),
            of_acme("i", Change::DeleteTenant {}),
            of_acme("o", Change::EndMove { since: 6 }),
            of_acme("j", Change::DeleteSubscription { id: SubscriptionId::parse("likes").unwrap() }),
            of_acme("n", Change::DeleteTenant {}),
        ] {
            assert_eq!(again.apply(&command), machine.apply(&command));
        }
        assert_eq!((again.view.tenants.len(), again.view.keys.len()), (0, 0));
        assert_eq!(again.digest().unwrap(), machine.digest().unwrap());
        assert_ne!(again.image(next).unwrap(), image);
    }

    fn replay(id: &str, of: u64, instead_of: Option<u64>) -> Command {
        let change = Change::StartReplay {
            id: SubscriptionId::parse("likes").unwrap(),
            of: Incarnation(of),
            instead_of,
            source: TopicName::parse("firehose").unwrap(),
            from: vec![Offset(1)],
            to: vec![Offset(2)],
            events_per_second: Some(3),
        };
        Command::new(id.to_owned(), Timestamp::from_millis(5), TenantId::local(), change)
    }

    #[test]
    fn replays_and_requests_that_are_done_once_are_part_of_an_image() {
        let mut machine = Machine::default();
        let once = Once { key: "k".to_owned(), fingerprint: "f".to_owned() };
        machine.apply(&put("a", "likes", "{}"));
        assert_eq!(machine.apply(&replay("b", 1, None).once(Some(once.clone()))), Outcome::Replaced);
        let (mut again, _) = Machine::from_image(&machine.image(Offset(2)).unwrap()).unwrap().unwrap();
        assert_eq!(again.digest().unwrap(), machine.digest().unwrap());
        for machine in [&mut machine, &mut again] {
            let sent_again = machine.apply(&replay("c", 1, None).once(Some(once.clone())));
            assert_eq!(sent_again, Outcome::Repeated { outcome: Box::new(Outcome::Replaced), made: None });
        }
        assert_eq!(again.digest().unwrap(), machine.digest().unwrap());
        // What it was is known when it is cancelled, to those who have it from an image, too.
        let began = likes(&machine).replay.clone().unwrap();
        let cancel = Change::CancelReplay { id: likes(&machine).id.clone(), of: Incarnation(1), since: began.since };
        let asked = replay("e", 1, None).once(Some(once));
        for machine in [&mut machine, &mut again] {
            machine.apply(&Command::new("d".to_owned(), Timestamp::from_millis(5), TenantId::local(), cancel.clone()));
            assert!(matches!(machine.apply(&asked), Outcome::Repeated { .. }));
            assert_eq!((machine.began(&asked).replay.as_ref(), likes(machine).replay.as_ref()), (Some(&began), None));
        }
        assert_eq!(again.digest().unwrap(), machine.digest().unwrap());
    }

    fn likes(machine: &Machine) -> &SubscriptionEntry {
        machine.view.subscriptions.values().next().unwrap()
    }

    #[test]
    fn what_is_asked_of_a_subscription_is_not_done_to_the_next_of_its_id() {
        let id = || SubscriptionId::parse("likes").unwrap();
        let pause = |name: &str, of| {
            let change = Change::SetState { id: id(), of: Some(Incarnation(of)), state: State::Paused };
            let once = Once { key: "k".to_owned(), fingerprint: "f".to_owned() };
            Command::new(name.to_owned(), Timestamp::from_millis(5), TenantId::local(), change).once(Some(once))
        };
        let mut machine = Machine::default();
        machine.apply(&put("a", "likes", "{}"));
        assert_eq!(machine.apply(&pause("b", 1)), Outcome::Replaced);
        let delete = Change::DeleteSubscription { id: id() };
        machine.apply(&Command::new("c".to_owned(), Timestamp::from_millis(5), TenantId::local(), delete));
        assert_eq!(machine.apply(&pause("d", 1)), Outcome::NotFound, "it is gone, whatever was done to it");
        machine.apply(&put("e", "likes", "{}"));
        assert_eq!(machine.apply(&pause("f", 1)), Outcome::NotFound, "that one is another");
        assert!(!likes(&machine).config.is_paused());
        let rotate = Change::RotateSecret {
            id: id(),
            of: Some(Incarnation(1)),
            secret: Secret::from_bytes(&[9; 32]).unwrap(),
            until: Timestamp::from_millis(7),
        };
        let rotate = Command::new("g".to_owned(), Timestamp::from_millis(5), TenantId::local(), rotate);
        assert_eq!(machine.apply(&rotate), Outcome::NotFound);
    }

    #[test]
    fn a_replay_is_of_the_subscription_and_in_place_of_the_replay_that_were_seen() {
        let mut machine = Machine::default();
        machine.apply(&put("a", "likes", "{}"));
        assert_eq!(machine.apply(&replay("b", 2, None)), Outcome::NotFound, "another one of that id");
        assert_eq!(machine.apply(&replay("c", 1, None)), Outcome::Replaced);
        assert!(matches!(machine.apply(&replay("d", 1, None)), Outcome::Conflict(_)), "somebody else was first");
        assert_eq!(machine.apply(&replay("e", 1, Some(3))), Outcome::Replaced);
        let cancel = |id: &str, since| {
            let change =
                Change::CancelReplay { id: SubscriptionId::parse("likes").unwrap(), of: Incarnation(1), since };
            Command::new(id.to_owned(), Timestamp::from_millis(5), TenantId::local(), change)
        };
        assert!(matches!(machine.apply(&cancel("f", 3)), Outcome::Conflict(_)), "that one is over");
        assert_eq!(machine.apply(&cancel("g", 5)), Outcome::Replaced);
        let entry = machine.view.subscriptions.values().next().unwrap();
        assert_eq!((entry.replay.as_ref(), entry.revision), (None, 1), "its configuration has not changed");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_same_after_an_image() {
        let mut machine = Machine::default();
        for number in 0..=REMEMBERED {
            machine.apply(&put(&number.to_string(), "likes", "{}"));
        }
        let image = machine.image(Offset::ZERO).unwrap();
        let (mut again, _) = Machine::from_image(&image).unwrap().unwrap();
        assert_eq!((again.order.len(), again.results.len()), (REMEMBERED, REMEMBERED));
        // The first is forgotten, the second not.
        assert_eq!(again.apply(&put("1", "other", "{}")), Outcome::Replaced);
        assert_eq!(again.apply(&put("0", "other", "{}")), Outcome::Created);
    }

    /// As versions 1 and 2 look: once they are out there, they stay readable.
    #[test]
    fn images_of_versions_1_and_2_are_read() {
        let mut machine = Machine::default();
        machine.apply(&put("a", "likes", r#"{"output":{"topic":"out"}}"#));
        let known = expect![[
            r#"{"v":6,"next":1,"revision":1,"subscriptions":[{"tenant":"local","pool":"local","id":"likes","incarnation":1,"revision":1,"created":5,"updated":5,"activeSince":5,"config":{"id":"likes","source":{"topic":"firehose"},"startFrom":"latest","filter":{"kinds":[],"collections":[],"operations":[],"dids":[]},"collector":{"maxEvents":100,"maxBytes":1048576,"maxWaitMs":1000},"output":{"topic":"out"},"ordering":"key","lanes":1,"retry":{"initialBackoffMs":1000,"maxBackoffMs":60000,"maxElapsedMs":300000,"onFailure":"retry","onExhausted":"deadLetter"},"throttle":{"eventsPerSecond":null},"state":"active","metadata":{}},"secret":"whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","starts":[3]}],"topics":[{"tenant":"local","name":"out","incarnation":1,"revision":1,"created":5,"settings":{"partitions":1,"retentionMs":604800000,"retentionBytes":null,"compacted":false}},{"tenant":"local","name":"system","incarnation":1,"revision":1,"created":5,"settings":{"partitions":1,"retentionMs":604800000,"retentionBytes":268435456,"compacted":false}}],"results":[["a","created"]]}"#
        ]];
        known.assert_eq(&String::from_utf8(machine.image(Offset(1)).unwrap()).unwrap());
        let image = known.data();
        let (read, next) = Machine::from_image(image.as_bytes()).unwrap().unwrap();
        assert_eq!((read.image(next).unwrap(), next), (image.as_bytes().to_vec(), Offset(1)));
        let [older, newer] = [2, 7].map(|v| image.replacen(r#""v":6"#, &format!(r#""v":{v}"#), 1));
        // What an older program wrote comes to what its commands come to.
        let command = put("a", "likes", r#"{"output":{"topic":"out"}}"#).encode().unwrap();
        let command = String::from_utf8(command.to_vec()).unwrap().replacen(r#"{"v":7"#, r#"{"v":3"#, 1);
        let mut before = Machine::default();
        before.apply(&Command::decode(command.as_bytes()).unwrap());
        let older = older.replacen(r#""name":"out","incarnation":1,"#, r#""name":"out","#, 1);
        // It knew of no topic `system`.
        let (begin, end) = (older.find(r#",{"tenant":"local","name":"system""#), older.find(r#"],"results""#));
        let older = [&older[..begin.unwrap()], &older[end.unwrap()..]].concat();
        for older in [older.replacen(r#""v":2"#, r#""v":1"#, 1), older] {
            let (read, _) = Machine::from_image(older.as_bytes()).unwrap().unwrap();
            assert_eq!(read.digest().unwrap(), before.digest().unwrap());
        }
        assert!(Machine::from_image(newer.replacen('{', r#"{"more":true,"#, 1).as_bytes()).unwrap().is_none());
        assert!(Machine::from_image(image.get(..50).unwrap().as_bytes()).is_err());
    }
}
