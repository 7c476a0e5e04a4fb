//! Version 1 of the serialiser, byte by byte.

use super::*;
use fpaas_core::{HeadersBuilder, Incarnation, Partition, TenantId};
use proptest::prelude::*;

pub(crate) fn lane() -> TopicPartition {
    TopicPartition::new("fpaas.acme.d.likes.3", 1)
}

/// A delivery with the id `id`, or without one where that is empty.
pub(crate) fn delivery(offset: u64, id: &str, value: Option<&[u8]>) -> Delivery {
    let headers = if id.is_empty() { HeadersBuilder::new() } else { HeadersBuilder::new().with(header::ID, id) };
    let record = Record { value: value.map(Bytes::copy_from_slice), headers: headers.build(), ..Record::default() };
    Delivery::new(&lane(), Stored { offset: Offset(offset), record })
}

fn body(events: &[Delivery]) -> String {
    let (tenant, subscription) = (TenantId::parse("acme").unwrap(), SubscriptionId::parse("likes").unwrap());
    let id = BatchId::derive(&tenant, &subscription, Incarnation(3), Partition(1), b"row");
    String::from_utf8(build(&subscription, &id, &lane(), events).to_vec()).unwrap()
}

/// Invariant: frozen-batch. A program that finds a batch of version 1 makes these bytes; a change here needs version 2
/// beside it.
#[test]
fn version_1_makes_these_bytes() {
    let like = r#"{"did":"did:plc:a","time_us":1,"kind":"commit", "commit":{"n": 1.0}}"#;
    let events = [
        delivery(4, "did:plc:a/app.bsky.feed.like/3k@3l", Some(like.as_bytes())),
        delivery(5, "a \"quoted\" \\ id\n\u{7f}é", Some(b"not json")),
        delivery(9, "gone", None),
        delivery(10, "", Some(b"5")),
    ];
    expect_test::expect![[r#"{"subscription":"likes","batch":{"id":"batch_1db904e3c69c6635b0090584357ebcd9","lane":1,"firstOffset":4,"lastOffset":10},"events":[{"id":"did:plc:a/app.bsky.feed.like/3k@3l","event":{"did":"did:plc:a","time_us":1,"kind":"commit", "commit":{"n": 1.0}}},{"id":"a \"quoted\" \\ id\né","eventBase64":"bm90IGpzb24="},{"id":"gone","event":null},{"id":"fpaas.acme.d.likes.3/1@10","event":5}]}"#]].assert_eq(&body(&events));
    assert_eq!(SERIALISER, 1);
}

#[test]
fn a_record_without_an_id_is_named_by_the_place_it_came_from() {
    let source = |partition: &str| {
        let headers = HeadersBuilder::new()
            .with(header::SOURCE_TOPIC, "fpaas.acme.t.in")
            .with(header::SOURCE_PARTITION, partition)
            .with(header::SOURCE_OFFSET, "7");
        let record = Record { headers: headers.build(), ..Record::default() };
        event_id(&lane(), &Stored { offset: Offset(1), record }).into_owned()
    };
    assert_eq!(source("2"), "fpaas.acme.t.in/2@7");
    assert_eq!(source("x"), "fpaas.acme.d.likes.3/1@1");
}

#[test]
fn values_that_are_not_json_text_are_base64() {
    for value in ["", "{", "{} {}", "nul", "01", "\u{feff}{}"].map(str::as_bytes).into_iter().chain([&b"\"\xff\""[..]])
    {
        assert!(body(&[delivery(0, "a", Some(value))]).contains("eventBase64"), "{value:?}");
    }
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    for value in ["{}", " [1]\n", "null", "1e400", nested.as_str()] {
        assert!(body(&[delivery(0, "a", Some(value.as_bytes()))]).contains("\"event\":"), "{value}");
    }
}

proptest! {
    #[test]
    fn any_events_make_json_of_the_length_that_was_foretold(
        events in proptest::collection::vec(("\\PC{1,20}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))), 1..20),
    ) {
        let events: Vec<_> =
            events.iter().enumerate().map(|(at, (id, value))| delivery(at as u64, id, value.as_deref())).collect();
        let (text, empty) = (body(&events), body(&[delivery(0, "a", None)]));
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(parsed["events"].as_array().unwrap().len(), events.len());
        // Envelopes differ in the digits of the last offset; the last event has no comma.
        let envelope = empty.len() - delivery(0, "a", None).body_bytes() + (events.len() - 1).to_string().len() - 1;
        prop_assert_eq!(text.len(), envelope + events.iter().map(Delivery::body_bytes).sum::<usize>());
    }
}
