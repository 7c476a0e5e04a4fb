//! Keys of tenants: what each opens, until when, and what is said of them.

use std::time::Duration;

use axum::body::Body;
use fpaas_api::{Needs, Phase, ROUTES};
use fpaas_core::Scope;
use http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, HOOK, KEY, World, request};

const KEYS: &str = "/v1/admin/tenants/acme/keys";

async fn opens(world: &World, key: &str) -> bool {
    let answer = world.ask(key, "GET", "/v1/topics", "").await;
    if answer.status == 200 {
        return true;
    }
    answer.refused(401, "unauthorized", &[]);
    false
}

fn id_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

#[tokio::test]
async fn a_key_is_shown_once_and_its_beginning_ever_after() {
    let world = World::new().await;
    world.put("/v1/admin/tenants/acme", "{}").await.json(201);
    let asked = r#"{"scopes":["write","read"],"description":"the indexer","expiresAt":"2026-11-24T21:00:00+01:00"}"#;
    let made = world.post(KEYS, asked).await.json(201);
    let key = made["key"].as_str().unwrap();
    let parts: Vec<_> = key.split('_').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts.len()), ("fpaas", 16, 64, 3));
    let shown = json!({
        "id": parts[1], "prefix": format!("fpaas_{}", parts[1]), "scopes": ["read", "write"],
        "description": "the indexer", "createdAt": "2026-11-23T20:00:00.000Z",
        "expiresAt": "2026-11-24T20:00:00.000Z", "lastUsedAt": null
    });
    let mut once = shown.clone();
    once["key"] = json!(key);
    assert_eq!(made, once);
    assert_eq!(world.get(KEYS).await.json(200), json!({"items": [shown], "cursor": null}));
    let image = format!("{:?}", world.context.control.view());
    assert!(!image.contains(parts[2]) && image.contains(parts[1]));
    // Another one is another.
    let other = world.key("acme", r#"{"scopes":["read"]}"#).await;
    assert!(id_of(&other) != parts[1] && !other.ends_with(parts[2]));
}

