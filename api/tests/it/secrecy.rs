//! What must not be seen in the process's log, at any level.

use std::io;
use std::sync::{Arc, Mutex};

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
