//! What shapes a body: frozen with its batch, whatever becomes of the subscription.

use fpaas_log::Record;
use serde_json::{Value, json};

use crate::support::receiver::{Receiver, status};
use crate::support::{World, event, subscription};

fn shaped(format: &str, compression: &str, payload: &Value) -> Value {
    json!({
        "processor": {"webhook": {"format": format, "compression": compression, "payload": payload}},
        "retry": {"initialBackoffMs": 1500, "maxBackoffMs": 1500},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_its_shape_over_a_restart_and_a_new_revision() {
    for (format, compression, payload, kind) in [
        ("ndjson", "gzip", json!("{n: n}"), "application/x-ndjson"),
        ("cloudevents-batch", "zstd", Value::Null, "application/cloudevents-batch+json"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut receiver = Receiver::answering(|_| status(503)).await;
        let mut world = World::open(folder.path()).await;
        world.put(subscription(&receiver.url, &shaped(format, compression, &payload))).await;
        world.deliver(0..3).await;
        let first = receiver.request().await;
        world.put(subscription(&receiver.url, &shaped("json", "none", &Value::Null))).await;
        world.stop().await;
        receiver.requests();

        let world = World::open(folder.path()).await;
        let again = receiver.request().await;
        for name in ["webhook-id", "content-type", "content-encoding", "fpaas-event-count", "fpaas-last-offset"] {
            assert_eq!(again.headers[name], first.headers[name], "{name}");
        }
        assert_eq!((&*again.headers["content-type"], &*again.headers["content-encoding"]), (kind, compression));
        assert!(again.body == first.body);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_payload_are_dead_letters_and_the_rest_of_their_batch_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([]).await;
    let mut world = World::open(folder.path()).await;
    world.put(subscription(&receiver.url, &shaped("json", "none", &json!("{twice: abs(n)}")))).await;
    let words = |number: u32| Record { value: Some(r#"{"n":"no number"}"#.into()), ..event(number) };
    world.append(0, vec![event(0), words(1), event(2)]).await;
    let request = receiver.request().await;
    assert_eq!((request.events(), &*request.headers["fpaas-event-count"]), (vec!["e0".into(), "e2".into()], "2"));
    assert_eq!(request.json()["events"][1]["event"], json!({"twice": 2.0}));
    let results = world.read(&world.results(), 2).await;
    assert_eq!(results.len(), 2);

    // Of a whole batch: its endpoint is not called, and nothing is learned of it.
    world.append(0, vec![words(3), words(4), words(5), event(6)]).await;
    assert_eq!(receiver.request().await.events(), ["e6"]);
    let letters = world.read(&world.dead_letters(), 4).await;
    for (stored, (id, attempts)) in letters.iter().zip([("e1", "1"), ("e3", "0"), ("e4", "0"), ("e5", "0")]) {
        let header = |name: &str| stored.record.headers.get_str(name).unwrap();
        assert_eq!((header("id"), header("fpaas.error.reason")), (id, "payloadFailed"));
        assert_eq!(header("fpaas.error.attempts"), attempts, "{id}");
        assert!(header("fpaas.error.message").starts_with("no payload can be made of the event: "));
    }
    assert_eq!((world.counters().calls.get(), world.counters().failures.get()), (2, 0));
    world.stop().await;
}
