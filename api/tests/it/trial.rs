//! `…/{id}:test`.

use std::sync::Arc;

use fpaas_api::Webhooks;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::world::{World, config, record, tried};

const TEST: &str = "/v1/subscriptions/likes:test";

async fn world() -> World {
    let world = World::new().await;
    world.subscribe("likes", r#""filter":{"match":"a"},"output":{"topic":"out"}"#).await.json(201);
    world
}

#[tokio::test]
async fn the_filter_is_tried_on_recent_events_and_nothing_is_called() {
    let world = world().await;
    let records = [record("did:x:y", r#"{"a":1}"#, 0), record("did:x:y", r#"{"b":1}"#, 1)];
    world.append(&world.context.topics.firehose(), 3, records).await;
    let tested = world.post(TEST, "").await.json(200);
    assert_eq!(tested["call"], json!(null));
    assert_eq!((&tested["filter"]["events"], &tested["filter"]["matched"]), (&json!(2), &json!(1)));
    assert_eq!(tested["filter"]["samples"][0]["value"], json!({"a": 1}));
}

#[tokio::test]
async fn the_webhook_is_called_with_those_that_pass_where_that_is_asked_for() {
    let world = world().await;
    let body = json!({"call": true, "events": [{"a": 1}, {"b": 1}, {"a": 2, "kind": "commit", "did": "did:x:y"}]});
    let tested = world.post(TEST, body.to_string()).await.json(200);
    let call = &tested["call"];
    assert!(call["webhookId"].as_str().unwrap().starts_with("test_"));
    assert_eq!((&call["events"], &call["status"], &call["tookMs"]), (&json!(2), &json!(200), &json!(7)));
    let phases = json!({"dnsMs": null, "connectMs": 2, "tlsMs": null, "firstByteMs": 6, "totalMs": 7});
    assert_eq!((&call["timings"], &call["body"]), (&phases, &json!("[2\u{fffd}")));
    assert_eq!(call["records"], json!([{"topic": "out", "key": "n", "value": 2}]));
    // Nothing has passed: nothing is called.
    let none = world.post(TEST, r#"{"call":true,"events":[{"b":1}]}"#).await.json(200);
    assert_eq!(none["call"], json!(null));
    let status = world.get("/v1/subscriptions/likes/status").await.json(200);
    assert_eq!((&status["counters"]["calls"], &status["lastOutcome"]), (&json!(0), &json!(null)));
}

#[tokio::test]
async fn a_tenant_that_tries_all_it_may_is_told_so_and_others_try_theirs() {
    let (entered, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (coming, going) = (Arc::clone(&entered), Arc::clone(&leave));
    let webhooks = Webhooks::new(move |trial| {
        let (coming, going) = (Arc::clone(&coming), Arc::clone(&going));
        Box::pin(async move {
            coming.add_permits(1);
            going.acquire().await.unwrap().forget();
            Some(tried(&trial))
        })
    });
    let world = World::new().await.configured(fpaas_api::Config { webhooks, ..config() });
    let other = world.key("other", r#"{"scopes":["write"]}"#).await;
    let hook = format!(r#"{{"processor":{}}}"#, crate::world::HOOK);
    world.put("/v1/subscriptions/likes", hook.clone()).await.json(201);
    world.ask(&other, "PUT", "/v1/subscriptions/likes", &hook).await.json(201);
    let body = r#"{"call":true,"events":[{"a":1}]}"#;
    let more = async {
        drop(entered.acquire_many(2).await.unwrap());
        let refused = world.post(TEST, body).await;
        refused.refused(429, "too-many-requests", &[]);
        assert_eq!(refused.headers["retry-after"], "1");
        let problem: Value = serde_json::from_slice(&refused.body).unwrap();
        let why = "the tenant local may have 2 webhooks that are tried at a time: ask again in a moment";
        assert_eq!(problem["detail"], why);
        let release = async {
            drop(entered.acquire_many(3).await.unwrap());
            leave.add_permits(3);
        };
        futures_util::future::join(world.ask(&other, "POST", TEST, body), release).await.0.json(200)
    };
    let [one, two] = [world.post(TEST, body), world.post(TEST, body)];
    let (one, two, _) = futures_util::future::join3(one, two, more).await;
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200));
}

#[tokio::test]
async fn what_headers_of_an_event_would_say_is_read_from_it() {
    let world = World::new().await;
    let filter = r#""filter":{"collections":["app.bsky.feed.like"],"operations":["create"],"dids":["did:plc:a"]}"#;
    world.subscribe("likes", filter).await.json(201);
    let like = |operation: &str, did: &str| json!({"kind": "commit", "did": did, "commit": {"collection": "app.bsky.feed.like", "operation": operation}});
    let events = [like("create", "did:plc:a"), like("delete", "did:plc:a"), like("create", "did:plc:b"), json!(7)];
    let tested = world.post(TEST, json!({"events": events}).to_string()).await.json(200);
    assert_eq!(tested["filter"]["matched"], 1);
}

#[tokio::test]
async fn what_cannot_be_tried_is_refused() {
    let world = world().await;
    world.post("/v1/subscriptions/nobody:test", "").await.refused(404, "not-found", &[]);
    let many = json!({"events": vec![json!({}); 101]});
    world.post(TEST, many.to_string()).await.refused(400, "invalid-request", &["/events"]);
    world.post(TEST, r#"{"calls":true}"#).await.refused(400, "invalid-request", &["/calls"]);
    world.post(&format!("{TEST}?x=1"), "").await.refused(400, "invalid-request", &["/x"]);
}
