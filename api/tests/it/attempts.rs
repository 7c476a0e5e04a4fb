//! The delivery log: which calls are shown, in which order, page by page.

use fpaas_core::Timestamp;
use fpaas_log::TopicSpec;
use serde_json::{Value, json};

use crate::world::{NOW, World, record};

/// A call as it stands in the topic: each began a second after the one before it.
fn call(number: i64, subscription: &str, incarnation: u64, status: Option<u16>, outcome: &str) -> String {
    let time = Timestamp::from_millis(NOW + number * 1000);
    json!({
        "v": 1, "time": time, "subscription": subscription, "incarnation": incarnation, "lane": number % 2,
        "batch": format!("batch_{number}"), "events": 3, "attempt": 1, "origin": "https://a.example", "status": status,
        "outcome": outcome, "message": "", "body": null,
        "timings": {"dnsMs": null, "connectMs": 1, "tlsMs": 2, "firstByteMs": 3, "totalMs": 4},
    })
    .to_string()
}

async fn world() -> (World, u64) {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    assert_eq!(shown(&world, "").await, (Vec::<String>::new(), Value::Null), "nothing was called yet");
    let view = world.context.control.view();
    let incarnation = view.subscriptions.values().next().unwrap().incarnation.0;
    world.context.log.create_topic("fpaas.local.attempts", &TopicSpec::kept(1)).await.unwrap();
    (world, incarnation)
}

/// The batches of a page, and its cursor.
async fn shown(world: &World, query: &str) -> (Vec<String>, Value) {
    let page = world.get(&format!("/v1/subscriptions/likes/attempts?{query}")).await.json(200);
    let batches = page["items"].as_array().unwrap().iter().map(|item| item["batch"].as_str().unwrap().to_owned());
    (batches.collect(), page["cursor"].clone())
}

/// Written a moment after they began.
async fn append(world: &World, calls: impl IntoIterator<Item = String>) {
    let records = calls.into_iter().zip(0..).map(|(call, number)| record("k", call, number * 1000 + 100));
    world.append("fpaas.local.attempts", 0, records).await;
}

#[tokio::test]
async fn calls_of_one_subscription_are_shown_the_newest_first_and_as_asked_for() {
    let (world, made) = world().await;
    append(
        &world,
        [
            call(0, "likes", made, Some(200), "acknowledged"),
            call(1, "others", made, Some(200), "acknowledged"),
            call(2, "likes", made + 1, Some(200), "acknowledged"),
            call(3, "likes", made, Some(503), "status"),
            call(4, "likes", made, None, "timeout"),
            "what a newer version writes".to_owned(),
            call(6, "likes", made, Some(200), "acknowledged"),
        ],
    )
    .await;
    for (query, batches) in [
        ("", &["batch_6", "batch_4", "batch_3", "batch_0"][..]),
        ("outcome=failed", &["batch_4", "batch_3"]),
        ("outcome=acknowledged", &["batch_6", "batch_0"]),
        ("outcome=timeout", &["batch_4"]),
        ("status=503", &["batch_3"]),
        ("batch=batch_0", &["batch_0"]),
        ("lane=1", &["batch_3"]),
        ("from=2026-11-23T20:00:04Z", &["batch_6", "batch_4"]),
        ("to=2026-11-23T20:00:04Z", &["batch_3", "batch_0"]),
        ("from=2026-11-23T20:00:03Z&to=2026-11-23T20:00:04Z", &["batch_3"]),
        ("from=2040-01-01T00:00:00Z", &[]),
    ] {
        assert_eq!(
            shown(&world, query).await,
            (batches.iter().map(|&of| of.to_owned()).collect(), Value::Null),
            "{query}"
        );
    }
    let page = world.get("/v1/subscriptions/likes/attempts?batch=batch_3").await.json(200);
    assert_eq!(
        page["items"][0],
        json!({
            "time": "2026-11-23T20:00:03.000Z", "batch": "batch_3", "lane": 1, "events": 3, "attempt": 1,
            "origin": "https://a.example", "status": 503, "outcome": "status", "message": "", "body": null,
            "timings": {"dnsMs": null, "connectMs": 1, "tlsMs": 2, "firstByteMs": 3, "totalMs": 4},
        })
    );
    world.get("/v1/subscriptions/none/attempts").await.refused(404, "not-found", &[]);
    world.get("/v1/subscriptions/likes/attempts?cursor=e30&lane=x").await.refused(
        400,
        "invalid-request",
        &["/lane", "/cursor"],
    );
}

#[tokio::test]
async fn pages_go_back_to_the_first_call_and_hold_each_once() {
    let (world, made) = world().await;
    let of = |number| if number % 3 == 0 { "likes" } else { "others" };
    append(&world, (0..1800).map(|number| call(number, of(number), made, Some(200), "acknowledged"))).await;
    let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (batches, next) = shown(&world, &format!("limit=250{cursor}")).await;
        all.extend(batches);
        pages += 1;
        let Some(next) = next.as_str() else { break };
        cursor = format!("&cursor={next}");
        // What comes meanwhile is no part of it.
        append(&world, [call(5000, "likes", made, Some(200), "acknowledged")]).await;
    }
    let expected: Vec<_> = (0..1800).rev().filter(|number| number % 3 == 0).map(|n| format!("batch_{n}")).collect();
    assert_eq!((all, pages), (expected, 3));
}
