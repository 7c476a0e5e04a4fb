//! What commands make of tenants and keys.

use super::*;
use crate::command::Expects;
use crate::machine::Machine;
use fpaas_core::subscription::Secret;
use fpaas_core::topic::TopicSettings;
use fpaas_core::{SubscriptionId, TopicName};

fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn pool(name: &str) -> PoolId {
    PoolId::parse(name).unwrap()
}

/// A machine, and a number of its own for each command it is given.
#[derive(Default)]
struct Given(Machine, u32);

impl Given {
    fn apply(&mut self, command: Command) -> Outcome {
        // As other nodes read it.
        self.0.apply(&Command::decode(&command.encode().unwrap()).unwrap())
    }

    fn command(&mut self, tenant: &str, change: Change) -> Command {
        self.1 += 1;
        Command::new(self.1.to_string(), Timestamp::from_millis(self.1.into()), id(tenant), change)
    }

    fn change(&mut self, tenant: &str, change: Change) -> Outcome {
        let command = self.command(tenant, change);
        self.apply(command)
    }

    fn put(&mut self, tenant: &str, pool_name: Option<&str>) -> Outcome {
        self.change(tenant, Change::PutTenant { pool: pool_name.map(pool) })
    }

    fn subscribe(&mut self, tenant: &str) -> Outcome {
        let command = self.command(tenant, subscription());
        let made = self.0.view.made(&id(tenant));
        self.apply(command.of(made))
    }
}

fn subscription() -> Change {
    Change::PutSubscription {
        id: SubscriptionId::parse("likes").unwrap(),
        subscription: serde_json::from_str("{}").unwrap(),
        secret: Secret::from_bytes(&[7; 32]).unwrap(),
        starts: Vec::new(),
    }
}

fn key_id(number: u64) -> KeyId {
    KeyId::parse(&format!("{number:016}")).unwrap()
}

fn key(number: u64, scopes: &[Scope]) -> Change {
    let (id, hash) = (key_id(number), KeyHash::of(&number.to_string()));
    Change::PutKey {
        id,
        hash,
        scopes: scopes.iter().copied().collect(),
        description: "one".to_owned(),
        expires: Some(Timestamp::from_millis(1000)),
    }
}

/// That it is refused, and what the first reason is.
fn conflict(outcome: Outcome) -> String {
    let Outcome::Conflict(conflicts) = outcome else { panic!("{outcome:?}") };
    format!("{} {}", conflicts[0].pointer, conflicts[0].detail)
}

#[test]
fn a_tenant_is_in_the_pool_it_was_put_in_and_moves_to_one_that_it_may_be_in() {
    let mut given = Given::default();
    assert_eq!(given.put("acme", None), Outcome::Created);
    assert_eq!(given.put("free", Some("_free")), Outcome::Created);
    let view = &given.0.view;
    assert_eq!((view.pool_of(&id("acme")), view.pool_of(&id("free"))), (pool("acme"), pool("_free")));
    assert_eq!(view.pools(), [pool("_free"), pool("acme"), pool("local")].into());
    for same in [None, Some("_free")] {
        assert_eq!(given.put("free", same), Outcome::Replaced);
    }
    for other in ["acme", "other"] {
        let theirs = conflict(given.put("free", Some(other)));
        assert_eq!(theirs, "/pool must be free, the tenant's own, or the name of a shared one, which begins with _");
    }
    assert_eq!(given.put("free", Some("free")), Outcome::Replaced);
    assert_eq!(given.put("acme", Some("_free")), Outcome::Replaced);
    let theirs = conflict(given.put("new", Some("acme")));
    assert_eq!(theirs, "/pool must be new, the tenant's own, or the name of a shared one, which begins with _");
    assert_eq!(given.0.view.tenants.len(), 2);
}

/// The pools, who is moving from where, and the revision it began at.
fn moving(view: &View) -> (Vec<String>, Vec<(String, u64)>) {
    let moving = view.moving().map(|(of, moving)| (format!("{}: {}", of.id, moving.from), moving.since));
    (view.pools().iter().map(ToString::to_string).collect(), moving.collect())
}

