//! What plans are made of records.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use expect_test::{Expect, expect};
use fpaas_core::event::header;
use fpaas_core::subscription::Filter;
use fpaas_core::{Headers, HeadersBuilder, Offset, Timestamp, TopicPartition, limits};
use fpaas_log::{Record, Refusal, Stored};

use super::{NOBODY, Run, Tally, route};
use crate::undeliverable::{Instead, Refused, Undeliverable};
use crate::{Index, Member, testing};

/// Nothing was refused.
static NONE: LazyLock<Undeliverable> = LazyLock::new(Undeliverable::default);

fn event(offset: u64, did: &str, collection: &str) -> Stored {
    let headers = HeadersBuilder::new()
        .with(header::KIND, "commit")
        .with(header::COLLECTION, collection)
        .with(header::OPERATION, "create")
        .with(header::ID, format!("{did}/{collection}/k@{offset}"))
        .build();
    let value = format!(r#"{{"did":"{did}","commit":{{"record":{{"n":{offset}}}}}}}"#);
    stored(offset, Some(did), Some(&value), headers)
}

fn stored(offset: u64, key: Option<&str>, value: Option<&str>, headers: Headers) -> Stored {
    let bytes = |text: &str| Bytes::from(text.to_owned());
    let timestamp = Timestamp::from_millis(1000);
    Stored {
        offset: Offset(offset),
        record: Record { key: key.map(bytes), value: value.map(bytes), headers, timestamp },
    }
}

fn run<'r>(source: &'r TopicPartition, records: &'r [Stored], next: u64, undeliverable: &'r Undeliverable) -> Run<'r> {
    let now = Timestamp::from_millis(2000);
    Run {
        source,
        records,
        next: Offset(next),
        most: limits::ROUTE_DELIVERIES_MAX,
        lost_until: None,
        undeliverable,
        now,
    }
}

fn index(filters: &[(&str, &str)]) -> Index {
    let member = |(id, filter): &(&str, &str)| -> Arc<Member> {
        let filter: Filter = serde_json::from_str(filter).unwrap();
        testing::member(&testing::entry(id, 1, filter, &[0]))
    };
    Index::new(filters.iter().map(member).collect())
}

