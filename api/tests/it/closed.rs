//! Every route, asked with nothing that opens it: all that is wrong with a key is answered the same, by status, headers
//! and body, whatever is behind the route.

use std::time::Duration;

use axum::body::Body;
use fpaas_api::{Config, Needs, ROUTES, Route};

use crate::world::{Answer, World, config, request};

/// What stands for `Authorization`, by what is wrong with it.
async fn wrong(world: &World) -> Vec<(&'static str, Option<String>)> {
    let of = |scopes: &str, more: &str| format!(r#"{{"scopes":["{scopes}"]{more}}}"#);
    let live = world.key("acme", &of("admin", "")).await;
    let expired = world.key("acme", &of("admin", r#","expiresAt":"2026-11-23T20:00:01Z""#)).await;
    let deleted = world.key("acme", &of("admin", "")).await;
    let id = |key: &str| key.split('_').nth(1).unwrap().to_owned();
    let path = format!("/v1/admin/tenants/acme/keys/{}", id(&deleted));
    for key in [&live, &expired, &deleted] {
        world.ask(key, "GET", "/v1/keys", "").await.json(200);
    }
    assert_eq!(world.delete(&path).await.status, 204);
    world.clock.advance(Duration::from_secs(1));
    let bearer = |key: String| Some(format!("Bearer {key}"));
    vec![
        ("absent", None),
        ("empty", Some(String::new())),
        ("of another scheme", Some(format!("Basic {live}"))),
        ("without a scheme", Some(live.clone())),
        ("malformed", bearer("fpaas_x".to_owned())),
        ("cut", bearer(live.get(..40).unwrap().to_owned())),
        ("of another secret", bearer(format!("fpaas_{}_{}", id(&live), "0".repeat(64)))),
        ("unknown", bearer(format!("fpaas_{}_{}", "0".repeat(16), "0".repeat(64)))),
        ("expired", bearer(expired)),
        ("deleted", bearer(deleted)),
    ]
}

async fn asked(world: &World, route: &Route, key: Option<&str>) -> Answer {
    let path = route.path.replace("{id}", "likes").replace("{name}", "out").replace("{keyId}", "0000000000000001");
    let mut request = request(route.method, &path, Body::from("{}"));
    request.headers_mut().remove("authorization");
    if let Some(key) = key {
        request.headers_mut().insert("authorization", key.parse().unwrap());
    }
    world.call(request).await
}

#[tokio::test]
async fn a_key_that_opens_nothing_opens_no_route_and_is_answered_like_any_other() {
    let closed = Config { open_metrics: false, ..config() };
    let world = World::new().await.configured(closed);
    world.subscribe("likes", "").await.json(201);
    world.put("/v1/topics/out", "{}").await.json(201);
    let keys = wrong(&world).await;
    let revision = world.context.control.view().revision;
    let expected = asked(&world, ROUTES.first().unwrap(), None).await;
    expected.refused(401, "unauthorized", &[]);
    let mut refused = 0;
    for route in ROUTES {
        for (what, key) in &keys {
            let answer = asked(&world, route, key.as_deref()).await;
            if route.needs == Needs::Nothing {
                assert_eq!(answer.status, 200, "{} {} with a key that is {what}", route.method, route.path);
                continue;
            }
            let found = (answer.status, &answer.body, answer.headers.get("www-authenticate"));
            let like_all = (expected.status, &expected.body, expected.headers.get("www-authenticate"));
            assert_eq!(found, like_all, "{} {} with a key that is {what}", route.method, route.path);
            assert!(["etag", "location", "allow"].iter().all(|name| !answer.headers.contains_key(*name)));
            refused += 1;
        }
    }
    let open = ROUTES.iter().filter(|route| route.needs == Needs::Nothing).count();
    assert_eq!((open, refused), (4, (ROUTES.len() - 4) * keys.len()));
    assert_eq!(world.context.control.view().revision, revision, "nothing was changed");
}