#[test]
fn a_move_takes_the_subscriptions_along_and_both_pools_are_there_until_it_is_over() {
    let mut given = Given::default();
    given.put("acme", None);
    given.subscribe("acme");
    given.subscribe("local");
    assert_eq!(given.put("acme", Some("_free")), Outcome::Replaced);
    let entry = |given: &Given, name: &str| {
        let likes = SubscriptionId::parse("likes").unwrap();
        (**given.0.view.subscription(&id(name), &likes).unwrap()).clone()
    };
    let moved = entry(&given, "acme");
    let came = Came { since: 4, from: pool("acme"), there: 2 };
    assert_eq!((&moved.pool, moved.came.clone(), moved.since(), moved.revision), (&pool("_free"), Some(came), 4, 2));
    assert_eq!(given.0.view.on_the_move(&moved).map(|moving| moving.since), Some(4));
    assert_eq!(
        moving(&given.0.view),
        (vec!["_free".into(), "acme".into(), "local".into()], vec![("acme: acme".into(), 4)])
    );
    assert!(given.0.view.on_the_move(&entry(&given, "local")).is_none());

    // It is there already, and cannot go on before it is.
    for same in [None, Some("_free")] {
        assert_eq!(given.put("acme", same), Outcome::Replaced);
    }
    let still = "/pool cannot change now: the tenant is still moving from the pool acme to _free";
    for other in ["acme", "_other"] {
        assert_eq!(conflict(given.put("acme", Some(other))), still);
    }
    // What is made meanwhile is new there.
    let later = SubscriptionId::parse("later").unwrap();
    let Change::PutSubscription { subscription, secret, .. } = subscription() else { unreachable!() };
    given.change("acme", Change::PutSubscription { id: later.clone(), subscription, secret, starts: Vec::new() });
    let made = given.0.view.subscription(&id("acme"), &later).unwrap();
    assert_eq!((&made.pool, &made.came, given.0.view.on_the_move(made)), (&pool("_free"), &None, None));
    // What is changed meanwhile has come all the same.
    given.subscribe("acme");
    assert_eq!(entry(&given, "acme").since(), 4);

    for (tenant, since) in [("acme", 3), ("local", 4), ("nobody", 4)] {
        assert_eq!(given.change(tenant, Change::EndMove { since }), Outcome::NotFound);
    }
    assert_eq!(given.change("acme", Change::EndMove { since: 4 }), Outcome::Replaced);
    assert_eq!(given.change("acme", Change::EndMove { since: 4 }), Outcome::NotFound);
    assert_eq!(moving(&given.0.view), (vec!["_free".into(), "local".into()], vec![]));
    assert!(given.0.view.on_the_move(&entry(&given, "acme")).is_none());

    let revision = given.0.view.revision + 1;
    assert_eq!(given.put("acme", Some("acme")), Outcome::Replaced);
    let back = Came { since: revision, from: pool("_free"), there: 4 };
    assert_eq!(entry(&given, "acme").came, Some(back));
}

#[test]
fn a_tenant_that_moves_is_not_deleted() {
    let mut given = Given::default();
    given.put("acme", None);
    given.put("acme", Some("_free"));
    let still = " the tenant is still moving from the pool acme";
    assert_eq!(conflict(given.change("acme", Change::DeleteTenant {})), still);
    given.change("acme", Change::EndMove { since: 2 });
    assert_eq!(given.change("acme", Change::DeleteTenant {}), Outcome::Deleted);
}

#[test]
fn a_subscription_is_in_the_pool_of_its_tenant() {
    let mut given = Given::default();
    given.put("free", Some("_free"));
    for (tenant, expected) in [("free", "_free"), ("local", "local")] {
        assert_eq!(given.subscribe(tenant), Outcome::Created);
        let likes = SubscriptionId::parse("likes").unwrap();
        assert_eq!(given.0.view.subscription(&id(tenant), &likes).unwrap().pool, pool(expected));
    }
}

#[test]
fn the_tenant_that_nobody_made_is_there_and_stays() {
    let mut given = Given::default();
    assert!(given.0.view.has_tenant(&id("local")) && !given.0.view.has_tenant(&id("acme")));
    assert_eq!(given.change("local", key(1, &[Scope::Read])), Outcome::Created);
    assert_eq!(given.change("acme", key(2, &[Scope::Read])), Outcome::NotFound);
    // It was there before, but to commands of older versions.
    let mut before = given.0.clone();
    let old = r#"{"v":3,"id":"o","time":5,"tenant":"local","expects":"absent","change":{"putTenant":{}}}"#;
    assert_eq!(before.apply(&Command::decode(old.as_bytes()).unwrap()), Outcome::Created);
    let now = Command::new("n".to_owned(), Timestamp::from_millis(5), id("local"), Change::PutTenant { pool: None });
    assert_eq!(given.0.clone().apply(&now.expecting(Expects::Absent)), Outcome::Unexpected(Some(0)));
    assert_eq!(given.put("local", Some("_free")), Outcome::Replaced);
    assert_eq!(moving(&given.0.view), (vec!["_free".into(), "local".into()], vec![("local: local".into(), 3)]));
    assert_eq!(given.change("local", Change::EndMove { since: 3 }), Outcome::Replaced);
    assert_eq!(given.0.view.pools(), [pool("_free")].into());
    assert_eq!(given.put("local", None), Outcome::Replaced);
    assert_eq!(conflict(given.change("local", Change::DeleteTenant {})), " the tenant local is always there");
}

