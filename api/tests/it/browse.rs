//! Pages of records.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fpaas_core::{HeadersBuilder, Timestamp, limits, rfc3339};
use fpaas_log::Record;
use serde_json::{Value, json};

use crate::world::{NOW, World, record};

const RECORDS: &str = "/v1/topics/firehose/records";

/// Fifty records over the even partitions but 4, with gaps.
async fn filled() -> (World, Vec<(u64, u64)>) {
    let world = World::new().await;
    let firehose = world.context.topics.firehose();
    for n in 0..50 {
        let partition = [0, 2, 6, 8, 10, 12, 14][n as usize % 7];
        world.append(&firehose, partition, [record(&format!("did:x:{n}"), format!("{{\"n\":{n}}}"), n)]).await;
    }
    let all = world.get(&format!("{RECORDS}?limit=1000")).await.json(200);
    assert_eq!(all["cursor"], Value::Null);
    let places = places(&all);
    assert_eq!(places.len(), 50);
    (world, places)
}

fn places(page: &Value) -> Vec<(u64, u64)> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| (item["partition"].as_u64().unwrap(), item["offset"].as_u64().unwrap())).collect()
}

/// Follows cursors to the end; no page on the way may be empty.
async fn pages(world: &World, path: &str, limit: usize) -> Vec<(u64, u64)> {
    let (mut found, mut query) = (Vec::new(), String::new());
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let begin = if query.is_empty() { path.to_owned() } else { path.split('?').next().unwrap().to_owned() };
        let separator = if query.is_empty() { separator } else { '?' };
        let page = world.get(&format!("{begin}{separator}limit={limit}{query}")).await.json(200);
        let places = places(&page);
        assert!(places.len() <= limit);
        assert!(page["nextOffset"].is_u64());
        found.extend(&places);
        let Some(cursor) = page["cursor"].as_str() else { return found };
        assert_eq!(places.len(), limit, "a page before the end is full");
        assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{cursor}");
        query = format!("&cursor={cursor}");
    }
}

#[tokio::test]
async fn pages_of_any_size_are_the_same_records_in_partition_order() {
    let (world, all) = filled().await;
    assert!(all.is_sorted());
    for limit in [1, 2, 3, 7, 8, 25, 49, 50, 51] {
        assert_eq!(pages(&world, RECORDS, limit).await, all, "limit {limit}");
    }
}

#[tokio::test]
async fn one_partition_is_read_by_offset_and_next_offset_goes_on() {
    let (world, all) = filled().await;
    let sixth: Vec<_> = all.iter().copied().filter(|(partition, _)| *partition == 6).collect();
    let path = format!("{RECORDS}?partition=6");
    assert_eq!(pages(&world, &path, 2).await, sixth);
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let page = world.get(&format!("{path}&offset={offset}&limit=3")).await.json(200);
        found.extend(places(&page));
        offset = page["nextOffset"].as_u64().unwrap();
        if page["items"].as_array().unwrap().is_empty() {
            break;
        }
    }
    assert_eq!(found, sixth);
    let beyond = world.get(&format!("{path}&offset=1000000")).await.json(200);
    assert_eq!(beyond, json!({"items": [], "cursor": null, "nextOffset": 1_000_000}));
}

#[tokio::test]
async fn reading_begins_at_a_time_in_every_partition() {
    let (world, all) = filled().await;
    let time = rfc3339::format(Timestamp::from_millis(NOW + 40)).replace('Z', "%2B00:00");
    let found = pages(&world, &format!("{RECORDS}?from={time}"), 3).await;
    assert_eq!(found.len(), 10);
    assert!(found.iter().all(|place| all.contains(place)));
    let latest = world.get(&format!("{RECORDS}?from=latest")).await.json(200);
    assert_eq!((&latest["items"], &latest["cursor"]), (&json!([]), &Value::Null));
    assert!(latest["nextOffset"].is_u64());
}

#[tokio::test]
async fn a_page_ends_when_its_bytes_are_enough() {
    let world = World::new().await;
    world.put("/v1/topics/big", "{}").await.json(201);
    let value = format!("\"{}\"", "x".repeat(1024 * 1024));
    world.append("fpaas.local.t.big", 0, (0..8).map(|n| record("k", value.clone(), n))).await;
    let first = world.get("/v1/topics/big/records?limit=1000").await;
    assert!(first.body.len() < limits::PAGE_BYTES_MAX + 2 * value.len());
    assert_eq!(places(&first.json(200)).len(), 4);
    let cursor = first.json(200)["cursor"].as_str().unwrap().to_owned();
    let second = world.get(&format!("/v1/topics/big/records?cursor={cursor}")).await.json(200);
    assert_eq!((places(&second).len(), &second["cursor"]), (4, &Value::Null));
}