fn check(filters: &[(&str, &str)], from: &[Offset], records: &[Stored], expected: Expect) {
    let source = TopicPartition::new("fpaas.firehose", 3);
    let plan = route(run(&source, records, 100, &NONE), &index(filters), from);
    let mut lines: Vec<String> = plan
        .deliveries
        .iter()
        .map(|append| {
            let value = append.record.value.as_deref().unwrap_or(b"none");
            format!("{} {} {:?}", append.at, String::from_utf8_lossy(value), append.record.headers)
        })
        .collect();
    lines.push(format!("next {} {:?}", plan.next, plan.tallies));
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn a_delivery_is_the_record_with_its_id_and_its_source() {
    check(
        &[("likes", r#"{"collections":["a.b.like"]}"#), ("posts", r#"{"collections":["a.b.post"]}"#)],
        &[Offset(0), Offset(0)],
        &[event(7, "did:plc:a", "a.b.like"), event(9, "did:plc:a", "a.b.repost")],
        expect![[r#"
            fpaas.acme.d.likes.1/0 {"did":"did:plc:a","commit":{"record":{"n":7}}} {"kind": "commit", "collection": "a.b.like", "operation": "create", "id": "did:plc:a/a.b.like/k@7", "fpaas.source.topic": "fpaas.firehose", "fpaas.source.partition": "3", "fpaas.source.offset": "7"}
            next 100 [Tally { matched: 1, errors: 0 }, Tally { matched: 0, errors: 0 }]"#]],
    );
}

#[test]
fn a_record_that_is_no_event_passes_where_nothing_about_events_is_asked_and_its_place_is_its_id() {
    let text = stored(1, None, Some("not json"), Headers::default());
    let json = stored(2, Some("k"), Some(r#"{"n":1}"#), Headers::default());
    let tombstone = stored(3, Some("k"), None, Headers::default());
    check(
        &[
            ("all", "{}"),
            ("commits", r#"{"kinds":["commit"]}"#),
            ("dids", r#"{"dids":["did:plc:k"]}"#),
            ("ones", r#"{"match":"n == `1`"}"#),
        ],
        &[Offset(0); 4],
        &[text, json, tombstone],
        expect![[r#"
            fpaas.acme.d.all.1/0 not json {"id": "fpaas.firehose/3@1", "fpaas.source.topic": "fpaas.firehose", "fpaas.source.partition": "3", "fpaas.source.offset": "1"}
            fpaas.acme.d.all.1/0 {"n":1} {"id": "fpaas.firehose/3@2", "fpaas.source.topic": "fpaas.firehose", "fpaas.source.partition": "3", "fpaas.source.offset": "2"}
            fpaas.acme.d.ones.1/0 {"n":1} {"id": "fpaas.firehose/3@2", "fpaas.source.topic": "fpaas.firehose", "fpaas.source.partition": "3", "fpaas.source.offset": "2"}
            fpaas.acme.d.all.1/0 none {"id": "fpaas.firehose/3@3", "fpaas.source.topic": "fpaas.firehose", "fpaas.source.partition": "3", "fpaas.source.offset": "3"}
            next 100 [Tally { matched: 3, errors: 0 }, Tally { matched: 0, errors: 0 }, Tally { matched: 0, errors: 0 }, Tally { matched: 1, errors: 1 }]"#]],
    );
}

#[test]
fn a_match_that_fails_is_no_match_and_is_counted() {
    check(
        &[("bad", r#"{"match":"sum(did)"}"#), ("good", r#"{"match":"commit.record.n > `7`"}"#)],
        &[Offset(0), Offset(0)],
        &[event(7, "did:plc:a", "a.b.like"), event(8, "did:plc:a", "a.b.like")],
        expect![[r#"
            fpaas.acme.d.good.1/0 {"did":"did:plc:a","commit":{"record":{"n":8}}} {"kind": "commit", "collection": "a.b.like", "operation": "create", "id": "did:plc:a/a.b.like/k@8", "fpaas.source.topic": "fpaas.firehose", "fpaas.source.partition": "3", "fpaas.source.offset": "8"}
            next 100 [Tally { matched: 0, errors: 2 }, Tally { matched: 1, errors: 0 }]"#]],
    );
}

#[test]
fn nobody_gets_a_record_below_where_it_begins() {
    let records = [event(7, "did:plc:a", "a.b.like"), event(8, "did:plc:a", "a.b.like")];
    let source = TopicPartition::new("fpaas.firehose", 3);
    let run = run(&source, &records, 9, &NONE);
    let plan = route(run, &index(&[("now", "{}"), ("later", "{}"), ("lane", "{}")]), &[Offset(0), Offset(8), NOBODY]);
    assert_eq!(plan.tallies.iter().map(|tally| tally.matched).collect::<Vec<_>>(), [2, 1, 0]);
}

#[test]
fn what_is_more_than_a_transaction_takes_is_left_for_the_next_one() {
    let big = "x".repeat(limits::ROUTE_BYTES_MAX / 2);
    let records: Vec<_> = (0..9).map(|offset| stored(offset, None, Some(&big), Headers::default())).collect();
    let source = TopicPartition::new("fpaas.acme.t.big", 0);
    let plan = route(run(&source, &records, 9, &NONE), &index(&[("all", "{}")]), &[Offset(0)]);
    assert_eq!((plan.deliveries.len(), plan.next), (2, Offset(2)));
    assert_eq!(plan.tallies, [Tally { matched: 2, errors: 0 }]);
}

#[test]
fn who_does_not_fit_into_the_transaction_of_one_record_is_deferred_at_that_record() {
    let big = "x".repeat(limits::ROUTE_RECORD_BYTES_MAX / 5);
    let records: Vec<_> = (5..7).map(|offset| stored(offset, None, Some(&big), Headers::default())).collect();
    let source = TopicPartition::new("fpaas.acme.t.big", 0);
    let run = run(&source, &records, 9, &NONE);
    let plan = route(run, &index(&[("all", "{}"); 6]), &[Offset(0); 6]);
    assert_eq!((plan.deliveries.len(), plan.next), (5, Offset(6)));
    assert_eq!(plan.deferred, [(5, Offset(5))]);
}

#[test]
fn what_was_taken_in_can_be_delivered_and_a_larger_record_is_a_dead_letter() {
    let source = TopicPartition::new(format!("fpaas.acme.t.{}", "t".repeat(limits::TOPIC_NAME_BYTES_MAX - 13)), 255);
    let sized = |offset, bytes| stored(offset, None, Some(&"x".repeat(bytes)), Headers::default());
    let records = [sized(u64::MAX - 1, limits::SOURCE_RECORD_BYTES_MAX), sized(u64::MAX, limits::RECORD_BYTES_MAX)];
    let [fits, larger] = records.map(|record| {
        let plan = route(run(&source, &[record], u64::MAX, &NONE), &index(&[("all", "{}")]), &[Offset(0)]);
        plan.deliveries.into_iter().next().unwrap()
    });
    assert_eq!(
        (&*fits.at.topic, fits.record.value.unwrap().len()),
        ("fpaas.acme.d.all.1", limits::SOURCE_RECORD_BYTES_MAX)
    );
    assert!(fits.record.headers.as_bytes().len() <= limits::DELIVERY_HEADERS_BYTES_MAX);
    assert_eq!((&*larger.at.topic, larger.record.value), ("fpaas.acme.x.all.1", None));
    let header = |name| larger.record.headers.get_str(name).unwrap();
    assert_eq!((header("fpaas.error.reason"), header("fpaas.error.omitted")), ("tooLarge", "value"));
    assert_eq!((header("fpaas.error.stage"), header(header::SOURCE_OFFSET)), ("router", &*u64::MAX.to_string()));
}

#[test]
fn a_record_that_was_refused_is_a_dead_letter_then_a_bare_one_then_nothing_until_it_is_passed() {
    let index = index(&[("all", "{}"), ("other", "{}")]);
    let (source, records) = (TopicPartition::new("fpaas.firehose", 0), [event(7, "did:plc:a", "a.b.like")]);
    let mut undeliverable = Undeliverable::default();
    let topics = |undeliverable: &Undeliverable| {
        let plan = route(run(&source, &records, 8, undeliverable), &index, &[Offset(0); 2]);
        let topics = plan.deliveries.iter().map(|append| append.at.topic.to_string()).collect::<Vec<_>>();
        (topics.join(" "), plan.instead)
    };
    let refused =
        |topic: &str, refusal| Refused { at: TopicPartition::new(topic, 0), refusal, source: Some(Offset(7)) };
    let not_about_a_record = refused("fpaas.acme.d.all.1", Refusal::NotAuthorised);
    assert!(!undeliverable.note(index.members(), &not_about_a_record));
    assert!(undeliverable.note(index.members(), &refused("fpaas.acme.d.all.1", Refusal::TooLarge)));
    let dead = ("fpaas.acme.x.all.1 fpaas.acme.d.other.1".to_owned(), vec![(0, Instead::DeadLetter)]);
    assert_eq!(topics(&undeliverable), dead);
    // Only a size can be helped: an event is not dropped for want of a topic.
    assert!(!undeliverable.note(index.members(), &refused("fpaas.acme.x.all.1", Refusal::NoSuchTopic)));
    assert!(undeliverable.note(index.members(), &refused("fpaas.acme.x.all.1", Refusal::TooLarge)));
    let bare = ("fpaas.acme.x.all.1 fpaas.acme.d.other.1".to_owned(), vec![(0, Instead::BareDeadLetter)]);
    assert_eq!(topics(&undeliverable), bare);
    assert!(undeliverable.note(index.members(), &refused("fpaas.acme.x.all.1", Refusal::TooLarge)));
    assert_eq!(topics(&undeliverable), ("fpaas.acme.d.other.1".to_owned(), vec![(0, Instead::Nothing)]));
    undeliverable.passed(Offset(7));
    assert_eq!(topics(&undeliverable).1, [(0, Instead::Nothing)]);
    undeliverable.passed(Offset(8));
    assert_eq!(topics(&undeliverable).1, []);
}

#[test]
fn the_lane_is_that_of_the_key_and_of_the_place_without_one() {
    let mut entry = Arc::unwrap_or_clone(testing::entry("wide", 1, Filter::default(), &[0]));
    entry.config.lanes = 8;
    let index = Index::new(vec![testing::member(&Arc::new(entry))]);
    let keyed = (0..50).map(|offset| stored(offset, Some("k"), None, Headers::default()));
    let keyless = (50..100).map(|offset| stored(offset, None, None, Headers::default()));
    let records: Vec<_> = keyed.chain(keyless).collect();
    let source = TopicPartition::new("fpaas.acme.t.t", 0);
    let plan = route(run(&source, &records, 100, &NONE), &index, &[Offset(0)]);
    let lanes: Vec<_> = plan.deliveries.iter().map(|append| append.at.partition).collect();
    assert!(lanes[..50].iter().all(|lane| *lane == lanes[0]));
    assert!(lanes[50..].iter().any(|lane| *lane != lanes[50]));
}

/// How much of a core a thousand subscriptions cost where one did: `cargo test -p fpaas-router -- --ignored
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_a_thousand_subscriptions_cost() {
    let collections = ["app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.feed.repost", "app.bsky.graph.follow"];
    let records: Vec<_> = (0..1000u64)
        .map(|offset| event(offset, &format!("did:plc:{:024}", offset % 97), collections[offset as usize % 4]))
        .collect();
    let wanted = ("wanted", r#"{"collections":["app.bsky.feed.like"],"operations":["create"]}"#.to_owned());
    let other = |number: usize| match number % 4 {
        0 => format!(r#"{{"dids":["did:plc:x{number}"]}}"#),
        1 => format!(r#"{{"collections":["com.example.n{number}"]}}"#),
        2 => r#"{"collections":["app.bsky.feed.like"],"operations":["delete"]}"#.to_owned(),
        _ => format!(r#"{{"collections":["com.example{number}.*"]}}"#),
    };
    let mut costs = Vec::new();
    for others in [0, 10, 100, 999] {
        let filters: Vec<_> = (0..others).map(|number| ("other", other(number))).chain([wanted.clone()]).collect();
        let filters: Vec<_> = filters.iter().map(|(id, filter)| (*id, filter.as_str())).collect();
        let (index, from) = (index(&filters), vec![Offset(0); filters.len()]);
        let source = TopicPartition::new("fpaas.firehose", 3);
        let began = std::time::Instant::now();
        for _ in 0..200 {
            let run = run(&source, &records, 1000, &NONE);
            assert_eq!(route(run, &index, &from).deliveries.len(), 250);
        }
        costs.push((others + 1, began.elapsed() / 200_000));
    }
    println!("subscriptions and time per record: {costs:?}");
}
