//! Tenants beside each other: what is one's is not there for another, on any route; and the operator's routes.

use axum::body::Body;
use fpaas_api::{Needs, ROUTES, Route};
use fpaas_log::{Log, TopicSpec};
use serde_json::{Value, json};

use crate::world::{Answer, HOOK, KEY, World, record, request};

const EVERYTHING: &str = r#"{"scopes":["admin"]}"#;

/// What one tenant has, all of it with its name in it.
struct Acme {
    key: String,
    key_id: String,
    secret: String,
}

impl Acme {
    async fn new(world: &World) -> Self {
        let key = world.key("acme", r#"{"scopes":["admin"],"description":"of acme"}"#).await;
        let subscription = format!(
            r#"{{"processor":{HOOK},"startFrom":"earliest","output":{{"topic":"acme-results"}},"metadata":{{"by":"acme"}}}}"#
        );
        let made = world.ask(&key, "PUT", "/v1/subscriptions/acme-likes", &subscription).await.json(201);
        let secret = made["secret"].as_str().unwrap().to_owned();
        let topics = &world.context.topics;
        let entry = world.context.control.view().subscriptions.values().next().unwrap().clone();
        world.append("fpaas.acme.t.acme-results", 0, [record("acme", r#"{"by":"acme"}"#, 0)]).await;
        let dead = topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation);
        world.append(&dead, 0, [record("acme", r#"{"by":"acme"}"#, 0)]).await;
        let key_id = key.split('_').nth(1).unwrap().to_owned();
        Self { key, key_id, secret }
    }

    /// The path of its own thing.
    fn path(&self, route: &Route) -> String {
        let names = [("{name}", "acme-results"), ("{keyId}", &self.key_id)];
        let id = match route.path {
            path if path.starts_with("/v1/admin/") => "acme",
            path if path.starts_with("/v1/keys/") => &self.key_id,
            _ => "acme-likes",
        };
        names.iter().fold(route.path.replace("{id}", id), |path, (name, text)| path.replace(name, text))
    }

    /// That nothing of it is in an answer, but for what was asked for.
    fn is_not_in(&self, answer: &Answer, path: &str) {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let asked = path.split(['/', ':']).filter(|part| part.len() > 1);
        let rest = asked.fold(body, |body, part| body.replace(part, ""));
        for name in [&self.key, &self.key_id, &self.secret, "acme"] {
            assert!(!rest.contains(name), "{path}: {rest}");
        }
    }

    async fn seen(&self, world: &World) -> Vec<Value> {
        let mut seen = Vec::new();
        for path in ["subscriptions", "topics", "subscriptions/acme-likes/secret", "topics/acme-results/records"] {
            seen.push(world.ask(&self.key, "GET", &format!("/v1/{path}"), "").await.json(200));
        }
        let status = world.ask(&self.key, "GET", "/v1/subscriptions/acme-likes/status", "").await.json(200);
        seen.push(status["revision"].clone());
        seen
    }
}

/// What another tenant is answered.
enum Expected {
    NotFound,
    /// A list of what is its own.
    Items(Vec<&'static str>),
    /// It makes something of its own.
    Made,
    /// It is about nobody.
    Answered,
}

/// Every route that is behind a key: a new one has to be thought about here.
fn expected(route: &Route) -> Expected {
    match (route.method, route.path) {
        ("GET", "/v1/subscriptions") => Expected::Items(vec![]),
        ("GET", "/v1/topics") => Expected::Items(vec!["firehose"]),
        ("GET", "/v1/keys") => Expected::Items(vec!["of rival"]),
        ("PUT", "/v1/subscriptions/{id}" | "/v1/topics/{name}") | ("POST", "/v1/keys") => Expected::Made,
        ("POST", "/v1/jmespath:evaluate") => Expected::Answered,
        ("GET" | "PATCH" | "DELETE", "/v1/subscriptions/{id}") | ("DELETE", "/v1/keys/{id}" | "/v1/topics/{name}") => {
            Expected::NotFound
        }
        ("POST", path) if path.starts_with("/v1/subscriptions/{id}:") => Expected::NotFound,
        ("DELETE", "/v1/subscriptions/{id}/replay" | "/v1/subscriptions/{id}/redrive") => Expected::NotFound,
        ("GET", path) if path.starts_with("/v1/subscriptions/{id}/") => Expected::NotFound,
        ("GET", path) if path.starts_with("/v1/topics/{name}") => Expected::NotFound,
        (_, path) if path.starts_with("/v1/admin/") => Expected::NotFound,
        other => panic!("what is another tenant answered by {other:?}?"),
    }
}

fn body(route: &Route) -> String {
    match (route.method, route.path) {
        ("PUT" | "PATCH", "/v1/subscriptions/{id}") => format!(r#"{{"processor":{HOOK}}}"#),
        ("POST", "/v1/jmespath:evaluate") => r#"{"expression":"a","events":[]}"#.to_owned(),
        ("POST", path) if path.ends_with("/keys") => r#"{"scopes":["read"]}"#.to_owned(),
        ("PUT", _) => "{}".to_owned(),
        _ => String::new(),
    }
}

fn behind_a_key() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| !matches!(route.needs, Needs::Nothing | Needs::Metrics))
}

#[tokio::test]
async fn what_is_one_tenants_is_not_there_for_another_on_any_route() {
    let world = World::new().await;
    let acme = Acme::new(&world).await;
    let rival = world.key("rival", r#"{"scopes":["admin"],"description":"of rival"}"#).await;
    let before = acme.seen(&world).await;
    let mut walked = 0;
    // What makes something comes last: afterwards there is something of the name that is asked for.
    let (making, asking): (Vec<_>, Vec<_>) =
        behind_a_key().partition(|route| matches!(expected(route), Expected::Made));
    for route in asking.into_iter().chain(making) {
        let path = acme.path(route);
        let answer = world.ask(&rival, route.method, &path, &body(route)).await;
        acme.is_not_in(&answer, &path);
        match expected(route) {
            Expected::NotFound => answer.refused(404, "not-found", &[]),
            Expected::Answered => drop(answer.json(200)),
            Expected::Made => drop(answer.json(201)),
            Expected::Items(names) => {
                let listed = answer.json(200)["items"].as_array().unwrap().clone();
                let name = |item: &Value| {
                    ["description", "name", "id"].iter().find_map(|of| Some(item[of].as_str()?.to_owned()))
                };
                assert_eq!(listed.iter().map(|item| name(item).unwrap()).collect::<Vec<_>>(), names);
            }
        }
        walked += 1;
    }
    assert_eq!(walked, 40);
    for action in ["resume", "rotateSecret", "pause"] {
        // By now it has one of its own.
        let own = world.ask(&rival, "POST", &format!("/v1/subscriptions/acme-likes:{action}"), "").await;
        assert_eq!(own.status, 200);
    }
    assert_eq!(acme.seen(&world).await, before);
    // The same walk finds it all with acme's own key.
    for action in ["replay", "redrive"] {
        world.ask(&acme.key, "POST", &format!("/v1/subscriptions/acme-likes:{action}"), "").await.json(200);
    }
    for route in behind_a_key().filter(|route| route.method == "GET" && !route.path.contains("admin")) {
        let answer = world.send(request_of(&acme.key, "GET", &acme.path(route), "")).await;
        assert_eq!(answer.status(), 200, "{}", route.path);
    }
}

fn request_of(key: &str, method: &str, path: &str, body: &str) -> http::Request<Body> {
    let mut request = request(method, path, Body::from(body.to_owned()));
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

#[tokio::test]
async fn each_tenant_has_names_of_its_own_and_topics_under_its_prefix() {
    let world = World::new().await;
    let keys = [world.key("one", EVERYTHING).await, world.key("two", EVERYTHING).await];
    for key in &keys {
        let body = format!(r#"{{"processor":{HOOK},"output":{{"topic":"out"}}}}"#);
        world.ask(key, "PUT", "/v1/subscriptions/likes", &body).await.json(201);
    }
    let topics = fpaas_log::Log::list_topics(&*world.log, "fpaas.").await.unwrap();
    for tenant in ["one", "two"] {
        let theirs: Vec<_> = topics.iter().filter(|topic| topic.starts_with(&format!("fpaas.{tenant}."))).collect();
        assert_eq!(theirs.len(), 4, "{topics:?}");
    }
    world.ask(&keys[0], "DELETE", "/v1/subscriptions/likes", "").await;
    world.ask(&keys[0], "GET", "/v1/subscriptions/likes", "").await.refused(404, "not-found", &[]);
    world.ask(&keys[1], "GET", "/v1/subscriptions/likes", "").await.json(200);
    // The operator acts for the tenant that was there from the start.
    world.get("/v1/subscriptions/likes").await.refused(404, "not-found", &[]);
}

#[tokio::test]
async fn the_operator_acts_for_the_tenant_it_names_and_nobody_else_does() {
    let world = World::new().await;
    let acme = world.key("acme", EVERYTHING).await;
    world.ask(&acme, "PUT", "/v1/topics/out", "{}").await.json(201);
    let named = |key: &str, tenant: &str| {
        let mut request = request_of(key, "GET", "/v1/topics/out", "");
        request.headers_mut().insert("fpaas-tenant", tenant.parse().unwrap());
        world.call(request)
    };
    named(KEY, "acme").await.json(200);
    named(KEY, "local").await.refused(404, "not-found", &[]);
    for unknown in ["nobody", "No-Tenant", ""] {
        named(KEY, unknown).await.refused(404, "not-found", &[]);
    }
    named(&acme, "acme").await.json(200);
    for other in ["local", "nobody", "No-Tenant"] {
        named(&acme, other).await.refused(404, "not-found", &[]);
    }
    let mut put = request_of(KEY, "PUT", "/v1/topics/more", "{}");
    put.headers_mut().insert("fpaas-tenant", "acme".parse().unwrap());
    world.call(put).await.json(201);
    world.ask(&acme, "GET", "/v1/topics/more", "").await.json(200);
}

#[tokio::test]
async fn tenants_are_put_read_listed_and_deleted_in_the_revision_that_is_expected() {
    let world = World::new().await;
    let made = world.put("/v1/admin/tenants/acme", "{}").await;
    assert_eq!(made.json(201), json!({"id": "acme", "pool": "acme"}));
    assert_eq!(made.headers["location"], "/v1/admin/tenants/acme");
    let first = made.headers["etag"].to_str().unwrap().to_owned();
    let shown = world.get("/v1/admin/tenants/acme").await;
    assert_eq!((shown.json(200), shown.headers["etag"].to_str().unwrap()), (made.json(201), first.as_str()));
    let again = world.put("/v1/admin/tenants/acme", shown.body).await;
    again.json(200);
    assert_ne!(again.headers["etag"], first.as_str());
    world.put("/v1/admin/tenants/shared", r#"{"pool":"_free"}"#).await.json(201);
    assert_eq!(world.put("/v1/admin/tenants/shared", "{}").await.json(200)["pool"], "_free");

    for (method, name, tag) in
        [("PUT", "if-match", first.as_str()), ("PUT", "if-none-match", "*"), ("DELETE", "if-match", &first)]
    {
        let mut request = request(method, "/v1/admin/tenants/acme", Body::from("{}"));
        request.headers_mut().insert(name, tag.parse().unwrap());
        world.call(request).await.refused(412, "precondition-failed", &[]);
    }
    let mut known = request("GET", "/v1/admin/tenants/acme", Body::empty());
    known.headers_mut().insert("if-none-match", again.headers["etag"].clone());
    assert_eq!(world.call(known).await.status, 304);

    let page = world.get("/v1/admin/tenants?limit=2").await.json(200);
    assert_eq!(page["items"], json!([{"id": "acme", "pool": "acme"}, {"id": "local", "pool": "local"}]));
    let path = format!("/v1/admin/tenants?cursor={}", page["cursor"].as_str().unwrap());
    let rest = world.get(&path).await.json(200);
    assert_eq!(rest, json!({"items": [{"id": "shared", "pool": "_free"}], "cursor": null}));

    assert_eq!(world.delete("/v1/admin/tenants/acme").await.status, 204);
    for method in ["GET", "DELETE"] {
        let gone = world.call(request(method, "/v1/admin/tenants/acme", Body::empty())).await;
        gone.refused(404, "not-found", &[]);
    }
}

/// Nobody made it, and it is there all the same.
#[tokio::test]
async fn the_tenant_that_is_always_there_is_so_in_revision_0() {
    let world = World::new().await;
    let path = "/v1/admin/tenants/local";
    let asked = |method: &'static str, name: &'static str, tag: &str| {
        let mut request = request(method, path, Body::from("{}"));
        request.headers_mut().insert(name, tag.parse().unwrap());
        world.call(request)
    };
    assert_eq!(world.get(path).await.headers["etag"], "\"0\"");
    assert_eq!(asked("GET", "if-none-match", "\"0\"").await.status, 304);
    let refused = asked("PUT", "if-none-match", "*").await;
    refused.refused(412, "precondition-failed", &[]);
    assert_eq!(refused.headers["etag"], "\"0\"");
    asked("PUT", "if-match", "\"7\"").await.refused(412, "precondition-failed", &[]);
    asked("DELETE", "if-match", "\"7\"").await.refused(412, "precondition-failed", &[]);
    let put = asked("PUT", "if-match", "\"0\"").await;
    put.json(200);
    assert_eq!(world.get(path).await.headers["etag"], put.headers["etag"]);
    asked("PUT", "if-match", "*").await.json(200);
}

#[tokio::test]
async fn what_a_tenant_cannot_be_is_pointed_at() {
    let world = World::new().await;
    let world = &world;
    let put = |name: &'static str, body: &'static str| async move {
        world.put(&format!("/v1/admin/tenants/{name}"), body).await
    };
    put("acme", r#"{"id":"other","pool":"other"}"#).await.refused(400, "invalid-request", &["/id", "/pool"]);
    put("acme", r#"{"pool":"A","quota":1}"#).await.refused(400, "invalid-request", &["/pool", "/quota"]);
    put("No_Tenant", r#"{"quota":1}"#).await.refused(400, "invalid-request", &["/id", "/quota"]);
    put("acme", r#"{"pool":"_free"}"#).await.json(201);
    world.delete("/v1/admin/tenants/local").await.refused(409, "conflict", &[""]);
    let key = world.key("acme", EVERYTHING).await;
    world.ask(&key, "PUT", "/v1/topics/out", "{}").await.json(201);
    world.delete("/v1/admin/tenants/acme").await.refused(409, "conflict", &[""]);
}

#[tokio::test]
async fn a_tenant_that_is_put_into_another_pool_moves_and_stays_until_it_is_there() {
    let world = World::new().await;
    let path = "/v1/admin/tenants/acme";
    world.put(path, "{}").await.json(201);
    let moving = json!({"id": "acme", "pool": "_free", "moving": {"from": "acme"}});
    assert_eq!(world.put(path, r#"{"pool":"_free"}"#).await.json(200), moving);
    // What was read may be put, and says nothing new.
    assert_eq!(world.put(path, moving.to_string()).await.json(200), moving);
    for pool in ["acme", "_other"] {
        world.put(path, json!({"pool": pool}).to_string()).await.refused(409, "conflict", &["/pool"]);
    }
    world.delete(path).await.refused(409, "conflict", &[""]);
    assert_eq!(world.get(path).await.json(200), moving);
    let page = world.get("/v1/admin/tenants?limit=1").await.json(200);
    assert_eq!(page["items"], json!([moving]));
    world.subscribe("likes", "").await.json(201);
    let local = json!({"id": "local", "pool": "_free", "moving": {"from": "local"}});
    assert_eq!(world.put("/v1/admin/tenants/local", r#"{"pool":"_free"}"#).await.json(200), local);
    let status = world.get("/v1/subscriptions/likes/status").await.json(200);
    let why = "it is moving from the pool local to _free; each part goes on where it stands as soon as it is there";
    assert_eq!((&status["state"], &status["reason"]), (&json!("active"), &json!(why)));
}

#[tokio::test]
async fn a_tenant_that_is_removed_takes_its_keys_along() {
    let world = World::new().await;
    let key = world.key("acme", EVERYTHING).await;
    world.ask(&key, "GET", "/v1/topics", "").await.json(200);
    assert_eq!(world.delete("/v1/admin/tenants/acme").await.status, 204);
    world.ask(&key, "GET", "/v1/topics", "").await.refused(401, "unauthorized", &[]);
    let again = world.key("acme", EVERYTHING).await;
    world.ask(&key, "GET", "/v1/topics", "").await.refused(401, "unauthorized", &[]);
    world.ask(&again, "GET", "/v1/topics", "").await.json(200);
}

#[tokio::test]
async fn a_tenant_that_is_removed_takes_its_delivery_log_along_and_no_others() {
    let world = World::new().await;
    let key = world.key("acme", EVERYTHING).await;
    let path = "/v1/subscriptions/likes";
    let body = format!(r#"{{"processor":{HOOK}}}"#);
    world.ask(&key, "PUT", path, &body).await.json(201);
    let attempts = ["acme", "local"].map(|of| {
        let tenant = fpaas_core::TenantId::parse(of).unwrap();
        world.context.topics.attempts(&tenant)
    });
    for topic in &attempts {
        Log::create_topic(&*world.log, topic, &TopicSpec::kept(1)).await.unwrap();
    }
    assert_eq!(world.ask(&key, "DELETE", path, "").await.status, 204);
    assert_eq!(world.delete("/v1/admin/tenants/acme").await.status, 204);
    let mut views = world.context.control.views();
    views.wait_for(|view| view.deleted.is_empty()).await.unwrap();
    let there = attempts.each_ref().map(|topic| Log::describe_topic(&*world.log, topic));
    let [acme, local] = there;
    assert_eq!((acme.await.unwrap().is_some(), local.await.unwrap().is_some()), (false, true));
}

#[tokio::test]
async fn the_operators_numbers_are_not_a_tenants_and_name_each() {
    let closed = fpaas_api::Config { open_metrics: false, ..crate::world::config() };
    let world = World::new().await.configured(closed);
    let acme = Acme::new(&world).await;
    world.subscribe("likes", "").await.json(201);
    world.ask(&acme.key, "GET", "/metrics", "").await.refused(404, "not-found", &[]);
    let text = String::from_utf8(world.get("/metrics").await.body.to_vec()).unwrap();
    let served = fpaas_testkit::openmetrics::parse(&text).unwrap();
    for labels in [("acme", "acme-likes"), ("local", "likes")] {
        for family in ["fpaas_webhook_calls", "fpaas_subscription_stopped"] {
            let value = served[family].value(&[("tenant", labels.0), ("subscription", labels.1)]);
            assert_eq!(value, Some(0.0), "{family} {labels:?}");
        }
    }
    assert!(!text.contains(&acme.key_id) && !text.contains("route=\"/v1/subscriptions/acme"), "{text}");
}
