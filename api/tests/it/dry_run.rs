//! Trying a subscription on recent records before it is there.

use fpaas_core::HeadersBuilder;
use fpaas_log::Record;
use serde_json::json;

use crate::world::{HOOK, World, record, request};

const LIKES: &str = "/v1/subscriptions/likes";

/// Ten likes and twenty posts on two partitions, a second apart.
async fn with_events(world: &World) {
    let firehose = world.context.topics.firehose();
    for number in 0..30 {
        let collection = if number % 3 == 0 { "app.bsky.feed.like" } else { "app.bsky.feed.post" };
        let headers =
            HeadersBuilder::new().with("kind", "commit").with("collection", collection).with("operation", "create");
        let event =
            Record { headers: headers.build(), ..record("did:plc:a", format!(r#"{{"n":{number}}}"#), number * 1000) };
        world.append(&firehose, u32::try_from(number % 2).unwrap(), [event]).await;
    }
}

fn body(filter: &str) -> String {
    format!(r#"{{"processor":{HOOK},"filter":{filter}}}"#)
}

#[tokio::test]
async fn what_a_subscription_would_get_is_said_and_nothing_is_made() {
    let world = World::new().await;
    with_events(&world).await;
    let dry = format!("{LIKES}?dryRun=true");
    let tried = world.put(&dry, body(r#"{"collections":["app.bsky.feed.like"],"match":"n < `15`"}"#)).await.json(200);
    let recent = &tried["recent"];
    assert_eq!((&recent["events"], &recent["matched"], &recent["matchErrors"]), (&json!(30), &json!(5), &json!(0)));
    assert!((recent["matchRate"].as_f64().unwrap() - 5.0 / 30.0).abs() < 1e-9, "{recent}");
    assert_eq!(
        (&recent["from"], &recent["to"]),
        (&json!("2026-11-23T20:00:00.000Z"), &json!("2026-11-23T20:00:29.000Z"))
    );
    let newest: Vec<_> = recent["samples"].as_array().unwrap().iter().map(|sample| &sample["value"]["n"]).collect();
    assert_eq!(newest, [12, 9, 6, 3, 0]);
    assert_eq!(tried["subscription"]["id"], "likes");
    assert_eq!(tried["subscription"]["collector"]["maxEvents"], 100);
    world.get(LIKES).await.refused(404, "not-found", &[]);

    let failing = world.put(&dry, body(r#"{"match":"abs(n) > abs(commit)"}"#)).await.json(200);
    assert_eq!((&failing["recent"]["matchErrors"], &failing["recent"]["samples"]), (&json!(30), &json!([])));
    assert!(failing["recent"]["matchError"].as_str().unwrap().contains("abs"), "{failing}");
}

#[tokio::test]
async fn a_dry_run_refuses_what_would_be_refused_and_changes_nothing() {
    let world = World::new().await;
    let dry = format!("{LIKES}?dryRun=true");
    // Nothing is there to be looked at.
    let tried = world.put(&dry, body("{}")).await.json(200);
    assert_eq!(
        tried["recent"],
        json!({"events": 0, "matched": 0, "matchErrors": 0, "matchRate": null, "from": null, "to": null, "samples": []})
    );
    world.put(&dry, body(r#"{"match":"a["}"#)).await.refused(400, "invalid-request", &["/filter/match"]);
    world.put(&format!("{LIKES}?dryRun=yes"), body("{}")).await.refused(400, "invalid-request", &["/dryRun"]);
    world.patch(&dry, "{}").await.refused(404, "not-found", &[]);
    let made = world.subscribe("likes", "").await;
    let before = world.get(LIKES).await;
    world.patch(&dry, r#"{"lanes":2}"#).await.refused(409, "conflict", &["/lanes"]);
    let patched = world.patch(&dry, r#"{"collector":{"maxEvents":7}}"#).await.json(200);
    assert_eq!(patched["subscription"]["collector"]["maxEvents"], 7);
    assert!(!patched.to_string().contains("whsec_"), "{patched}");
    let mut stale = request("PUT", &dry, body("{}").into());
    stale.headers_mut().insert("if-none-match", "*".parse().unwrap());
    world.call(stale).await.refused(412, "precondition-failed", &[]);
    assert_eq!(world.get(LIKES).await.headers["etag"], made.headers["etag"]);
    assert_eq!(world.get(LIKES).await.body, before.body);
}
