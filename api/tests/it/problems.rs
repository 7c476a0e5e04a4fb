//! Everything that is refused, as `docs/errors.md` has it.

use axum::body::Body;
use fpaas_api::Phase;
use fpaas_core::limits;
use futures_util::StreamExt as _;
use http::Request;
use proptest::prop_assert;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::world::{KEY, World, record, request};

const LIKES: &str = "/v1/subscriptions/likes";

#[tokio::test]
async fn without_the_key_nothing_is_shown() {
    let world = World::new().await;
    let keys = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        KEY,
        "Basic YTpi",
        &format!("Bearer {KEY}x"),
        &format!("Basic {KEY}"),
    ];
    for key in keys {
        for path in ["/v1/subscriptions", "/v1/topics/firehose/tail", LIKES] {
            let answer = world.call(Request::get(path).header("authorization", key).body(Body::empty()).unwrap()).await;
            answer.refused(401, "unauthorized", &[]);
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"fpaas\"");
        }
    }
    let bare = world.call(Request::put(LIKES).body(Body::from("{}")).unwrap()).await;
    bare.refused(401, "unauthorized", &[]);
    let lower =
        Request::get("/v1/topics").header("authorization", format!("bearer {KEY}")).body(Body::empty()).unwrap();
    world.call(lower).await.json(200);
}

