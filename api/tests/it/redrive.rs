//! `…/{id}:redrive` and `…/{id}/redrive`, without a dispatcher that carries it out.

use axum::body::Body;
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, Partition, SubscriptionId, TenantId, TopicPartition};
use fpaas_log::{Log as _, Record};
use fpaas_state::rows::{self, RedriveRow};
use fpaas_state::{REASONS, Redrive};
use serde_json::json;

use crate::world::{World, record, request};

const START: &str = "/v1/subscriptions/likes:redrive";
const REDRIVE: &str = "/v1/subscriptions/likes/redrive";

/// A subscription with nine dead letters, a second apart.
async fn world() -> World {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    world.append(&letters(&world), 0, (0..9).map(|n| record("did:x:y", "{}", n * 1000))).await;
    world
}

fn local() -> (TenantId, SubscriptionId) {
    (TenantId::parse("local").unwrap(), SubscriptionId::parse("likes").unwrap())
}

fn letters(world: &World) -> String {
    let (tenant, id) = local();
    let entry = world.context.control.view().subscription(&tenant, &id).unwrap().clone();
    world.context.topics.dead_letters(&tenant, &id, entry.incarnation)
}

fn redrive(world: &World) -> Redrive {
    let (tenant, id) = local();
    world.context.control.view().subscription(&tenant, &id).unwrap().redrive.clone().unwrap()
}

/// What the dispatcher would do.
async fn note(world: &World, row: &RedriveRow) {
    let (tenant, id) = local();
    let entry = world.context.control.view().subscription(&tenant, &id).unwrap().clone();
    let lane = TopicPartition::new(world.context.topics.deliveries(&tenant, &id, entry.incarnation), 0);
    let key = rows::redrive_key(&lane, redrive(world).since);
    let slot = Slot::of_lane(tenant.as_str(), id.as_str(), Partition(0));
    let tables = world.context.topics.tables(&entry.pool, Stage::Dispatcher);
    let spec = fpaas_log::TopicSpec::compacted(fpaas_core::partition::SLOTS);
    world.log.create_topic(&tables, &spec).await.unwrap();
    let record = Record { key: Some(key.into()), value: Some(rows::encode(row).unwrap()), ..Record::default() };
    world.append(&tables, slot.0, [record]).await;
}

#[tokio::test]
async fn a_redrive_covers_what_is_there_and_says_how_far_it_is() {
    let world = world().await;
    let started = world.post(START, r#"{"eventsPerSecond":7}"#).await.json(200);
    let end = started["lanes"][0]["to"].as_u64().unwrap();
    let lane = json!([{"lane": 0, "from": 0, "to": end, "position": 0, "redriven": 0}]);
    assert_eq!((&started["state"], &started["progress"], &started["lanes"]), (&json!("running"), &json!(0.0), &lane));
    assert_eq!((&started["remaining"], &started["eventsPerSecond"]), (&json!(end), &json!(7)));
    world.append(&letters(&world), 0, [record("did:x:y", "{}", 9)]).await;
    assert_eq!(world.get(REDRIVE).await.json(200), started, "what comes later is not in it");
    assert_eq!(world.get("/v1/subscriptions/likes/status").await.json(200)["lag"]["redrive"], end);
    world.post(START, "").await.refused(409, "conflict", &[""]);
    let position = Offset(end - 1);
    note(&world, &RedriveRow { position, redriven: 4, results: 1, cut: 2, refused: 0, others: 1 }).await;
    let later = world.get(REDRIVE).await.json(200);
    let skipped = json!({"results": 1, "cut": 2, "refused": 0, "otherReasons": 1});
    assert_eq!((&later["redriven"], &later["remaining"], &later["skipped"]), (&json!(4), &json!(1), &skipped));
    note(&world, &RedriveRow { position: Offset(end), redriven: 5, ..RedriveRow::default() }).await;
    let done = world.get(REDRIVE).await.json(200);
    assert_eq!((&done["state"], &done["progress"], &done["redriven"]), (&json!("done"), &json!(1.0), &json!(5)));
    assert_eq!(world.post(START, "").await.json(200)["state"], "running", "that one is over");
}

#[tokio::test]
async fn a_redrive_is_cancelled_and_a_request_that_is_sent_again_begins_no_other() {
    let world = world().await;
    world.get(REDRIVE).await.refused(404, "not-found", &[]);
    world.delete(REDRIVE).await.refused(404, "not-found", &[]);
    let once = |key: &str| {
        let mut request = request("POST", START, Body::empty());
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        request
    };
    let first = world.call(once("a")).await.json(200);
    assert_eq!(world.call(once("a")).await.json(200), first);
    for _ in 0..2 {
        assert_eq!(world.delete(REDRIVE).await.status, 204);
    }
    assert_eq!(world.get(REDRIVE).await.json(200)["state"], "cancelled");
    assert_eq!(world.get("/v1/subscriptions/likes/status").await.json(200)["lag"]["redrive"], 0);
    assert_eq!(world.call(once("a")).await.json(200)["state"], "cancelled");
    assert_eq!(world.call(once("b")).await.json(200)["state"], "running");
    assert_eq!(world.call(once("a")).await.json(200)["state"], "ended");
}

#[tokio::test]
async fn times_become_offsets_and_reasons_are_known_ones() {
    let world = world().await;
    let body = json!({"from": "2026-11-23T20:00:02Z", "to": "2026-11-23T20:00:05Z", "reasons": REASONS});
    let started = world.post(START, body.to_string()).await.json(200);
    assert_eq!(started["reasons"].as_array().unwrap().len(), REASONS.len());
    let mut places = Vec::new();
    for second in [2, 5] {
        let path = format!("/v1/subscriptions/likes/deadLetters?from=2026-11-23T20:00:0{second}Z&limit=1");
        places.push(Offset(world.get(&path).await.json(200)["items"][0]["offset"].as_u64().unwrap()));
    }
    assert_eq!((redrive(&world).from, redrive(&world).to), (vec![places[0]], vec![places[1]]));
    assert!(places[0] < places[1]);
    world.delete(REDRIVE).await;
    let none = world.post(START, r#"{"from":"latest"}"#).await.json(200);
    assert_eq!((&none["state"], &none["progress"]), (&json!("done"), &json!(1.0)));
    world.post("/v1/subscriptions/nobody:redrive", "").await.refused(404, "not-found", &[]);
    for (body, pointers) in [
        (json!({"from": "yesterday", "to": "soon"}), vec!["/from", "/to"]),
        (json!({"reasons": []}), vec!["/reasons"]),
        (json!({"reasons": ["status", "output"]}), vec!["/reasons"]),
        (json!({"eventsPerSecond": 0}), vec!["/eventsPerSecond"]),
        (json!({"rate": 1}), vec!["/rate"]),
    ] {
        world.post(START, body.to_string()).await.refused(400, "invalid-request", &pointers);
    }
}
