//! What must not be seen in the process's log, at any level.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{KEY, World};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn values_of_a_webhooks_headers_are_seen_by_those_who_may_change_them() {
    let world = World::new().await;
    let reads = world.key("acme", r#"{"scopes":["read"]}"#).await;
    let writes = world.key("acme", r#"{"scopes":["write"]}"#).await;
    let path = "/v1/subscriptions/likes";
    let body =
        r#"{"processor":{"webhook":{"url":"http://a/","headers":{"authorization":"Basic c2VzYW1l","x~y":"z"}}}}"#;
    let pointer = "/processor/webhook/headers";
    let headers = json!({"authorization": "Basic c2VzYW1l", "x~y": "z"});
    let made = world.ask(&writes, "PUT", path, body).await.json(201);
    assert_eq!(made.pointer(pointer), Some(&headers));
    let masks = json!({"authorization": "***", "x~y": "***"});
    let shown = world.ask(&reads, "GET", path, "").await.json(200);
    assert_eq!(shown.pointer(pointer), Some(&masks));
    let listed = world.ask(&reads, "GET", "/v1/subscriptions", "").await.json(200);
    assert_eq!(listed["items"][0].pointer(pointer), Some(&masks));
    let dry = world.ask(&reads, "PATCH", &format!("{path}?dryRun=true"), r#"{"lanes":1}"#).await.json(200);
    assert_eq!(dry["subscription"].pointer(pointer), Some(&masks));
    for answer in ["/status", "/deadLetters"] {
        let answer = world.ask(&reads, "GET", &format!("{path}{answer}"), "").await;
        assert!(!answer.json(200).to_string().contains("c2VzYW1l"));
    }
    // What was seen like this cannot be put, and a patch keeps what is there.
    let whole = shown.to_string();
    let pointers = ["/processor/webhook/headers/authorization", "/processor/webhook/headers/x~0y"];
    for query in ["", "?dryRun=true"] {
        let put = world.ask(&writes, "PUT", &format!("{path}{query}"), &whole).await;
        put.refused(400, "invalid-request", &pointers);
    }
    for patch in [
        whole.as_str(),
        r#"{"metadata":{"a":"b"}}"#,
        &json!({"processor": {"webhook": {"headers": masks}}}).to_string(),
    ] {
        let patched = world.ask(&writes, "PATCH", path, patch).await.json(200);
        assert_eq!(patched.pointer(pointer), Some(&headers), "{patch}");
    }
    let unknown = r#"{"processor":{"webhook":{"headers":{"x-new":"***"}}}}"#;
    let refused = world.ask(&writes, "PATCH", path, unknown).await;
    refused.refused(400, "invalid-request", &["/processor/webhook/headers/x-new"]);
    assert_eq!(
        world.ask(&writes, "GET", "/v1/subscriptions", "").await.json(200)["items"][0].pointer(pointer),
        Some(&headers)
    );
}

#[tokio::test]
async fn neither_key_nor_secret_is_logged() {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(kept.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let world = World::new().await;
    let secret = world.subscribe("likes", "").await.json(201)["secret"].as_str().unwrap().to_owned();
    world.get("/v1/subscriptions/likes/secret").await.json(200);
    let brought = secret.replace("whsec_", "whsec_AAAA");
    let body = format!(r#"{{"lanes":0,"processor":{{"webhook":{{"url":"http://a/","secret":"{brought}"}}}}}}"#);
    let refused = world.put("/v1/subscriptions/likes", body).await;
    refused.refused(400, "invalid-request", &["/lanes"]);
    let unread = format!(r#"{{"processor":{{"webhook":{{"url":"http://a/","secret":"{brought}!"}}}}}}"#);
    let refused = world.put("/v1/subscriptions/likes", unread).await;
    refused.refused(400, "invalid-request", &["/processor/webhook/secret"]);
    assert!(!String::from_utf8_lossy(&refused.body).contains(&brought));
    tracing::info!("the end of the log");
    drop(guard);
    let logged = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("the end of the log"));
    for hidden in [KEY, &secret, &brought, "whsec_"] {
        assert!(!logged.contains(hidden), "{hidden} in {logged}");
    }
    let context = format!("{:?}", world.context);
    assert!(!context.contains("whsec_"), "{context}");
}
