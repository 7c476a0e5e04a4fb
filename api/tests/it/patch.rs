//! Changing a subscription in part.

use axum::body::Body;
use serde_json::{Value, json};

use crate::world::{World, request};

const LIKES: &str = "/v1/subscriptions/likes";

#[tokio::test]
async fn what_a_patch_names_changes_and_the_rest_stays() {
    let world = World::new().await;
    let fields = r#""filter":{"collections":["app.bsky.feed.like"],"match":"commit"},"metadata":{"a":"b","c":"d"}"#;
    let made = world.subscribe("likes", fields).await.json(201);
    let patch = json!({"filter": {"match": null}, "collector": {"maxEvents": 7}, "metadata": {"a": null, "e": "f"}});
    let patched = world.patch(LIKES, patch.to_string()).await;
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("secret");
    expected["filter"] = json!({"kinds": [], "collections": ["app.bsky.feed.like"], "operations": [], "dids": []});
    expected["collector"]["maxEvents"] = json!(7);
    expected["metadata"] = json!({"c": "d", "e": "f"});
    assert_eq!(patched.json(200), expected);
    let read = world.get(LIKES).await;
    assert_eq!((read.json(200), &read.headers["etag"]), (expected, &patched.headers["etag"]));
    assert_eq!(world.get(&format!("{LIKES}/secret")).await.json(200)["secret"], made["secret"]);

    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let patch = json!({"processor": {"webhook": {"secret": secret}}});
    assert!(!world.patch(LIKES, patch.to_string()).await.json(200).to_string().contains("whsec_"));
    assert_eq!(world.get(&format!("{LIKES}/secret")).await.json(200)["secret"], secret);
}

#[tokio::test]
async fn a_patch_is_checked_like_what_is_put() {
    let world = World::new().await;
    world.patch(LIKES, "{}").await.refused(404, "not-found", &[]);
    world.subscribe("likes", "").await.json(201);
    for (patch, status, kind, pointers) in [
        (
            r#"{"collector":{"maxEvents":0},"nosuch":1}"#,
            400,
            "invalid-request",
            &["/nosuch", "/collector/maxEvents"][..],
        ),
        (r#"{"id":"other"}"#, 400, "invalid-request", &["/id"]),
        (r#"{"lanes":3}"#, 409, "conflict", &["/lanes"]),
        (r#"{"processor":null}"#, 400, "not-supported-yet", &["/processor"]),
        (r#"[{"op":"remove","path":"/filter"}]"#, 400, "invalid-request", &[""]),
        ("{", 400, "invalid-request", &[""]),
        // What takes away something that can never be there is a mistake, and so is what is said twice.
        (r#"{"nosuch":null,"filter":{"mach":null}}"#, 400, "invalid-request", &["/filter/mach", "/nosuch"]),
        (r#"{"nosuch":null,"lanes":0}"#, 400, "invalid-request", &["/nosuch", "/lanes"]),
        (r#"{"processor":{"webhook":{"sceret":null}}}"#, 400, "invalid-request", &["/processor/webhook/sceret"]),
        (
            r#"{"lanes":2,"lanes":1,"metadata":{"a/b":"x","a/b":"y"}}"#,
            400,
            "invalid-request",
            &["/lanes", "/metadata/a~1b"],
        ),
    ] {
        world.patch(LIKES, patch).await.refused(status, kind, pointers);
    }
    // What may be there and is not may be taken away.
    let absent =
        r#"{"output":null,"filter":{"match":null},"metadata":{"a":null},"processor":{"webhook":{"secret":null}}}"#;
    world.patch(LIKES, absent).await.json(200);
    let tag = world.get(LIKES).await.headers["etag"].clone();
    assert_eq!(world.patch(LIKES, r#"{"state":"active"}"#).await.json(200), world.get(LIKES).await.json(200));
    let mut late = request("PATCH", LIKES, Body::from("{}"));
    late.headers_mut().insert("if-match", tag);
    world.call(late).await.refused(412, "precondition-failed", &[]);
}

#[tokio::test]
async fn patches_of_the_same_moment_are_all_there() {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    let patches = (0..8).map(|n| world.patch(LIKES, json!({"metadata": {n.to_string(): "x"}}).to_string()));
    for answer in futures_util::future::join_all(patches).await {
        answer.json(200);
    }
    let metadata = world.get(LIKES).await.json(200)["metadata"].clone();
    assert_eq!(metadata.as_object().map(serde_json::Map::len), Some(8), "{metadata}");
}

fn depth(levels: usize) -> Value {
    (0..levels).fold(json!(1), |value, _| json!({"a": value}))
}

#[tokio::test]
async fn a_deep_patch_is_an_error_like_any_other() {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    for levels in [100, 126] {
        world.patch(LIKES, depth(levels).to_string()).await.refused(400, "invalid-request", &["/a"]);
    }
    let deep = "{\"a\":".repeat(100_000);
    world.patch(LIKES, deep).await.refused(400, "invalid-request", &[""]);
}
