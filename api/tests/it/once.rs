//! `Idempotency-Key`: what is sent again is not done again.

use std::time::Duration;

use axum::body::Body;

use crate::world::{Answer, World, request};

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

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let world = World::new().await;
    for wrong in ["", "a b", &"x".repeat(256)] {
        post(&world, "/v1/keys", wrong, r#"{"scopes":["read"]}"#).await.refused(400, "invalid-request", &[""]);
    }
    assert_eq!(keys(&world).await, 0);
}