#[tokio::test]
async fn an_item_holds_the_json_itself_or_base64() {
    let world = World::new().await;
    world.put("/v1/topics/mixed", "{}").await.json(201);
    let plain = record("did:x:1", r#"{"n":1.10}"#, 0);
    let bytes = Record {
        key: Some(b"\xff".as_slice().into()),
        headers: HeadersBuilder::new().build(),
        ..record("", "no json", 1)
    };
    let removal = Record { value: None, ..record("gone", "", 2) };
    world.append("fpaas.local.t.mixed", 0, [plain, bytes, removal]).await;
    let page = world.get("/v1/topics/mixed/records").await;
    assert!(String::from_utf8_lossy(&page.body).contains(r#""value":{"n":1.10}"#));
    let expected = json!([
        {"partition": 0, "offset": 0, "timestamp": "2026-11-23T20:00:00.000Z", "key": "did:x:1", "headers": {"kind": "commit"}, "value": {"n": 1.1}},
        {"partition": 0, "offset": 1, "timestamp": "2026-11-23T20:00:00.001Z", "key": null, "keyBase64": "/w==", "headers": {}, "valueBase64": "bm8ganNvbg=="},
        {"partition": 0, "offset": 2, "timestamp": "2026-11-23T20:00:00.002Z", "key": "gone", "headers": {"kind": "commit"}},
    ]);
    assert_eq!(page.json(200)["items"], expected);
}

/// Its topic is deleted, and another one has its name.
#[tokio::test]
async fn a_cursor_is_of_its_topic_and_of_no_other_of_its_name() {
    let world = World::new().await;
    for topic in ["out", "other"] {
        world.put(&format!("/v1/topics/{topic}"), "{}").await.json(201);
        world.append(&format!("fpaas.local.t.{topic}"), 0, (0..9).map(|n| record("k", "1", n))).await;
    }
    let page = world.get("/v1/topics/out/records?limit=3").await.json(200);
    let cursor = page["cursor"].as_str().unwrap();
    let refused = async |topic: &str| {
        let answer = world.get(&format!("/v1/topics/{topic}/records?cursor={cursor}")).await;
        answer.refused(400, "invalid-request", &["/cursor"]);
    };
    refused("other").await;
    refused("firehose").await;
    world.get(&format!("/v1/topics/out/records?cursor={cursor}")).await.json(200);
    assert_eq!(world.delete("/v1/topics/out").await.status, 204);
    let mut views = world.context.control.views();
    views.wait_for(|view| view.deleted.is_empty()).await.unwrap();
    world.put("/v1/topics/out", "{}").await.json(201);
    world.append("fpaas.local.t.out", 0, (0..9).map(|n| record("k", "2", n))).await;
    refused("out").await;
}

#[tokio::test]
async fn a_cursor_past_the_end_is_refused_and_what_was_removed_behind_one_is_told() {
    let world = World::new().await;
    world.put("/v1/topics/out", "{}").await.json(201);
    world.append("fpaas.local.t.out", 0, (0..9).map(|n| record("k", "1", n))).await;
    let page = world.get("/v1/topics/out/records?limit=3").await.json(200);
    assert_eq!(page.get("lost"), None);
    let cursor = page["cursor"].as_str().unwrap();
    let begin = page["nextOffset"].as_u64().unwrap();
    let at = fpaas_core::TopicPartition::new("fpaas.local.t.out", 0);
    let end = world.context.log.watermarks(&at).await.unwrap().end;
    world.context.log.trim(&at, end).await.unwrap();
    world.append("fpaas.local.t.out", 0, [record("k", "1", 9)]).await;
    let next = world.get(&format!("/v1/topics/out/records?cursor={cursor}")).await.json(200);
    assert_eq!(places(&next).len(), 1);
    assert_eq!(next["lost"], json!([{"partition": 0, "from": begin, "to": end.0}]));

    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).unwrap()).unwrap();
    let beyond = text.replace(&format!("\"o\":{begin}"), "\"o\":1000");
    assert_ne!(text, beyond);
    let path = format!("/v1/topics/out/records?cursor={}", URL_SAFE_NO_PAD.encode(beyond));
    world.get(&path).await.refused(400, "invalid-request", &["/cursor"]);
}

#[tokio::test]
async fn wrong_parameters_are_pointed_at() {
    let (world, _) = filled().await;
    let cases: [(&str, &[&str]); 9] = [
        ("limit=0", &["/limit"]),
        ("limit=1001&partition=16", &["/limit", "/partition"]),
        ("offset=1", &["/offset"]),
        ("partition=1&offset=1&from=latest", &["/from"]),
        ("from=yesterday", &["/from"]),
        ("cursor=%21", &["/cursor"]),
        ("cursor=e30&partition=1", &["/cursor"]),
        ("limit=1&limit=2", &["/limit"]),
        ("page=1", &["/page"]),
    ];
    for (query, pointers) in cases {
        world.get(&format!("{RECORDS}?{query}")).await.refused(400, "invalid-request", pointers);
    }
    world.get("/v1/topics/nowhere/records").await.refused(404, "not-found", &[]);
}

#[tokio::test]
async fn dead_letters_are_browsed_with_their_reasons() {
    let world = World::new().await;
    world.subscribe("likes", r#""lanes":2"#).await.json(201);
    let empty = world.get("/v1/subscriptions/likes/deadLetters").await.json(200);
    assert_eq!(empty, json!({"items": [], "cursor": null, "nextOffset": 0}));
    let topic = world.context.log.list_topics("fpaas.local.x.").await.unwrap().remove(0);
    let headers = HeadersBuilder::new()
        .with("fpaas.source.topic", "firehose")
        .with("fpaas.error.reason", "status")
        .with("fpaas.error.attempts", "3");
    world.append(&topic, 1, [Record { headers: headers.build(), ..record("k", "{}", 0) }]).await;
    let page = world.get("/v1/subscriptions/likes/deadLetters?limit=1").await.json(200);
    let item = &page["items"][0];
    assert_eq!(
        (&item["partition"], &item["reason"], &item["key"], &item["value"]),
        (&json!(1), &json!("status"), &json!("k"), &json!({}))
    );
    assert_eq!(item["error"], json!({"reason": "status", "attempts": 3}));
    assert_eq!(item["headers"]["fpaas.source.topic"], "firehose");
    assert_eq!(page["cursor"], Value::Null);
}
