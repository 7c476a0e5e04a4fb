//! Putting, reading and listing topics.

use axum::body::Body;
use fpaas_log::Log;
use serde_json::{Value, json};

use crate::world::{World, record, request};

#[tokio::test]
async fn a_topic_is_given_back_as_it_can_be_put() {
    let world = World::new().await;
    let defaults =
        json!({"name": "out", "partitions": 1, "retentionMs": 604_800_000, "retentionBytes": null, "compacted": false});
    assert_eq!(world.put("/v1/topics/out", "{}").await.json(201), defaults);
    let shown = world.get("/v1/topics/out").await;
    assert_eq!(shown.json(200), defaults);
    assert_eq!(world.put("/v1/topics/out", shown.body).await.json(200), defaults);
    let changed = world.put("/v1/topics/out", r#"{"retentionMs":null,"retentionBytes":2097152}"#).await.json(200);
    assert_eq!((&changed["retentionMs"], &changed["retentionBytes"]), (&Value::Null, &json!(2_097_152)));
    assert_eq!(world.get("/v1/topics/out").await.json(200), changed);
}

#[tokio::test]
async fn the_firehose_is_read_like_a_topic_and_not_written() {
    let world = World::new().await;
    assert_eq!(world.get("/v1/topics/firehose").await.json(200)["partitions"], 16);
    world.put("/v1/topics/firehose", "{}").await.refused(400, "invalid-request", &["/name"]);
}

#[tokio::test]
async fn names_are_checked_where_something_is_made_and_not_found_elsewhere() {
    let world = World::new().await;
    for name in ["Out", "a%2Fb", "-a", "system", "%2e%2e", "a%20b"] {
        world.put(&format!("/v1/topics/{name}"), "{}").await.refused(400, "invalid-request", &["/name"]);
        world.get(&format!("/v1/topics/{name}")).await.refused(404, "not-found", &[]);
    }
    world.put("/v1/topics/out", r#"{"name":"other"}"#).await.refused(400, "invalid-request", &["/name"]);
    let both = world.put("/v1/topics/Out", r#"{"partitions":0,"retention":1}"#).await;
    both.refused(400, "invalid-request", &["/name", "/retention", "/partitions"]);
    world.get("/v1/topics/%ff").await.refused(404, "not-found", &[]);
}

#[tokio::test]
async fn what_cannot_change_or_collides_is_a_conflict() {
    let world = World::new().await;
    world.put("/v1/topics/a.b", r#"{"partitions":2}"#).await.json(201);
    world.put("/v1/topics/a.b", r#"{"partitions":3,"compacted":true}"#).await.refused(
        409,
        "conflict",
        &["/partitions", "/compacted"],
    );
    world.put("/v1/topics/a_b", "{}").await.refused(409, "conflict", &["/name"]);
}

#[tokio::test]
async fn a_list_holds_the_firehose_among_the_tenants_topics() {
    let world = World::new().await;
    for name in ["a", "z.z_z-z"] {
        world.put(&format!("/v1/topics/{name}"), "{}").await.json(201);
    }
    let (mut names, mut query) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/v1/topics?limit=1{query}")).await.json(200);
        names.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["cursor"].as_str() {
            Some(cursor) => query = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(names, ["a", "firehose", "z.z_z-z"]);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_its_name_is_free_again_soon() {
    let world = World::new().await;
    world.put("/v1/topics/out", r#"{"partitions":2}"#).await.json(201);
    world.append("fpaas.local.t.out", 1, [record("k", "1", 0)]).await;
    assert_eq!(world.delete("/v1/topics/out").await.status, 204);
    world.get("/v1/topics/out").await.refused(404, "not-found", &[]);
    world.get("/v1/topics/out/records").await.refused(404, "not-found", &[]);
    world.delete("/v1/topics/out").await.refused(404, "not-found", &[]);
    // Until it is gone from the log nothing of that name is made, nor of one that Kafka takes for the same.
    world.put("/v1/topics/out", "{}").await.refused(409, "conflict", &["/name"]);
    world.subscribe("likes", r#""output":{"topic":"out"}"#).await.refused(409, "conflict", &["/output/topic"]);
    let mut views = world.context.control.views();
    views.wait_for(|view| view.deleted.is_empty()).await.unwrap();
    assert_eq!(Log::describe_topic(&*world.log, "fpaas.local.t.out").await.unwrap(), None);
    let made = world.put("/v1/topics/out", r#"{"partitions":3}"#).await.json(201);
    assert_eq!(made["partitions"], 3);
    let records = world.get("/v1/topics/out/records").await.json(200);
    assert_eq!(records["items"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_topic_that_is_used_is_not_deleted_nor_is_the_firehose() {
    let world = World::new().await;
    world.subscribe("likes", r#""output":{"topic":"out"}"#).await.json(201);
    world.subscribe("more", r#""source":{"topic":"out"}"#).await.json(201);
    let refused = world.delete("/v1/topics/out").await;
    refused.refused(409, "conflict", &["/name"]);
    assert!(String::from_utf8_lossy(&refused.body).contains("is used by subscriptions: likes, more"));
    world.delete("/v1/subscriptions/likes").await;
    world.delete("/v1/topics/out").await.refused(409, "conflict", &["/name"]);
    world.delete("/v1/subscriptions/more").await;
    let mut request = request("DELETE", "/v1/topics/out", Body::empty());
    request.headers_mut().insert("if-match", "\"999\"".parse().unwrap());
    world.call(request).await.refused(412, "precondition-failed", &[]);
    assert_eq!(world.delete("/v1/topics/out").await.status, 204);
    world.delete("/v1/topics/firehose").await.refused(409, "conflict", &["/name"]);
}

#[tokio::test]
async fn a_dry_run_of_a_topic_says_what_it_would_be_refuses_what_would_be_refused_and_changes_nothing() {
    let world = World::new().await;
    let dry = |name: &str| format!("/v1/topics/{name}?dryRun=true");
    let tried = world.put(&dry("a.b"), r#"{"partitions":2}"#).await.json(200);
    assert_eq!((&tried["name"], &tried["partitions"]), (&json!("a.b"), &json!(2)));
    assert_eq!(tried["retentionMs"], 604_800_000);
    world.get("/v1/topics/a.b").await.refused(404, "not-found", &[]);
    world.put(&dry("a.b"), r#"{"partitions":0}"#).await.refused(400, "invalid-request", &["/partitions"]);
    world.put(&dry("firehose"), "{}").await.refused(400, "invalid-request", &["/name"]);
    world.put("/v1/topics/a.b?dryRun=yes", "{}").await.refused(400, "invalid-request", &["/dryRun"]);

    let made = world.put("/v1/topics/a.b", r#"{"partitions":2}"#).await.headers["etag"].clone();
    let changed = world.put(&dry("a.b"), r#"{"partitions":2,"retentionMs":null}"#).await.json(200);
    assert_eq!(changed["retentionMs"], Value::Null);
    let fixed = world.put(&dry("a.b"), r#"{"compacted":true}"#).await;
    fixed.refused(409, "conflict", &["/partitions", "/compacted"]);
    world.put(&dry("a_b"), "{}").await.refused(409, "conflict", &["/name"]);
    for (header, value) in [("if-none-match", "*"), ("if-match", "\"999\"")] {
        let mut stale = request("PUT", &dry("a.b"), r#"{"partitions":2}"#.into());
        stale.headers_mut().insert(header, value.parse().unwrap());
        world.call(stale).await.refused(412, "precondition-failed", &[]);
    }
    let after = world.get("/v1/topics/a.b").await;
    assert_eq!((after.headers["etag"].clone(), after.json(200)["retentionMs"].clone()), (made, json!(604_800_000)));
    // Another tenant's topics are no reason.
    let key = world.key("acme", r#"{"scopes":["write"]}"#).await;
    assert_eq!(world.ask(&key, "PUT", &dry("a_b"), "{}").await.json(200)["name"], "a_b");
    world.delete("/v1/topics/a.b").await;
    world.put(&dry("a.b"), "{}").await.refused(409, "conflict", &["/name"]);
}
