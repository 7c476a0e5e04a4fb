//! Changes that depend on a revision: who has read something else than is there changes nothing.

use axum::body::Body;
use serde_json::json;

use crate::world::{Answer, HOOK, World, request};

const LIKES: &str = "/v1/subscriptions/likes";
const TOPIC: &str = "/v1/topics/out";

/// A request with one condition.
async fn on(world: &World, method: &str, path: &str, condition: (&'static str, &str), body: &str) -> Answer {
    let mut request = request(method, path, Body::from(body.to_owned()));
    request.headers_mut().insert(condition.0, condition.1.parse().unwrap());
    world.call(request).await
}

fn hook(events: u32) -> String {
    format!(r#"{{"processor":{HOOK},"collector":{{"maxEvents":{events}}}}}"#)
}

#[tokio::test]
async fn a_change_of_another_revision_than_is_there_is_refused_and_says_what_is() {
    let world = World::new().await;
    for (path, one, other) in [(LIKES, hook(1), hook(2)), (TOPIC, "{}".into(), r#"{"retentionMs":7200000}"#.into())] {
        on(&world, "PUT", path, ("if-match", "*"), &one).await.refused(412, "precondition-failed", &[]);
        let made = on(&world, "PUT", path, ("if-none-match", "*"), &one).await;
        made.json(201);
        let first = made.headers["etag"].to_str().unwrap().to_owned();
        let again = on(&world, "PUT", path, ("if-none-match", "*"), &other).await;
        again.refused(412, "precondition-failed", &[]);
        assert_eq!(again.headers["etag"], first.as_str());

        let changed = on(&world, "PUT", path, ("if-match", &first), &other).await;
        changed.json(200);
        let second = changed.headers["etag"].to_str().unwrap().to_owned();
        assert_ne!(first, second);
        let stale = on(&world, "PUT", path, ("if-match", &first), &one).await;
        stale.refused(412, "precondition-failed", &[]);
        assert_eq!(stale.headers["etag"], second.as_str());
        assert_eq!(world.get(path).await.headers["etag"], second.as_str());
        assert_eq!(on(&world, "GET", path, ("if-none-match", &second), "").await.status, 304);
        on(&world, "GET", path, ("if-none-match", &first), "").await.json(200);
    }
}

#[tokio::test]
async fn a_subscription_is_deleted_only_in_the_revision_that_was_read() {
    let world = World::new().await;
    let made = world.subscribe("likes", "").await;
    world.subscribe("likes", "").await.json(200);
    let first = made.headers["etag"].to_str().unwrap();
    on(&world, "DELETE", LIKES, ("if-match", first), "").await.refused(412, "precondition-failed", &[]);
    let now = world.get(LIKES).await.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(on(&world, "DELETE", LIKES, ("if-match", &now), "").await.status, 204);
    on(&world, "DELETE", LIKES, ("if-match", &now), "").await.refused(404, "not-found", &[]);
}

#[tokio::test]
async fn of_many_who_write_the_same_revision_at_once_one_wins() {
    let world = World::new().await;
    world.put(LIKES, hook(1)).await.json(201);
    for _ in 0..10 {
        let now = world.get(LIKES).await.headers["etag"].to_str().unwrap().to_owned();
        let bodies: Vec<_> = (2..22).map(hook).collect();
        let puts = bodies.iter().map(|body| on(&world, "PUT", LIKES, ("if-match", &now), body));
        let answers = futures_util::future::join_all(puts).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 19));
        assert!(lost.iter().all(|answer| answer.headers["etag"] == won[0].headers["etag"]));
        // Whoever wins is shown what it has put, and so is everybody after it.
        assert_eq!(world.get(LIKES).await.json(200), won[0].json(200));
    }
}

#[tokio::test]
async fn a_condition_that_cannot_be_kept_is_refused() {
    let world = World::new().await;
    let body = hook(1);
    for (name, value) in [("if-match", "7"), ("if-none-match", "likes"), ("if-unmodified-since", "yesterday")] {
        on(&world, "PUT", LIKES, (name, value), &body).await.refused(400, "invalid-request", &[""]);
    }
    // A tag of somebody else's is none of ours.
    on(&world, "PUT", LIKES, ("if-match", "\"abc\""), &body).await.refused(412, "precondition-failed", &[]);
    assert_eq!(world.get("/v1/subscriptions").await.json(200), json!({"items": [], "cursor": null}));
}
