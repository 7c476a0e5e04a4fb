//! Version 1 of the serialiser, byte by byte.

use super::*;
use std::io::Read as _;

use fpaas_core::{HeadersBuilder, Incarnation, Partition, TenantId, hash};
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

fn shape(format: Format, compression: Compression, payload: Option<&str>) -> Shape {
    Shape { format, compression, payload: payload.map(str::to_owned) }
}

fn made(shape: &Shape, events: &[Delivery]) -> Body {
    let (tenant, subscription) = (TenantId::parse("acme").unwrap(), SubscriptionId::parse("likes").unwrap());
    let id = BatchId::derive(&tenant, &subscription, Incarnation(3), Partition(1), b"row");
    let head = Head { subscription, id, lane: lane() };
    Body::make(&head, shape, events, &AtomicBool::new(false)).unwrap()
}

fn text(shape: &Shape, events: &[Delivery]) -> String {
    String::from_utf8(made(shape, events).bytes.to_vec()).unwrap()
}

fn body(events: &[Delivery]) -> String {
    text(&Shape::default(), events)
}

/// An event of the firehose, bytes that are no JSON, a tombstone, and a record without an id.
fn some() -> [Delivery; 4] {
    let like = r#"{"did":"did:plc:a","time_us":1,"kind":"commit",
"commit":{"n": 1.0}}"#
        .replace("\\n", "\n");
    let headers = HeadersBuilder::new()
        .with(header::ID, "did:plc:a/app.bsky.feed.like/3k@3l")
        .with(header::KIND, "commit")
        .with(header::COLLECTION, "app.bsky.feed.like")
        .with(header::OPERATION, "create");
    let record = Record {
        key: Some("did:plc:a".into()),
        value: Some(like.into()),
        headers: headers.build(),
        timestamp: fpaas_core::Timestamp::from_millis(1_763_930_000_123),
    };
    let mut keyed = delivery(9, "gone", None);
    keyed.record.key = Some("the \"key\"".into());
    [
        Delivery::new(&lane(), Stored { offset: Offset(4), record }),
        delivery(5, "a \"quoted\" \\ id\n\u{7f}é", Some(b"not json")),
        keyed,
        delivery(10, "", Some(b"5")),
    ]
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
fn version_1_makes_these_lines_and_cloudevents() {
    let lines = text(&shape(Format::Ndjson, Compression::None, None), &some());
    expect_test::expect![[r#"
        {"id":"did:plc:a/app.bsky.feed.like/3k@3l","event":{"did":"did:plc:a","time_us":1,"kind":"commit", "commit":{"n": 1.0}}}
        {"id":"a \"quoted\" \\ id\né","eventBase64":"bm90IGpzb24="}
        {"id":"gone","event":null}
        {"id":"fpaas.acme.d.likes.3/1@10","event":5}
    "#]].assert_eq(&lines);
    let events = text(&shape(Format::CloudeventsBatch, Compression::None, None), &some());
    expect_test::expect![[r#"
        [{"specversion":"1.0","id":"did:plc:a/app.bsky.feed.like/3k@3l","source":"did:plc:a","type":"app.bsky.feed.like.create","subject":"app.bsky.feed.like/3k","time":"2025-11-23T20:33:20.123Z","datacontenttype":"application/json","data":{"did":"did:plc:a","time_us":1,"kind":"commit",
        "commit":{"n": 1.0}}},{"specversion":"1.0","id":"a \"quoted\" \\ id\né","source":"fpaas.record","type":"fpaas.record","time":"1970-01-01T00:00:00.000Z","datacontenttype":"application/octet-stream","data_base64":"bm90IGpzb24="},{"specversion":"1.0","id":"gone","source":"fpaas.record","type":"fpaas.record","subject":"the \"key\"","time":"1970-01-01T00:00:00.000Z"},{"specversion":"1.0","id":"fpaas.acme.d.likes.3/1@10","source":"fpaas.acme.d.likes.3","type":"fpaas.record","time":"1970-01-01T00:00:00.000Z","datacontenttype":"application/json","data":5}]"#]].assert_eq(&events);
}

#[test]
fn version_1_makes_these_payloads_and_those_of_which_none_can_be_made_are_left_out() {
    let payload = Some("{who: did, number: commit.n, more: abs(time_us || `0`), itself: @}");
    for format in [Format::Json, Format::Ndjson, Format::CloudeventsBatch] {
        let made = made(&shape(format, Compression::None, payload), &some());
        assert_eq!(made.events, 3, "{made:?}");
        let why: Vec<_> = made.unsendable.iter().map(|(index, why)| (*index, why.to_string())).collect();
        assert_eq!(why, [(1, "no payload can be made of the event: it is not JSON".to_owned())]);
    }
    let made = text(&shape(Format::Ndjson, Compression::None, payload), &some());
    expect_test::expect![[r#"
        {"id":"did:plc:a/app.bsky.feed.like/3k@3l","event":{"itself":{"commit":{"n":1.0},"did":"did:plc:a","kind":"commit","time_us":1},"more":1.0,"number":1.0,"who":"did:plc:a"}}
        {"id":"gone","event":null}
        {"id":"fpaas.acme.d.likes.3/1@10","event":{"itself":5,"more":0.0,"number":null,"who":null}}
    "#]].assert_eq(&made);
}

/// Their hashes: another compressor, or another level, is another version.
#[test]
fn version_1_makes_these_compressed_bytes() {
    let many: Vec<_> = (0..500)
        .map(|n| delivery(n, &format!("e{n}"), Some(format!(r#"{{"n":{n},"square":{}}}"#, n * n).as_bytes())))
        .collect();
    let hashes = [Compression::Gzip, Compression::Zstd].map(|compression| {
        let made = [Format::Json, Format::Ndjson, Format::CloudeventsBatch].map(|format| {
            let bytes = made(&shape(format, compression, None), &many).bytes;
            format!("{compression:?} {format:?} {} {}", bytes.len(), hash::hex(&[&bytes], 32))
        });
        made.join("\n")
    });
    expect_test::expect![[r#"
        Gzip Json 4430 00f3817ac84dafcca51ece82374e5477
        Gzip Ndjson 4309 2f98bf6d620aabed45711cf992ec1abb
        Gzip CloudeventsBatch 5088 41b21442e76517b83a747fa5b0a4dabe
        Zstd Json 2811 5b54012e0898e10ca69029e32315b322
        Zstd Ndjson 2681 4e90633ec08cce6c96f671a094279bd0
        Zstd CloudeventsBatch 3381 e28ea0ca81405f7733faede6329a9d04"#]]
    .assert_eq(&hashes.join("\n"));
}

fn unpacked(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut whole = Vec::new();
            flate2::read::GzDecoder::new(bytes).read_to_end(&mut whole).unwrap();
            whole
        }
        Compression::Zstd => zstd::stream::decode_all(bytes).unwrap(),
    }
}

#[test]
fn a_payload_is_a_little_longer_than_its_event_at_most_and_what_fails_says_why() {
    let more = "x".repeat(limits::PAYLOAD_GROWTH_BYTES_MAX);
    let fits = format!("'{}'", &more[2..]);
    let endless = ["[@,@]"; 20].join("|");
    for (payload, value, expected) in [
        (&*fits, "1", None),
        (&*format!("'{more}'"), "1", Some("it takes 1026 bytes, and may be 1025: 1 KiB more than the event")),
        ("abs(n)", r#"{"n":"a"}"#, Some("abs")),
        ("n", "{\"n\":1", Some("it is not JSON")),
        (&endless, "1", Some("too many steps")),
        ("a b", "1", Some("at byte")),
    ] {
        let made =
            made(&shape(Format::Json, Compression::None, Some(payload)), &[delivery(0, "a", Some(value.as_bytes()))]);
        let why = made.unsendable.first().map(|(_, why)| why.to_string());
        match expected {
            None => assert_eq!((made.events, why), (1, None), "{payload}"),
            Some(expected) => assert!(why.unwrap().contains(expected), "{payload}: {:?}", made.unsendable),
        }
    }
}

#[test]
fn nobody_waits_for_a_body_that_nobody_wants() {
    let events = [delivery(0, "a", Some(b"1"))];
    let (tenant, subscription) = (TenantId::parse("acme").unwrap(), SubscriptionId::parse("likes").unwrap());
    let id = BatchId::derive(&tenant, &subscription, Incarnation(3), Partition(1), b"row");
    let head = Head { subscription, id, lane: lane() };
    let shape = shape(Format::Json, Compression::None, Some("@"));
    assert!(Body::make(&head, &shape, &events, &AtomicBool::new(true)).is_err());
}

/// The ids of a body's events and what each is: JSON, bytes, or nothing.
fn read(format: Format, bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let list = |value: &serde_json::Value| value.as_array().unwrap().clone();
    let (events, value, base64) = match format {
        Format::Json => (list(&parse(bytes)["events"]), "event", "eventBase64"),
        Format::Ndjson => {
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            let line = |line: &[u8]| {
                assert_eq!(line.last(), Some(&b'\n'));
                parse(line)
            };
            (lines.map(line).collect(), "event", "eventBase64")
        }
        Format::CloudeventsBatch => (list(&parse(bytes)), "data", "data_base64"),
    };
    let of = |event: &serde_json::Value| {
        let id = event["id"].as_str().unwrap().to_owned();
        match event[base64].as_str() {
            Some(text) => (id, Some(STANDARD.decode(text).unwrap())),
            None => (id, event.get(value).filter(|value| !value.is_null()).map(|value| value.to_string().into_bytes())),
        }
    };
    events.iter().map(of).collect()
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

fn values() -> impl Strategy<Value = Option<Vec<u8>>> {
    let json = "[a-z\\n\\r \\\\\"]{0,12}".prop_map(|text| {
        let value = serde_json::json!({"text": text, "list": [1, 2.5]});
        serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n").into_bytes()
    });
    proptest::option::of(prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), json])
}

fn shapes() -> impl Strategy<Value = (Format, Compression)> {
    let formats = prop_oneof![Just(Format::Json), Just(Format::Ndjson), Just(Format::CloudeventsBatch)];
    let compressions = prop_oneof![Just(Compression::None), Just(Compression::Gzip), Just(Compression::Zstd)];
    (formats, compressions)
}

/// What a value is once it was read: JSON without its white space, bytes as they are.
fn normal(value: &[u8]) -> Option<Vec<u8>> {
    match serde_json::from_slice::<serde_json::Value>(value) {
        Ok(serde_json::Value::Null) => None,
        Ok(value) => Some(value.to_string().into_bytes()),
        Err(_) => Some(value.to_vec()),
    }
}

proptest! {
    #[test]
    fn any_events_are_read_back_from_a_body_of_the_length_that_was_foretold_and_it_is_always_the_same(
        (format, compression) in shapes(),
        events in proptest::collection::vec(("\\PC{1,20}", values()), 1..20),
    ) {
        let deliveries: Vec<_> =
            events.iter().enumerate().map(|(at, (id, value))| delivery(at as u64, id, value.as_deref())).collect();
        let shape = shape(format, compression, None);
        let made = made(&shape, &deliveries);
        let again: Vec<_> = deliveries
            .iter()
            .map(|of| Delivery::new(&lane(), Stored { offset: of.offset, record: of.record.clone() }))
            .collect();
        prop_assert_eq!(&made, &super::tests::made(&shape, &again));
        let whole = unpacked(compression, &made.bytes);
        let expected = events.iter().map(|(id, value)| (id.clone(), value.as_deref().and_then(normal)));
        let expected: Vec<_> = expected.collect();
        prop_assert_eq!(read(format, &whole), expected);
        let foretold: usize = deliveries.iter().map(|event| event.body_bytes(format)).sum();
        let frame = match format {
            // Envelopes differ in the digits of the last offset; the last event has no comma.
            Format::Json => {
                let empty = body(&[delivery(0, "a", None)]).len() - delivery(0, "a", None).body_bytes(format);
                empty + (events.len() - 1).to_string().len() - 1
            }
            Format::Ndjson => 0,
            Format::CloudeventsBatch => "[]".len() - ",".len(),
        };
        prop_assert_eq!(whole.len(), foretold + frame);
    }
}
