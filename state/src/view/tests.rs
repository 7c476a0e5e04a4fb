//! What commands make of a view.

use super::*;
use crate::command::Expects;
use crate::machine::Machine;

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

fn likes(machine: &Machine) -> &Arc<SubscriptionEntry> {
    machine.view.subscription(&tenant(), &SubscriptionId::parse("likes").unwrap()).unwrap()
}

#[test]
fn a_repeated_command_returns_its_first_result_and_changes_nothing() {
    let mut view = Machine::default();
    assert_eq!(view.apply(&put("a", "{}")), Outcome::Created);
    let before = Arc::clone(likes(&view));
    assert_eq!(view.apply(&put("a", "{}")), Outcome::Created);
    assert!(Arc::ptr_eq(&before, likes(&view)));
    assert_eq!(view.apply(&put("b", "{}")), Outcome::Replaced);
}

#[test]
fn a_replaced_subscription_keeps_what_is_read_at_creation() {
    let mut view = Machine::default();
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
    let mut view = Machine::default();
    view.apply(&put("a", "{}"));
    let delete = Change::DeleteSubscription { id: SubscriptionId::parse("likes").unwrap() };
    assert_eq!(view.apply(&command("b", delete.clone())), Outcome::Deleted);
    assert_eq!(view.apply(&command("c", delete)), Outcome::NotFound);
    assert_eq!(view.apply(&put("d", "{}")), Outcome::Created);
    assert_eq!(likes(&view).incarnation, Incarnation(4));
}

