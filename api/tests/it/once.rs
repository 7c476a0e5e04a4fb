//! `Idempotency-Key`: what is sent again is not done again.

use std::time::Duration;

use axum::body::Body;

use crate::world::{Answer, World, record, request};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn post(world: &World, path: &str, once: &str, body: &str) -> Answer {
    let mut request = request("POST", path, Body::from(body.to_owned()));
    request.headers_mut().insert("idempotency-key", once.parse().unwrap());
    world.call(request).await
}

async fn keys(world: &World) -> usize {
    world.get("/v1/keys").await.json(200)["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_key_is_made_once_and_its_text_is_shown_once() {
    let world = World::new().await;
    let body = r#"{"scopes":["read"]}"#;
    let made = post(&world, "/v1/keys", "a", body).await.json(201);
    let again = post(&world, "/v1/keys", "a", body).await;
    again.refused(409, "conflict", &[""]);
    let said = String::from_utf8_lossy(&again.body).into_owned();
    assert!(said.contains(made["id"].as_str().unwrap()), "{said}");
    assert!(!said.contains(made["key"].as_str().unwrap()), "{said}");
    assert_eq!(keys(&world).await, 1);
    post(&world, "/v1/keys", "a", r#"{"scopes":["write"]}"#).await.refused(422, "idempotency-key-reused", &[]);
    post(&world, "/v1/keys", "b", body).await.json(201);
    assert_eq!(keys(&world).await, 2);
    world.clock.advance(DAY);
    post(&world, "/v1/keys", "a", body).await.json(201);
    assert_eq!(keys(&world).await, 3);
}

#[tokio::test]
async fn a_secret_is_rotated_once() {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    let path = "/v1/subscriptions/likes:rotateSecret";
    let first = post(&world, path, "r", "").await.json(200);
    let again = post(&world, path, "r", "").await.json(200);
    assert_eq!((&again["secret"], &again["previous"]), (&first["secret"], &first["previous"]));
    let other = post(&world, path, "s", "").await.json(200);
    assert_ne!(other["secret"], first["secret"]);
    // Another action under the same name is another request.
    post(&world, "/v1/subscriptions/likes:pause", "r", "").await.refused(422, "idempotency-key-reused", &[]);
    post(&world, "/v1/subscriptions/likes:pause", "p", "").await.json(200);
    world.post("/v1/subscriptions/likes:resume", "").await.json(200);
    // Sent again it is not done again.
    let now = post(&world, "/v1/subscriptions/likes:pause", "p", "").await.json(200);
    assert_eq!(now["state"], "active");
}

fn is_marked(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

const PAUSE: &str = "/v1/subscriptions/likes:pause";

#[tokio::test]
async fn a_key_that_was_for_a_subscription_which_is_gone_is_not_for_the_next_of_its_name() {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    post(&world, PAUSE, "k1", "").await.json(200);
    assert_eq!(world.delete("/v1/subscriptions/likes").await.status, 204);
    post(&world, PAUSE, "k1", "").await.refused(404, "not-found", &[]);
    world.subscribe("likes", "").await.json(201);
    for action in ["pause", "rotateSecret", "replay"] {
        let path = format!("/v1/subscriptions/likes:{action}");
        post(&world, &path, "k1", "").await.refused(422, "idempotency-key-reused", &[]);
    }
    assert_eq!(world.get("/v1/subscriptions/likes").await.json(200)["state"], "active");
    assert_eq!(post(&world, PAUSE, "k2", "").await.json(200)["state"], "paused");
}

#[tokio::test]
async fn an_answer_to_a_request_that_was_done_before_says_so() {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    world.append(&world.context.topics.firehose(), 3, [record("did:x:y", "{}", 0)]).await;
    for action in ["pause", "resume", "rotateSecret", "replay", "redrive"] {
        let path = format!("/v1/subscriptions/likes:{action}");
        for sent in 0..3 {
            let answer = post(&world, &path, action, "").await;
            answer.json(200);
            assert_eq!(is_marked(&answer), sent > 0, "{action}");
        }
    }
    assert!(!is_marked(&world.post(PAUSE, "").await));
}

#[tokio::test]
async fn a_replay_that_was_cancelled_is_what_it_was_to_whoever_asks_again() {
    let world = World::new().await;
    world.append(&world.context.topics.firehose(), 3, (0..9).map(|n| record("did:x:y", "{}", n))).await;
    world.subscribe("likes", "").await.json(201);
    let (start, replay) = ("/v1/subscriptions/likes:replay", "/v1/subscriptions/likes/replay");
    let mut first = post(&world, start, "k2", r#"{"eventsPerSecond":7}"#).await.json(200);
    assert_eq!(first["state"], "running");
    assert_eq!(world.delete(replay).await.status, 204);
    let again = post(&world, start, "k2", r#"{"eventsPerSecond":7}"#).await;
    first["state"] = "ended".into();
    assert!(is_marked(&again));
    assert_eq!(again.json(200), first);
    world.get(replay).await.refused(404, "not-found", &[]);
    // Nor is it another one that has been begun since.
    let other = world.post(start, r#"{"eventsPerSecond":8}"#).await.json(200);
    assert_eq!(post(&world, start, "k2", r#"{"eventsPerSecond":7}"#).await.json(200), first);
    assert_eq!(world.get(replay).await.json(200), other);
}

#[tokio::test]
async fn a_subscription_that_goes_while_something_is_asked_of_it_is_not_found() {
    let world = World::new().await;
    for action in ["pause", "resume", "rotateSecret", "replay", "redrive"] {
        let path = format!("/v1/subscriptions/likes:{action}");
        for once in ["before", "new"] {
            world.subscribe("likes", "").await.json(201);
            post(&world, &path, &format!("{action}-before"), "").await.json(200);
            let key = format!("{action}-{once}");
            // Its command is appended behind the one that deletes: the look-up still finds it.
            let (deleted, asked) =
                futures_util::future::join(world.delete("/v1/subscriptions/likes"), post(&world, &path, &key, ""))
                    .await;
            assert_eq!(deleted.status, 204);
            asked.refused(404, "not-found", &[]);
            world.clock.advance(DAY);
        }
    }
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let world = World::new().await;
    for wrong in ["", "a b", &"x".repeat(256)] {
        post(&world, "/v1/keys", wrong, r#"{"scopes":["read"]}"#).await.refused(400, "invalid-request", &[""]);
    }
    assert_eq!(keys(&world).await, 0);
}
