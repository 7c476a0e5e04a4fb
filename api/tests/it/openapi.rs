//! The document is served, its examples run, and it is a document by the rules.

use std::collections::BTreeSet;

use fpaas_api::{OPENAPI, ROUTES, Route};
use serde_json::{Value, json};

use crate::world::{HOOK, World, record};

fn operations() -> Vec<(String, String, Value)> {
    let methods = |path: &String, methods: &Value| {
        let methods = methods.as_object().unwrap().clone();
        let path = path.clone();
        methods.into_iter().map(move |(method, it)| (method.to_ascii_uppercase(), path.clone(), it))
    };
    OPENAPI["paths"].as_object().unwrap().iter().flat_map(|(path, it)| methods(path, it)).collect()
}

/// With the examples of its parameters.
fn filled(path: &str, operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.filter(|it| it["in"] == "path").fold(path.to_owned(), |path, it| {
        path.replace(&format!("{{{}}}", it["name"].as_str().unwrap()), it["example"].as_str().unwrap())
    })
}

#[tokio::test]
async fn the_document_and_the_page_are_served_to_everybody() {
    let world = World::new().await;
    for (path, content_type) in [("/openapi.json", "application/json"), ("/docs", "text/html; charset=utf-8")] {
        let answer = world.call(http::Request::get(path).body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), &answer.headers["content-type"]), (200, &content_type.parse().unwrap()));
    }
    assert_eq!(world.get("/openapi.json").await.json(200), *OPENAPI);
}