#[tokio::test]
async fn health_needs_no_key_and_readiness_follows_the_watch() {
    let world = World::new().await;
    let open = |path| world.call(Request::get(path).body(Body::empty()).unwrap());
    assert_eq!(open("/readyz").await.json(200)["ready"], true);
    world.phase.send_replace(Phase::Starting);
    assert_eq!(open("/readyz").await.json(503), json!({"ready": false, "phase": "starting"}));
    assert_eq!(open("/healthz").await.json(200)["version"], "1.2.3");
    let starting = world.get("/v1/subscriptions").await;
    starting.refused(503, "unavailable", &[]);
    assert_eq!(starting.headers["retry-after"], "1");
    for phase in [Phase::Assigning, Phase::Stopping] {
        world.phase.send_replace(phase);
        assert_eq!(open("/readyz").await.json(503)["ready"], false);
        world.get("/v1/subscriptions").await.json(200);
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let world = World::new().await;
    for path in ["/", "/v1", "/v2/topics", "/v1/subscriptions/", "/v1/subscriptions/a/b", "/v1/topics/x/records/1"] {
        world.get(path).await.refused(404, "not-found", &[]);
    }
    for (method, path) in [("POST", LIKES), ("PATCH", "/v1/topics/out"), ("PUT", "/readyz")] {
        let answer = world.call(request(method, path, Body::empty())).await;
        answer.refused(405, "method-not-allowed", &[]);
        assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::new().await;
    for id in ["likes", "No-Such", "a%2Fb", "%ff", &"x".repeat(64)] {
        for part in ["", "/status", "/secret", "/deadLetters"] {
            world.get(&format!("/v1/subscriptions/{id}{part}")).await.refused(404, "not-found", &[]);
        }
        world.delete(&format!("/v1/subscriptions/{id}")).await.refused(404, "not-found", &[]);
    }
}

#[tokio::test]
async fn a_bad_name_in_the_path_of_a_put_is_pointed_at() {
    let world = World::new().await;
    let answer = world
        .put("/v1/subscriptions/Likes", r#"{"lanes":0,"processor":{"webhook":{"url":"https://a.example/"}}}"#)
        .await;
    answer.refused(400, "invalid-request", &["/id", "/lanes"]);
    world.subscribe("likes", r#""id":"other""#).await.refused(400, "invalid-request", &["/id"]);
}

#[tokio::test]
async fn a_query_that_nobody_reads_is_refused() {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    for path in [LIKES, "/v1/subscriptions/likes/status", "/v1/subscriptions/likes/secret", "/v1/topics/firehose"] {
        world.get(&format!("{path}?verbose=1")).await.refused(400, "invalid-request", &["/verbose"]);
    }
    world.get("/v1/subscriptions?cursor=%00").await.refused(400, "invalid-request", &["/cursor"]);
    world.get("/v1/topics?limit=1e3&sort=x").await.refused(400, "invalid-request", &["/limit", "/sort"]);
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let world = World::new().await;
    for name in ["aa", "bb"] {
        world.subscribe(name, "").await.json(201);
        world.put(&format!("/v1/topics/{name}"), "{}").await.json(201);
        world.put(&format!("/v1/admin/tenants/{name}"), "{}").await.json(201);
        world.post("/v1/keys", r#"{"scopes":["read"]}"#).await.json(201);
    }
    world.append("fpaas.local.t.aa", 0, (0..2).map(|n| record("k", "1", n))).await;
    let lists = ["subscriptions", "topics", "admin/tenants", "keys", "topics/aa/records"];
    for list in lists {
        let page = world.get(&format!("/v1/{list}?limit=1")).await.json(200);
        let cursor = page["cursor"].as_str().unwrap();
        for other in lists {
            let answer = world.get(&format!("/v1/{other}?cursor={cursor}")).await;
            if other == list {
                answer.json(200);
            } else {
                answer.refused(400, "invalid-request", &["/cursor"]);
            }
        }
    }
    // Nor is any text, such as a name.
    for text in ["YWE", "L2Fh", ""] {
        world.get(&format!("/v1/subscriptions?cursor={text}")).await.refused(400, "invalid-request", &["/cursor"]);
    }
}

#[tokio::test]
async fn a_body_that_is_not_said_to_be_json_is_refused() {
    let world = World::new().await;
    for (name, value) in
        [("content-type", "text/plain"), ("content-type", "multipart/form-data"), ("content-encoding", "gzip")]
    {
        let mut request = request("PUT", "/v1/topics/out", Body::from("{}"));
        request.headers_mut().insert(name, value.parse().unwrap());
        world.call(request).await.refused(415, "unsupported-media-type", &[]);
    }
    // The last is what `curl -d` says without being told.
    for value in ["Application/JSON; charset=utf-8", "application/problem+json", "application/x-www-form-urlencoded"] {
        let mut request = request("PUT", "/v1/topics/out", Body::from("{}"));
        request.headers_mut().insert("content-type", value.parse().unwrap());
        let answer = world.call(request).await;
        answer.json(if value.starts_with('A') { 201 } else { 200 });
    }
}

#[tokio::test]
async fn hostile_bodies_are_refused() {
    let world = World::new().await;
    let deep = [r#"{"metadata":"#, &"[".repeat(100_000)].concat();
    let bodies: [&[u8]; 7] = [
        b"",
        b"\xff\xfe",
        b"{\"metadata\":{\"\xc3\":1}}",
        b"\xef\xbb\xbf{}",
        b"{}garbage",
        deep.as_bytes(),
        b"{\"lanes\":1e999}",
    ];
    for body in bodies {
        world.put(LIKES, body.to_vec()).await.refused(400, "invalid-request", &[""]);
    }
    for size in [1024 * 1024 + 1, 10 * 1024 * 1024, 20 * 1024 * 1024] {
        world.put(LIKES, vec![b' '; size]).await.refused(413, "content-too-large", &[]);
    }
    let endless = format!(r#"{{"filter":{{"match":"{}"}}}}"#, "a.".repeat(500_000));
    world.put(LIKES, endless).await.refused(400, "invalid-request", &["/filter/match", "/processor"]);
}

#[tokio::test]
async fn an_expression_that_is_none_is_pointed_at() {
    let world = World::new().await;
    for expression in ["a[", "nosuch(@)", "@ | ", "''["] {
        let answer = world.subscribe("likes", &format!(r#""filter":{{"match":"{expression}"}}"#)).await;
        answer.refused(400, "invalid-request", &["/filter/match"]);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_on() {
    let world = World::new().await;
    tokio::time::pause();
    let never = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    world.put("/v1/topics/out", never).await.refused(408, "request-timeout", &[]);
}

#[tokio::test]
async fn a_tenant_whose_bodies_take_too_much_is_told_so_and_others_send_theirs() {
    let world = World::new().await;
    let other = world.key("other", r#"{"scopes":["write"]}"#).await;
    let mib = bytes::Bytes::from(vec![b' '; limits::API_BODY_BYTES_MAX]);
    let mut arriving = Vec::new();
    for _ in 0..limits::API_BODIES_BYTES_EACH / mib.len() {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(mib.clone())]);
        let body = Body::from_stream(first.chain(futures_util::stream::pending()));
        let mut put = Box::pin(world.put("/v1/topics/out", body));
        assert!(futures_util::poll!(put.as_mut()).is_pending());
        arriving.push(put);
    }
    let refused = world.put("/v1/topics/out", "{}").await;
    refused.refused(429, "too-many-requests", &[]);
    let said = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(said.contains("the tenant local may have 8388608 bytes of bodies that arrive at a time"), "{said}");
    world.ask(&other, "PUT", "/v1/topics/out", "{}").await.json(201);
    arriving.pop();
    world.put("/v1/topics/out", "{}").await.json(201);
}

#[tokio::test]
async fn a_fault_of_ours_says_nothing_of_what_is_inside() {
    let world = World::new().await;
    world.log.close().unwrap();
    for answer in [world.get("/v1/topics/firehose").await, world.subscribe("likes", "").await] {
        answer.refused(500, "internal-error", &[]);
        assert!(!String::from_utf8_lossy(&answer.body).contains("closed"));
    }
}

#[test]
fn any_path_and_query_is_answered_below_500() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let path = "/v1/(topics|subscriptions)/[ -~]{0,12}(/(records|status|[a-z]{0,8}))?";
    let mut runner = TestRunner::new(proptest::test_runner::Config::with_cases(256));
    let run = runner.run(&(path, "[ -~]{0,20}"), |(path, query)| {
        let escape = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let uri = format!("{}?{query}", escape(&path).replace("%2F", "/").replace('+', "%20"));
        if uri.parse::<http::Uri>().is_ok() {
            let status = runtime.block_on(world.get(&uri)).status.as_u16();
            prop_assert!(status < 500, "{uri}: {status}");
        }
        Ok(())
    });
    run.unwrap();
}