#[tokio::test]
async fn what_a_key_cannot_be_is_pointed_at() {
    let world = World::new().await;
    world.put("/v1/admin/tenants/acme", "{}").await.json(201);
    let long = format!(r#"{{"scopes":[],"description":"{}","expiresAt":"2026-11-23T20:00:00Z"}}"#, "x".repeat(201));
    world.post(KEYS, long).await.refused(400, "invalid-request", &["/scopes", "/description", "/expiresAt"]);
    let unknown = r#"{"scopes":["read","root"],"expiresAt":"tomorrow","hash":"x"}"#;
    world.post(KEYS, unknown).await.refused(400, "invalid-request", &["/hash", "/scopes/1", "/expiresAt"]);
    world.post(KEYS, "{}").await.refused(400, "invalid-request", &["/scopes"]);
    world.post("/v1/admin/tenants/nobody/keys", r#"{"scopes":["read"]}"#).await.refused(404, "not-found", &[]);
    for _ in 0..fpaas_core::limits::KEYS_MAX {
        world.post(KEYS, r#"{"scopes":["read"]}"#).await.json(201);
    }
    world.post(KEYS, r#"{"scopes":["read"]}"#).await.refused(403, "quota-exceeded", &[]);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_key_is_answered_the_same() {
    let world = World::new().await;
    let good = world.key("acme", r#"{"scopes":["read"]}"#).await;
    let expired = world.key("acme", r#"{"scopes":["read"],"expiresAt":"2026-11-23T20:00:01Z"}"#).await;
    let deleted = world.key("acme", r#"{"scopes":["read"]}"#).await;
    assert_eq!(world.delete(&format!("{KEYS}/{}", id_of(&deleted))).await.status, 204);
    assert!(opens(&world, &good).await && opens(&world, &expired).await);
    world.clock.advance(Duration::from_secs(1));
    let bare = world.call(Request::get("/v1/topics").body(Body::empty()).unwrap()).await;
    bare.refused(401, "unauthorized", &[]);
    let secret = good.split('_').nth(2).unwrap();
    let wrong = [
        expired,
        deleted,
        format!("fpaas_{}_{}", id_of(&good), "0".repeat(64)),
        format!("fpaas_{}_{secret}", "0".repeat(16)),
        format!("fpaas_{}", id_of(&good)),
        format!("{good}0"),
        good.to_uppercase(),
        "fpaas_".to_owned(),
        "fpaas___".to_owned(),
        "x".repeat(10_000),
    ];
    for key in wrong {
        let answer = world.ask(&key, "GET", "/v1/topics", "").await;
        assert_eq!((answer.status.as_u16(), &answer.body), (401, &bare.body), "{key}");
        assert_eq!(answer.headers, bare.headers, "{key}");
    }
    assert!(opens(&world, &good).await);
}

#[tokio::test]
async fn a_header_that_says_who_asks_is_given_once() {
    let world = World::new().await;
    let key = world.key("acme", r#"{"scopes":["read"]}"#).await;
    let asked = |name: &'static str, value: &str| {
        let mut request = request("GET", "/v1/topics", Body::empty());
        request.headers_mut().append(name, value.parse().unwrap());
        request
    };
    for second in [KEY, key.as_str(), "x"] {
        let refused = world.call(asked("authorization", &format!("Bearer {second}"))).await;
        refused.refused(401, "unauthorized", &[]);
        let problem: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(problem["detail"], "the header Authorization is given twice: send one key");
    }
    let mut twice = asked("fpaas-tenant", "acme");
    assert_eq!(world.call(asked("fpaas-tenant", "acme")).await.status, 200);
    twice.headers_mut().append("fpaas-tenant", "local".parse().unwrap());
    let refused = world.call(twice).await;
    refused.refused(400, "invalid-request", &[""]);
    assert!(String::from_utf8_lossy(&refused.body).contains("FPaaS-Tenant is given twice"));
}

/// The scopes of keys, and which of them a route needs.
fn needed(needs: Needs) -> Option<Scope> {
    match needs {
        Needs::Scope(scope) => Some(scope),
        Needs::Change => Some(Scope::Write),
        Needs::Nothing | Needs::Metrics | Needs::Operator => None,
    }
}

fn refused_for(answer: &Answer, scope: Scope) {
    answer.refused(403, "insufficient-scope", &[]);
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["detail"], format!("this needs a key with the scope {}", scope.as_str()));
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_include_and_nothing_else() {
    let world = World::new().await;
    let mut keys = Vec::new();
    for scope in [Scope::Read, Scope::Write, Scope::Admin] {
        keys.push((scope, world.key("acme", &format!(r#"{{"scopes":["{}"]}}"#, scope.as_str())).await));
    }
    let mut refused = 0;
    for route in ROUTES {
        let Some(needed) = needed(route.needs) else { continue };
        let path = route.path.replace("{id}", "likes").replace("{name}", "out");
        for (scope, key) in &keys {
            let answer = world.ask(key, route.method, &path, "").await;
            if scope.includes(needed) {
                assert_ne!(answer.status, 403, "{} {path}", route.method);
            } else {
                refused_for(&answer, needed);
                refused += 1;
            }
        }
    }
    // Thirteen that need to write, and three for keys.
    assert_eq!(refused, 13 + 2 * 3);
}

#[tokio::test]
async fn what_needs_which_scope_is_as_the_page_says() {
    let of = |method: &str, path: &str| {
        ROUTES.iter().find(|route| route.method == method && route.path == path).map(|route| route.needs).unwrap()
    };
    let (read, write, keys) = (Needs::Scope(Scope::Read), Needs::Scope(Scope::Write), Needs::Scope(Scope::Admin));
    assert_eq!(of("GET", "/v1/subscriptions/{id}"), read);
    assert_eq!(of("GET", "/v1/subscriptions/{id}/deadLetters"), read);
    assert_eq!(of("POST", "/v1/jmespath:evaluate"), read);
    assert_eq!(of("GET", "/v1/topics/{name}/tail"), read);
    assert_eq!(of("GET", "/v1/subscriptions/{id}/secret"), write);
    assert_eq!(of("POST", "/v1/subscriptions/{id}:pause"), write);
    assert_eq!(of("POST", "/v1/subscriptions/{id}:test"), read);
    assert_eq!(of("DELETE", "/v1/subscriptions/{id}"), write);
    assert_eq!(of("PUT", "/v1/topics/{name}"), write);
    assert_eq!(of("GET", "/v1/keys"), keys);
    for route in ROUTES {
        assert_eq!(route.path.starts_with("/v1/admin/"), route.needs == Needs::Operator, "{}", route.path);
    }
}

#[tokio::test]
async fn a_dry_run_needs_to_read_and_what_it_tries_needs_to_write() {
    let world = World::new().await;
    let reads = world.key("acme", r#"{"scopes":["read"]}"#).await;
    let writes = world.key("acme", r#"{"scopes":["write"]}"#).await;
    let (path, body) = ("/v1/subscriptions/likes", format!(r#"{{"processor":{HOOK}}}"#));
    let ask = |key: &str, method: &'static str, query: &'static str| {
        let (key, path, body) = (key.to_owned(), format!("{path}{query}"), body.clone());
        let world = &world;
        async move { world.ask(&key, method, &path, &body).await }
    };
    ask(&reads, "PUT", "?dryRun=true").await.json(200);
    for query in ["", "?dryRun=false", "?dryRun", "?dryRun=true&dryRun=false"] {
        refused_for(&ask(&reads, "PUT", query).await, Scope::Write);
    }
    ask(&reads, "PUT", "?dryRun=true&dryRun=true").await.refused(400, "invalid-request", &["/dryRun"]);
    ask(&reads, "GET", "").await.refused(404, "not-found", &[]);
    ask(&writes, "PUT", "").await.json(201);
    ask(&reads, "PATCH", "?dryRun=true").await.json(200);
    refused_for(&ask(&reads, "PATCH", "").await, Scope::Write);
    ask(&reads, "GET", "").await.json(200);
}

#[tokio::test]
async fn a_filter_is_tried_by_who_may_read_and_a_webhook_called_by_who_may_write() {
    let world = World::new().await;
    let reads = world.key("acme", r#"{"scopes":["read"]}"#).await;
    let writes = world.key("acme", r#"{"scopes":["write"]}"#).await;
    let (path, body) = ("/v1/subscriptions/likes", format!(r#"{{"processor":{HOOK}}}"#));
    world.ask(&writes, "PUT", path, &body).await.json(201);
    let test = format!("{path}:test");
    let (filter, call) = (r#"{"events":[{"a":1}]}"#, r#"{"events":[{"a":1}],"call":true}"#);
    assert_eq!(world.ask(&reads, "POST", &test, filter).await.json(200)["call"], Value::Null);
    world.ask(&reads, "POST", &test, "").await.json(200);
    refused_for(&world.ask(&reads, "POST", &test, call).await, Scope::Write);
    assert_eq!(world.ask(&writes, "POST", &test, call).await.json(200)["call"]["status"], 200);
    for action in ["pause", "resume", "replay", "redrive", "rotateSecret"] {
        refused_for(&world.ask(&reads, "POST", &format!("{path}:{action}"), "").await, Scope::Write);
    }
}

#[tokio::test]
async fn a_key_is_replaced_while_both_work() {
    let world = World::new().await;
    let old = world.key("acme", r#"{"scopes":["admin"]}"#).await;
    let new = world.ask(&old, "POST", "/v1/keys", r#"{"scopes":["admin"]}"#).await.json(201);
    let new = new["key"].as_str().unwrap().to_owned();
    assert!(opens(&world, &old).await && opens(&world, &new).await);
    let more = world.ask(&new, "POST", "/v1/keys", r#"{"scopes":["read"]}"#).await;
    let id = more.json(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(more.headers["location"], format!("/v1/keys/{id}").as_str());
    assert_eq!(world.ask(&new, "DELETE", &format!("/v1/keys/{id}"), "").await.status, 204);
    let theirs = world.post(KEYS, r#"{"scopes":["read"]}"#).await;
    let place = theirs.headers["location"].to_str().unwrap();
    assert!(place.starts_with(&format!("{KEYS}/")), "{place}");
    assert_eq!(world.delete(place).await.status, 204);
    let path = format!("/v1/keys/{}", id_of(&old));
    assert_eq!(world.ask(&new, "DELETE", &path, "").await.status, 204);
    assert!(!opens(&world, &old).await && opens(&world, &new).await);
    world.ask(&new, "DELETE", &path, "").await.refused(404, "not-found", &[]);
    let left = world.ask(&new, "GET", "/v1/keys", "").await.json(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_minute_of_the_last_use_is_shown() {
    let world = World::new().await;
    let key = world.key("acme", r#"{"scopes":["read"]}"#).await;
    let used = || async { world.get(KEYS).await.json(200)["items"][0]["lastUsedAt"].clone() };
    assert_eq!(used().await, Value::Null);
    let wrong = format!("fpaas_{}_{}", id_of(&key), "0".repeat(64));
    assert!(!opens(&world, &wrong).await);
    assert_eq!(used().await, Value::Null);
    world.clock.advance(Duration::from_secs(59));
    assert!(opens(&world, &key).await);
    assert_eq!(used().await, "2026-11-23T20:00:00.000Z");
    world.clock.advance(Duration::from_secs(62));
    // Also where it does not permit what is asked.
    refused_for(&world.ask(&key, "GET", "/v1/keys", "").await, Scope::Admin);
    assert_eq!(used().await, "2026-11-23T20:02:00.000Z");
}

#[tokio::test]
async fn keys_are_listed_by_the_page_and_by_their_owner_alone() {
    let world = World::new().await;
    let admin = world.key("acme", r#"{"scopes":["admin"]}"#).await;
    for _ in 0..4 {
        world.key("acme", r#"{"scopes":["read"]}"#).await;
    }
    world.key("other", r#"{"scopes":["read"]}"#).await;
    let (mut found, mut query) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = world.ask(&admin, "GET", &format!("/v1/keys?limit=2{query}"), "").await.json(200);
        found.extend(page["items"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()));
        query = page["cursor"].as_str().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    }
    assert!(found.len() == 5 && found.is_sorted() && query.is_empty(), "{found:?} {query}");
    // The operator's own are those of the tenant it acts for.
    assert_eq!(world.get("/v1/keys").await.json(200)["items"], json!([]));
    world.post("/v1/keys", r#"{"scopes":["read"]}"#).await.json(201);
    assert_eq!(world.get("/v1/admin/tenants/local/keys").await.json(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_tail_ends_with_the_key_it_was_opened_with() {
    let world = World::new().await;
    for how in ["deleted", "expired"] {
        let key = world.key("acme", r#"{"scopes":["read"],"expiresAt":"2026-11-23T20:00:01Z"}"#).await;
        let mut asked = request("GET", "/v1/topics/firehose/tail", Body::empty());
        asked.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        let tail = world.send(asked).await;
        assert_eq!(tail.status(), 200);
        if how == "deleted" {
            world.delete(&format!("{KEYS}/{}", id_of(&key))).await;
        }
        let ended = axum::body::to_bytes(tail.into_body(), usize::MAX);
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        assert!(ended.is_ok_and(|body| body.is_ok()), "{how}");
    }
}

#[tokio::test]
async fn while_the_view_is_restored_a_key_is_not_called_wrong() {
    let world = World::new().await;
    let key = world.key("acme", r#"{"scopes":["read"]}"#).await;
    world.phase.send_replace(Phase::Starting);
    for key in [key.as_str(), KEY, "fpaas_0000000000000000_0"] {
        world.ask(key, "GET", "/v1/topics", "").await.refused(503, "unavailable", &[]);
    }
    let bare = world.call(Request::get("/v1/topics").body(Body::empty()).unwrap()).await;
    bare.refused(401, "unauthorized", &[]);
}
