//! `…/{id}:replay` and `…/{id}/replay`, without a router that carries it out.

use axum::body::Body;
use fpaas_core::{Offset, SubscriptionId, TenantId, Timestamp, TopicPartition};
use fpaas_log::Log as _;
use serde_json::json;

use crate::world::{NOW, World, record, request};

const START: &str = "/v1/subscriptions/likes:replay";
const REPLAY: &str = "/v1/subscriptions/likes/replay";

/// A subscription whose source held nine records in one partition when it was made, so that it has passed them.
async fn world() -> World {
    let world = World::new().await;
    world.append(&world.context.topics.firehose(), 3, (0..9).map(|n| record("did:x:y", "{}", n * 1000))).await;
    world.subscribe("likes", "").await.json(201);
    world
}

#[tokio::test]
async fn a_replay_covers_what_was_passed_and_nothing_behind_that() {
    let world = world().await;
    let end = world.log.watermarks(&at(&world)).await.unwrap().end;
    world.append(&world.context.topics.firehose(), 3, [record("did:x:y", "{}", 9)]).await;
    let started = world.post(START, "").await.json(200);
    assert_eq!((&started["state"], &started["progress"]), (&json!("running"), &json!(0.0)));
    assert_eq!(started["partitions"][3], json!({"partition": 3, "from": 0, "to": end.0, "position": 0}));
    assert_eq!(started["partitions"][0], json!({"partition": 0, "from": 0, "to": 0, "position": 0}));
    assert_eq!(world.get(REPLAY).await.json(200), started);
    world.post(START, "").await.refused(409, "conflict", &[""]);
    // Whoever did not hear the answer asks again, and hears it.
    world.delete(REPLAY).await;
    for _ in 0..2 {
        let mut request = request("POST", START, Body::empty());
        request.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        assert_eq!(world.call(request).await.json(200)["state"], "running");
    }
    assert_eq!(world.delete(REPLAY).await.status, 204);
    world.get(REPLAY).await.refused(404, "not-found", &[]);
    world.delete(REPLAY).await.refused(404, "not-found", &[]);
}

fn at(world: &World) -> TopicPartition {
    TopicPartition::new(world.context.topics.firehose(), 3)
}

#[tokio::test]
async fn times_and_offsets_become_offsets() {
    let world = world().await;
    let body = json!({"from": "2026-11-23T20:00:02Z", "to": "2026-11-23T20:00:05Z", "eventsPerSecond": 7});
    world.post(START, body.to_string()).await.json(200);
    let (tenant, id) = (TenantId::parse("local").unwrap(), SubscriptionId::parse("likes").unwrap());
    let replay = || world.context.control.view().subscription(&tenant, &id).unwrap().replay.clone().unwrap();
    let at = at(&world);
    let time = |seconds: i64| Timestamp::from_millis(NOW + seconds * 1000);
    let expected = [world.log.offset_at(&at, time(2)).await.unwrap(), world.log.offset_at(&at, time(5)).await.unwrap()];
    assert_eq!([replay().from[3], replay().to[3]], expected);
    assert_eq!(replay().events_per_second, Some(7));
    world.delete(REPLAY).await;
    let body = json!({"partition": 3, "fromOffset": 1, "toOffset": 4});
    world.post(START, body.to_string()).await.json(200);
    assert_eq!((replay().from[3], replay().to[3]), (Offset(1), Offset(4)));
    assert!(replay().from.iter().zip(&replay().to).enumerate().all(|(at, (from, to))| at == 3 || from == to));
    // Nothing of it is left to do, so that another one may begin.
    world.delete(REPLAY).await;
    let none = world.post(START, r#"{"from":"latest"}"#).await.json(200);
    assert_eq!((&none["state"], &none["progress"]), (&json!("done"), &json!(1.0)));
    world.post(START, "").await.json(200);
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused() {
    let world = world().await;
    world.post("/v1/subscriptions/nobody:replay", "").await.refused(404, "not-found", &[]);
    for (body, pointers) in [
        (json!({"from": "yesterday"}), vec!["/from"]),
        (json!({"fromOffset": 1, "toOffset": 2}), vec!["/fromOffset", "/toOffset"]),
        (json!({"partition": 16}), vec!["/partition"]),
        (json!({"partition": 0, "from": "latest", "fromOffset": 1}), vec!["/fromOffset"]),
        (json!({"eventsPerSecond": 0}), vec!["/eventsPerSecond"]),
        (json!({"rate": 1}), vec!["/rate"]),
        (json!({"partition": 0, "fromOffset": 2, "toOffset": 1}), vec!["/toOffset"]),
    ] {
        world.post(START, body.to_string()).await.refused(400, "invalid-request", &pointers);
    }
}