/// What makes something first, what only looks then, and what removes at the end.
#[tokio::test]
async fn every_example_runs() {
    let world = World::new().await;
    world.append(&world.context.topics.firehose(), 3, (0..9).map(|n| record("did:x:y", "{}", n))).await;
    let mut all = operations();
    let order = |method: &str| ["PUT", "POST", "PATCH", "GET", "DELETE"].iter().position(|known| *known == method);
    let depth = |method: &str, path: &str| if method == "DELETE" { usize::MAX - path.len() } else { path.len() };
    all.sort_by_key(|(method, path, _)| (order(method), !path.starts_with("/v1/topics"), depth(method, path)));
    let mut ran = 0;
    for (method, path, operation) in &all {
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        let path = filled(path, operation);
        if body.is_null() || path.ends_with("/tail") {
            continue;
        }
        let answer = world.call(crate::world::request(method, &path, body.to_string().into())).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        ran += 1;
    }
    assert_eq!(ran, 14);
    // Keys apart, whose ids nobody can know before, the rest needs no body, and finds what was made.
    for (method, path, operation) in &all {
        let path = filled(path, operation);
        if !operation["requestBody"].is_null() || path.ends_with("/tail") || path.contains("/keys/") {
            continue;
        }
        let answer = world.call(crate::world::request(method, &path, "".into())).await;
        let deleting = method == "DELETE" && answer.status == 409;
        assert!(answer.status.is_success() || deleting, "{method} {path}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn names_in_the_document_are_those_that_are_taken() {
    let world = World::new().await;
    let pattern = |schema: &str| OPENAPI["components"]["schemas"][schema]["pattern"].clone();
    let contract = |schema: &str, name: &str| {
        let whole = serde_json::json!({"type": "string", "pattern": pattern(schema)});
        fpaas_testkit::contract::is_valid(&whole, &name.into())
    };
    for name in ["a", "0-a", "a.b", "c_d", "A", "-a", ".a", "_a", &"x".repeat(63), &"x".repeat(64)] {
        let topic = world.put(&format!("/v1/topics/{name}"), "{}").await.status.is_success();
        assert_eq!(contract("TopicName", name), topic, "{name}");
        world.delete(&format!("/v1/topics/{name}")).await;
        let body = format!(r#"{{"processor":{HOOK}}}"#);
        let subscription = world.put(&format!("/v1/subscriptions/{name}"), body).await.status.is_success();
        assert_eq!(contract("SubscriptionId", name), subscription, "{name}");
        let tenant = world.put(&format!("/v1/admin/tenants/{name}"), "{}").await.status.is_success();
        assert_eq!(contract("TenantId", name), tenant, "{name}");
    }
    for did in ["did:plc:a", "did:web:a.b:c", "did:plc:", "did:plc:a:", "did:PLC:a", "plc:a", "did:plc:a%"] {
        let body = format!(r#"{{"processor":{HOOK},"filter":{{"dids":["{did}"]}}}}"#);
        let taken = world.put("/v1/subscriptions/dids", body).await.status.is_success();
        assert_eq!(contract("Did", did), taken, "{did}");
    }
}

/// What the document lets through is taken, and what it does not is refused.
#[tokio::test]
async fn a_patch_is_what_the_document_says() {
    let world = World::new().await;
    let content = &OPENAPI["paths"]["/v1/subscriptions/{id}"]["patch"]["requestBody"]["content"];
    let names: Vec<_> = content.as_object().unwrap().keys().collect();
    assert_eq!(names, ["application/json", "application/merge-patch+json"]);
    let reference = json!({"$ref": "#/components/schemas/SubscriptionPatch"});
    assert!(content.as_object().unwrap().values().all(|media| media["schema"] == reference));
    let schema = &OPENAPI["components"]["schemas"]["SubscriptionPatch"];
    for (patch, taken) in [
        (json!({}), true),
        (json!({"collector": {"maxEvents": 500, "maxBytes": null}}), true),
        (json!({"collector": null, "filter": {"match": null, "kinds": ["commit"]}}), true),
        (json!({"metadata": {"a": "b", "c": null}}), true),
        (json!({"processor": {"webhook": {"url": "http://127.0.0.1:2/", "headers": {"x": null}}}}), true),
        (json!({"output": null, "state": "paused"}), true),
        (json!({"output": {"topic": "out"}}), true),
        (json!({"collector": {"maxEvents": 0}}), false),
        (json!({"collector": {"maxEvents": "1"}}), false),
        (json!({"nosuch": null}), false),
        (json!({"filter": {"nosuch": 1}}), false),
        (json!({"metadata": {"a": 1}}), false),
        (json!({"processor": {"webhook": {"nosuch": null}}}), false),
        (json!([]), false),
    ] {
        assert_eq!(fpaas_testkit::contract::is_valid(schema, &patch), taken, "{patch}");
        world.subscribe("likes", "").await;
        let answer = world.patch("/v1/subscriptions/likes", patch.to_string()).await;
        assert_eq!(answer.status.is_success(), taken, "{patch}");
    }
}

#[test]
fn every_route_is_an_operation_with_a_name_of_its_own() {
    let names = |it: &Value| it["operationId"].as_str().unwrap().to_owned();
    let ids: BTreeSet<_> = operations().iter().map(|(.., it)| names(it)).collect();
    assert_eq!((ids.len(), operations().len()), (ROUTES.len(), ROUTES.len()));
    let tags: Vec<_> = OPENAPI["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (method, path, it) in operations() {
        assert!(tags.contains(&&it["tags"][0]), "{method} {path}");
        let named: BTreeSet<_> = path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let parameters = it["parameters"].as_array().into_iter().flatten();
        let in_path: BTreeSet<_> =
            parameters.filter(|it| it["in"] == "path").map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(in_path, named, "{method} {path}");
        assert!(it["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2')), "{method} {path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(OPENAPI.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
                }
                fields.values().for_each(check);
            }
            Value::Array(items) => items.iter().for_each(check),
            _ => {}
        }
    }
    check(&OPENAPI);
    let text = OPENAPI.to_string();
    assert!(!text.contains("#/asked/") && !text.contains("#/answered/"));
}

#[test]
fn what_does_not_work_yet_is_not_in_it() {
    let text = OPENAPI.to_string();
    for word in ["reduce", "Not built yet"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn actions_of_one_route_have_the_same_method() {
    let resource = |route: &Route| route.path.split("}:").next();
    for route in ROUTES.iter().filter(|route| route.path.contains("}:")) {
        let same = ROUTES.iter().filter(|other| other.path.contains("}:") && resource(other) == resource(route));
        assert!(same.into_iter().all(|other| other.method == route.method));
    }
}

#[tokio::test]
async fn the_page_names_every_operation() {
    let world = World::new().await;
    let page = String::from_utf8(world.get("/docs").await.body.to_vec()).unwrap();
    for (.., it) in operations() {
        assert!(page.contains(&format!("<section id=\"{}\">", it["operationId"].as_str().unwrap())));
    }
}