#[test]
fn a_tenant_goes_with_its_keys_once_it_has_nothing_else() {
    let mut given = Given::default();
    given.put("acme", None);
    given.put("other", None);
    given.change("acme", key(1, &[Scope::Admin]));
    given.change("other", key(2, &[Scope::Admin]));
    given.subscribe("acme");
    assert_eq!(
        conflict(given.change("acme", Change::DeleteTenant {})),
        " the tenant still has subscriptions, 1 of them"
    );
    given.change("acme", Change::DeleteSubscription { id: SubscriptionId::parse("likes").unwrap() });
    let topic = Change::PutTopic { name: TopicName::parse("out").unwrap(), settings: TopicSettings::default() };
    given.change("other", topic);
    assert_eq!(conflict(given.change("other", Change::DeleteTenant {})), " the tenant still has topics, 1 of them");
    assert_eq!(given.change("acme", Change::DeleteTenant {}), Outcome::Deleted);
    assert_eq!(given.change("acme", Change::DeleteTenant {}), Outcome::NotFound);
    assert_eq!(given.0.view.keys.keys().collect::<Vec<_>>(), [&key_id(2)]);
    assert_eq!(given.0.view.pools(), [pool("local"), pool("other")].into());
}

#[test]
fn what_was_asked_of_a_tenant_that_is_gone_is_not_made_for_its_successor() {
    let mut given = Given::default();
    given.put("acme", None);
    let made = given.0.view.made(&id("acme"));
    let asked: Vec<_> = (0..2).map(|_| given.command("acme", subscription()).of(made)).collect();
    let keyed = given.command("acme", key(1, &[Scope::Read])).of(made);
    given.change("acme", Change::DeleteTenant {});
    assert_eq!(given.apply(asked[0].clone()), Outcome::NotFound);
    given.put("acme", None);
    assert_eq!(given.apply(asked[1].clone()), Outcome::NotFound);
    assert_eq!(given.apply(keyed), Outcome::NotFound);
    assert!(given.0.view.subscriptions.is_empty() && given.0.view.keys.is_empty());
    assert_eq!(given.subscribe("acme"), Outcome::Created);
}

#[test]
fn a_tenant_is_changed_only_in_the_revision_that_is_expected() {
    let mut given = Given::default();
    let mut put = |expects| {
        let command = given.command("acme", Change::PutTenant { pool: None });
        given.apply(command.expecting(expects))
    };
    assert_eq!(put(Expects::Present), Outcome::Unexpected(None));
    assert_eq!(put(Expects::Absent), Outcome::Created);
    assert_eq!(put(Expects::Absent), Outcome::Unexpected(Some(2)));
    assert_eq!(put(Expects::OneOf(vec![2])), Outcome::Replaced);
    assert_eq!(put(Expects::OneOf(vec![2])), Outcome::Unexpected(Some(4)));
    let entry = &given.0.view.tenants[&id("acme")];
    assert_eq!((entry.incarnation, entry.revision, entry.created), (Incarnation(2), 4, Timestamp::from_millis(2)));
    let command = given.command("acme", Change::DeleteTenant {});
    assert_eq!(given.apply(command.expecting(Expects::OneOf(vec![2]))), Outcome::Unexpected(Some(4)));
}

#[test]
fn a_key_is_its_tenants_alone_and_its_id_everybodys() {
    let mut given = Given::default();
    given.put("acme", None);
    given.put("other", None);
    assert_eq!(given.change("acme", key(1, &[Scope::Read, Scope::Write])), Outcome::Created);
    assert_eq!(conflict(given.change("other", key(1, &[Scope::Admin]))), "/id is that of another key");
    assert_eq!(given.change("other", Change::DeleteKey { id: key_id(1) }), Outcome::NotFound);
    let entry = &given.0.view.keys[&key_id(1)];
    assert!(entry.permits(Scope::Write) && !entry.permits(Scope::Admin));
    assert!(entry.is_live(Timestamp::from_millis(999)) && !entry.is_live(Timestamp::from_millis(1000)));
    assert_eq!(given.0.view.keys_of(&id("acme")).count(), 1);
    assert_eq!(given.0.view.keys_of(&id("other")).count(), 0);
    assert_eq!(given.change("acme", Change::DeleteKey { id: key_id(1) }), Outcome::Deleted);
}