#[test]
fn source_and_lanes_cannot_change() {
    let mut view = Machine::default();
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
    let mut view = Machine::default();
    assert_eq!(view.apply(&put("a", r#"{"output":{"topic":"like.results"}}"#)), Outcome::Created);
    // Beside it, the tenant's topic `system`.
    assert_eq!(view.view.topics.len(), 2);
    let outcome = view.apply(&put("b", r#"{"output":{"topic":"like_results"}}"#));
    assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
    assert_eq!(view.view.topics.len(), 2);
}

#[test]
fn a_secret_that_is_brought_is_kept_apart_from_what_readers_see() {
    let mut view = Machine::default();
    let secret = Secret::from_bytes(&[9; 24]).unwrap();
    let webhook =
        format!(r#"{{"processor":{{"webhook":{{"url":"https://a.example/","secret":"{}"}}}}}}"#, secret.reveal());
    view.apply(&put("a", &webhook));
    assert_eq!(likes(&view).secret, secret);
    assert!(!format!("{:?}{}", likes(&view), serde_json::to_string(&likes(&view).config).unwrap()).contains("whsec_"));
    view.apply(&put("b", r#"{"processor":{"webhook":{"url":"https://a.example/"}}}"#));
    assert_eq!(likes(&view).secret, secret);
}

#[test]
fn the_same_commands_make_the_same_view() {
    let commands = [put("a", "{}"), put("b", r#"{"output":{"topic":"out"}}"#), put("a", "{}")];
    let view = |commands: &[Command]| {
        let mut view = Machine::default();
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
    let mut view = Machine::default();
    assert_eq!(view.apply(&old), Outcome::Created);
    assert_eq!(view.view.topics.values().next().unwrap().settings.partitions, 3);
    let newer = VERSION_1.replace(r#""v":1"#, r#""v":8"#);
    let refused = Command::decode(newer.as_bytes()).unwrap_err().to_string();
    assert!(refused.contains("its version is 8, and this program knows 1 to 7"), "{refused}");
}

/// What version 6 writes that is new in it.
const VERSION_6: [&str; 2] = [
    r#"{"v":6,"id":"r","time":5,"tenant":"local","change":{"startRedrive":{"id":"likes","of":1,"from":[1],"to":[7],"reasons":["status","timeout"],"events_per_second":3}}}"#,
    r#"{"v":6,"id":"s","time":9,"tenant":"local","change":{"cancelRedrive":{"id":"likes","of":1,"since":2}}}"#,
];

#[test]
fn commands_of_redrives_are_read_as_they_were_written_and_one_is_under_way_at_a_time() {
    let commands = VERSION_6.map(|text| Command::decode(text.as_bytes()).unwrap());
    for (command, text) in commands.iter().zip(VERSION_6) {
        assert_eq!(command.encode().unwrap(), text);
    }
    let [start, cancel] = commands;
    let again = |id: &str, instead: Option<u64>| {
        let mut command = start.clone();
        command.id = id.to_owned();
        if let Change::StartRedrive { instead_of, .. } = &mut command.change {
            *instead_of = instead;
        }
        command
    };
    let cancelled = |id: &str| {
        let mut command = cancel.clone();
        command.id = id.to_owned();
        command
    };
    let mut view = Machine::default();
    assert_eq!(view.apply(&again("0", None)), Outcome::NotFound);
    view = Machine::default();
    view.apply(&put("a", "{}"));
    assert_eq!(view.apply(&start), Outcome::Replaced);
    assert!(matches!(view.apply(&again("b", None)), Outcome::Conflict(_)), "one is under way");
    assert_eq!(view.apply(&cancel), Outcome::Replaced);
    let entry = likes(&view);
    let redrive = entry.redrive.clone().unwrap();
    assert_eq!((redrive.since, redrive.cancelled, entry.revision), (2, Some(Timestamp::from_millis(9)), 1));
    assert_eq!((redrive.from, redrive.to, redrive.reasons.len()), (vec![Offset(1)], vec![Offset(7)], 2));
    let (read, _) = Machine::from_image(&view.image(Offset(4)).unwrap()).unwrap().unwrap();
    assert_eq!(read.digest().unwrap(), view.digest().unwrap());
    assert!(matches!(view.apply(&again("c", Some(1))), Outcome::Conflict(_)), "that is not the last one");
    assert_eq!(view.apply(&again("d", Some(2))), Outcome::Replaced);
    assert_eq!(likes(&view).redrive.as_ref().map(|redrive| (redrive.since, redrive.cancelled)), Some((6, None)));
    assert!(matches!(view.apply(&cancelled("e")), Outcome::Conflict(_)), "it is over");
}

/// What version 7 writes that is new in it.
const VERSION_7: &str = r#"{"v":7,"id":"c","time":5,"tenant":"local","change":{"putSubscription":{"id":"likes","subscription":{"source":{"topic":"firehose"},"startFrom":"latest","filter":{"kinds":[],"collections":[],"operations":[],"dids":[]},"collector":{"maxEvents":100,"maxBytes":1048576,"maxWaitMs":1000},"processor":{"webhook":{"url":"https://a/","format":"json","timeoutMs":30000,"headers":{},"compression":"none","signing":["v1"],"clientCertificate":{"certificate":"PEM","privateKey":"KEY"}}},"ordering":"key","lanes":1,"retry":{"initialBackoffMs":1000,"maxBackoffMs":60000,"maxElapsedMs":300000,"onFailure":"retry","onExhausted":"deadLetter"},"throttle":{"eventsPerSecond":null},"state":"active","metadata":{}},"secret":"whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","starts":[3]}}}"#;

#[test]
fn a_client_certificate_keeps_its_key_apart_and_never_stands_beside_that_of_another() {
    let command = Command::decode(VERSION_7.as_bytes()).unwrap();
    assert_eq!(command.encode().unwrap(), VERSION_7);
    let mut view = Machine::default();
    assert_eq!(view.apply(&command), Outcome::Created);
    let identity = |view: &Machine| likes(view).identity().map(|of| (of.certificate.clone(), of.key.clone()));
    let first = identity(&view).unwrap();
    let webhook = likes(&view).config.webhook().unwrap().clone();
    assert_eq!(webhook.client_certificate.as_ref().unwrap().private_key, None, "it is apart");
    assert_eq!((first.0, first.1.clone()), (webhook.client_certificate.unwrap(), "KEY".to_owned().into()));
    let (read, _) = Machine::from_image(&view.image(Offset(4)).unwrap()).unwrap().unwrap();
    assert_eq!(identity(&read), identity(&view));
    assert!(!format!("{view:?}").contains("KEY"), "{view:?}");

    let with = |certificate: &str| {
        format!(r#"{{"processor":{{"webhook":{{"url":"https://b/","clientCertificate":{certificate}}}}}}}"#)
    };
    let pause = Change::SetState { id: SubscriptionId::parse("likes").unwrap(), of: None, state: State::Paused };
    assert_eq!(view.apply(&self::command("d", pause)), Outcome::Replaced);
    assert_eq!(view.apply(&put("e", &with(r#"{"certificate":"PEM"}"#))), Outcome::Replaced);
    assert_eq!(identity(&view).unwrap().1, first.1, "it stays with its certificate");
    // Somebody else's change came in between.
    let Outcome::Conflict(missing) = view.apply(&put("f", &with(r#"{"certificate":"OTHER"}"#))) else {
        panic!("a certificate without a key")
    };
    assert_eq!(missing[0].pointer, "/processor/webhook/clientCertificate/privateKey");
    assert_eq!(view.apply(&put("g", &with(r#"{"certificate":"OTHER","privateKey":"K2"}"#))), Outcome::Replaced);
    assert_eq!(identity(&view).unwrap().1, "K2".to_owned().into());
    assert_eq!(view.apply(&put("h", &with("null"))), Outcome::Replaced);
    assert_eq!((identity(&view), likes(&view).client_key.clone()), (None, None), "it has left with its certificate");
    assert!(matches!(view.apply(&put("i", &with(r#"{"certificate":"OTHER"}"#))), Outcome::Conflict(_)));
}

/// What version 5 writes that is new in it.
const VERSION_5: &str = r#"{"v":5,"id":"e","time":5,"tenant":"local","expects":{"oneOf":[1]},"change":{"disableSubscription":{"id":"likes","of":1,"why":"it is gone"}}}"#;

#[test]
fn a_command_that_disables_is_read_as_it_was_written() {
    let command = Command::decode(VERSION_5.as_bytes()).unwrap();
    assert_eq!(command.encode().unwrap(), VERSION_5);
    let mut view = Machine::default();
    view.apply(&put("a", "{}"));
    assert_eq!(view.apply(&command), Outcome::Replaced);
    assert_eq!(likes(&view).config.state, State::Disabled);
}

#[test]
fn a_pause_that_ends_is_noted() {
    let mut view = Machine::default();
    let mut since = |id: &str, time: i64, state: &str| {
        let mut command = put(id, &format!(r#"{{"state":"{state}"}}"#));
        command.time = Timestamp::from_millis(time);
        view.apply(&command);
        likes(&view).active_since.as_millis()
    };
    let found = [("a", 1, "active"), ("b", 2, "active"), ("c", 3, "paused"), ("d", 4, "paused"), ("e", 5, "active")]
        .map(|(id, time, state)| since(id, time, state));
    assert_eq!(found, [1, 1, 1, 1, 5]);
    assert_eq!(since("f", 6, "active"), 5);
}

#[test]
fn a_command_changes_only_what_is_as_it_expects() {
    let mut view = Machine::default();
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

#[test]
fn a_rotated_secret_signs_beside_the_new_one_for_a_while() {
    let mut view = Machine::default();
    let [first, second, third] = [1, 2, 3].map(|byte| Secret::from_bytes(&[byte; 24]).unwrap());
    let rotate = |id: &str, secret: &Secret, until: i64| {
        let id_of = SubscriptionId::parse("likes").unwrap();
        let until = Timestamp::from_millis(until);
        command(id, Change::RotateSecret { id: id_of, of: None, secret: secret.clone(), until })
    };
    assert_eq!(view.apply(&rotate("a", &first, 10)), Outcome::NotFound);
    view.apply(&put("b", "{}"));
    let made = likes(&view).secret.clone();
    let live = |view: &Machine, now: i64| likes(view).secrets(Timestamp::from_millis(now)).cloned().collect::<Vec<_>>();
    assert_eq!(view.apply(&rotate("c", &first, 10)), Outcome::Replaced);
    assert_eq!(live(&view, 9), [first.clone(), made]);
    assert_eq!(live(&view, 10), std::slice::from_ref(&first));
    // Two are live at most.
    assert_eq!(view.apply(&rotate("d", &second, 20)), Outcome::Replaced);
    assert_eq!(live(&view, 9), [second.clone(), first]);
    assert!(matches!(view.apply(&rotate("e", &second, 30)), Outcome::Conflict(_)));
    // A change of something else leaves them, and one of the secret ends both.
    view.apply(&put("f", "{}"));
    assert_eq!(live(&view, 9).len(), 2);
    let brought =
        format!(r#"{{"processor":{{"webhook":{{"url":"https://a.example/","secret":"{}"}}}}}}"#, third.reveal());
    view.apply(&put("g", &brought));
    assert_eq!(live(&view, 9), [third]);
}

#[test]
fn a_subscription_is_disabled_in_the_revision_that_was_called_and_goes_on_once_it_is_made_active() {
    let mut view = Machine::default();
    view.apply(&put("a", "{}"));
    let id = || SubscriptionId::parse("likes").unwrap();
    let disable = |name: &str, of: u64, revision: u64| {
        let change = Change::DisableSubscription { id: id(), of: Incarnation(of), why: "it is gone".into() };
        command(name, change).expecting(Expects::OneOf(vec![revision]))
    };
    assert_eq!(view.apply(&disable("b", 9, 1)), Outcome::NotFound, "another one was called");
    view.apply(&put("c", r#"{"lanes":1}"#));
    let put_at = likes(&view).revision;
    assert_eq!(view.apply(&disable("d", 1, 1)), Outcome::Unexpected(Some(put_at)), "it has changed since");
    assert_eq!(view.apply(&disable("e", 1, put_at)), Outcome::Replaced);
    let entry = likes(&view);
    assert_eq!((entry.config.state, entry.disabled.as_ref().map(|of| &*of.why)), (State::Disabled, Some("it is gone")));
    assert!(entry.config.is_paused());
    // What is put as it is shown stays disabled, and says why.
    view.apply(&put("f", r#"{"state":"disabled"}"#));
    assert!(likes(&view).disabled.is_some());
    let active = Change::SetState { id: id(), of: None, state: State::Active };
    assert_eq!(view.apply(&command("g", active)), Outcome::Replaced);
    assert_eq!((likes(&view).config.state, &likes(&view).disabled), (State::Active, &None));
    // One that is paused stays so.
    view.apply(&put("h", r#"{"state":"paused"}"#));
    let revision = likes(&view).revision;
    view.apply(&disable("i", 1, revision));
    assert_eq!(likes(&view).config.state, State::Paused);
}