#[test]
fn the_same_commands_make_the_same_tenants_and_keys() {
    let run = || {
        let mut given = Given::default();
        given.put("acme", Some("_free"));
        given.put("other", None);
        given.change("acme", key(1, &[Scope::Write]));
        given.change("other", key(2, &[Scope::Read]));
        given.subscribe("acme");
        given.change("other", Change::DeleteTenant {});
        given.0.digest().unwrap()
    };
    assert_eq!(run(), run());
}

/// As version 2 writes them, with defaults left out: they stay readable.
const VERSION_2: [&str; 4] = [
    r#"{"v":2,"id":"a","time":5,"tenant":"acme","change":{"putTenant":{"pool":"_free"}}}"#,
    r#"{"v":2,"id":"b","time":6,"tenant":"acme","made":1,"change":{"putKey":{"id":"0000000000000001","hash":"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b","scopes":["read","admin"]}}}"#,
    r#"{"v":2,"id":"c","time":7,"tenant":"acme","made":1,"change":{"deleteKey":{"id":"0000000000000001"}}}"#,
    r#"{"v":2,"id":"d","time":8,"tenant":"acme","made":1,"change":{"deleteTenant":{}}}"#,
];

#[test]
fn commands_for_tenants_and_keys_are_read_as_they_were_written() {
    let mut machine = Machine::default();
    let expected = [Outcome::Created, Outcome::Created, Outcome::Deleted, Outcome::Deleted];
    for (text, expected) in VERSION_2.into_iter().zip(expected) {
        let command = Command::decode(text.as_bytes()).unwrap();
        assert_eq!(command.encode().unwrap(), text);
        assert_eq!(machine.apply(&command), expected, "{text}");
    }
    let newer = VERSION_2[0].replace(r#""v":2"#, r#""v":8"#);
    let refused = Command::decode(newer.as_bytes()).unwrap_err().to_string();
    assert!(refused.contains("its version is 8, and this program knows 1 to 7"), "{refused}");
}

/// As version 3 writes what is new in it.
const VERSION_3: [&str; 2] = [
    r#"{"v":3,"id":"e","time":5,"tenant":"acme","change":{"putTenant":{"pool":"acme"}}}"#,
    r#"{"v":3,"id":"end-move-acme/2","time":6,"tenant":"acme","change":{"endMove":{"since":2}}}"#,
];

#[test]
fn what_was_refused_before_tenants_could_move_is_refused_again() {
    let mut machine = Machine::default();
    machine.apply(&Command::decode(VERSION_2[0].as_bytes()).unwrap());
    let mut other = machine.clone();
    let old = VERSION_3[0].replace(r#""v":3"#, r#""v":2"#);
    let refused = other.apply(&Command::decode(old.as_bytes()).unwrap());
    assert_eq!(conflict(refused), "/pool cannot change: the tenant is in the pool _free");
    for text in VERSION_3 {
        let command = Command::decode(text.as_bytes()).unwrap();
        assert_eq!(command.encode().unwrap(), text);
        assert_eq!(machine.apply(&command), Outcome::Replaced, "{text}");
    }
}

/// What stands in an image beside subscriptions and topics.
#[test]
fn tenants_and_keys_are_part_of_an_image() {
    let mut machine = Machine::default();
    for text in &VERSION_2[..2] {
        machine.apply(&Command::decode(text.as_bytes()).unwrap());
    }
    let image = String::from_utf8(machine.image(fpaas_core::Offset(2)).unwrap()).unwrap();
    let known = r#"{"v":6,"next":2,"revision":2,"subscriptions":[],"topics":[],"tenants":[{"id":"acme","pool":"_free","incarnation":1,"revision":1,"created":5}],"keys":[{"tenant":"acme","id":"0000000000000001","hash":"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b","scopes":["read","admin"],"created":6}],"results":[["a","created"],["b","created"]]}"#;
    assert_eq!(image, known);
    let (read, _) = Machine::from_image(known.as_bytes()).unwrap().unwrap();
    assert_eq!(read.digest().unwrap(), machine.digest().unwrap());
}
