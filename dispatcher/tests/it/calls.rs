//! What a call looks like and what its answer becomes.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;

use crate::support::receiver::{Receiver, ok};
use crate::support::{World, secret, subscription, text};

#[tokio::test(flavor = "multi_thread")]
async fn events_are_batched_called_and_answered_into_the_output_topic() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..7).await;

    let results = world.read(&world.results(), 7).await;
    let values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    assert_eq!(values, (0..7).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>());
    let requests = receiver.requests();
    assert_eq!(requests.iter().map(|request| request.events().len()).collect::<Vec<_>>(), [3, 3, 1]);
    for (stored, n) in results.iter().zip(0..) {
        let batch = requests[n / 3].json()["batch"]["id"].as_str().unwrap().to_owned();
        assert_eq!(stored.record.headers.get_str("fpaas.batch"), Some(batch.as_str()));
        assert_eq!(stored.record.key.as_deref(), Some(format!("e{n}").as_bytes()));
    }
    assert_eq!(world.position(0).await.map(|position| position.offset.0), Some(7));
    // Counted just after the commit that others see.
    let counters = world.counters();
    world.stop().await;
    let counted = [&counters.batches, &counters.calls, &counters.failures, &counters.acknowledged, &counters.results];
    assert_eq!(counted.map(|counter| counter.get()), [3, 3, 0, 7, 7]);
    assert_eq!(counters.last_outcome().unwrap().status, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_signed_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..2).await;
    let request = receiver.request().await;

    let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
    let body = String::from_utf8(request.body.clone()).unwrap();
    let id = request.json()["batch"]["id"].as_str().unwrap().to_owned();
    let expected = format!(
        r#"{{"subscription":"likes","batch":{{"id":"{id}","lane":0,"firstOffset":0,"lastOffset":1}},"events":[{{"id":"e0","event":{{"n": 0}}}},{{"id":"e1","event":{{"n": 1}}}}]}}"#
    );
    assert_eq!(body, expected);
    assert_eq!(request.path, "/hook?token=secret");
    let expected = [
        ("webhook-id", id.as_str()),
        ("content-type", "application/json"),
        ("user-agent", "fpaas/test"),
        ("fpaas-subscription", "likes"),
        ("fpaas-attempt", "1"),
        ("fpaas-event-count", "2"),
        ("x-key", "k"),
    ];
    for (name, value) in expected {
        assert_eq!(header(name), value, "{name}");
    }
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret().key()).unwrap();
    mac.update(format!("{id}.{}.{body}", header("webhook-timestamp")).as_bytes());
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    world.put(subscription(&receiver.url, &json!({"collector": {"maxEvents": 1}}))).await;
    world.deliver(0..5).await;
    world.read(&world.results(), 5).await;
    assert_eq!(receiver.requests().iter().map(|request| request.connection).collect::<Vec<_>>(), [0; 5]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_makes_full_batches_whatever_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    // Nobody listens there, so a backlog gathers.
    world.put(subscription("http://127.0.0.1:9/", &json!({"collector": {"maxEvents": 2500, "maxWaitMs": 0}}))).await;
    for start in (0..6000).step_by(500) {
        world.deliver(start..start + 500).await;
    }
    world.put(subscription(&receiver.url, &json!({"collector": {"maxEvents": 2500, "maxWaitMs": 0}}))).await;
    world.read(&world.results(), 6000).await;
    let sizes: Vec<_> = receiver.requests().iter().map(|request| request.events().len()).collect();
    // The first was frozen when less was there; those that were collected from the backlog are full.
    assert_eq!(sizes.iter().sum::<usize>(), 6000);
    assert!(sizes.iter().filter(|size| **size == 2500).count() >= 1 && sizes.len() <= 4, "{sizes:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_output_any_answer_of_2xx_acknowledges() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) =
        (World::open(folder.path()).await, Receiver::start([ok("<html>"), ok("[1]")]).await);
    let plain = subscription(&receiver.url, &json!({"output": null, "collector": {"maxEvents": 1}}));
    world.put(plain).await;
    world.deliver(0..3).await;
    let first: Vec<_> = [receiver.request().await, receiver.request().await, receiver.request().await]
        .iter()
        .flat_map(|request| request.events())
        .collect();
    assert_eq!(first, ["e0", "e1", "e2"]);
    assert_eq!(world.counters().failures.get(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_go_to_other_topics_of_the_tenant_and_to_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let script = [ok(r#"[{"topic":"results","value":1}]"#), ok(r#"[{"topic":"firehose","value":2}]"#), ok("[3]")];
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start(script).await);
    world.put(subscription(&receiver.url, &json!({"collector": {"maxEvents": 1}}))).await;
    world.deliver(0..3).await;
    let results = world.read(&world.results(), 2).await;
    assert_eq!(results.iter().map(|stored| text(&stored.record)).collect::<Vec<_>>(), ["1", "3"]);
    // The result that goes nowhere is kept, and its batch is done.
    let dead = world.read(&world.dead_letters(), 1).await.remove(0).record;
    assert_eq!((text(&dead).as_str(), dead.headers.get_str("fpaas.error.reason")), ("2", Some("output")));
    assert!(dead.headers.get_str("fpaas.error.message").unwrap().contains("topic \"firehose\""));
    let counters = world.counters();
    world.stop().await;
    assert_eq!([&counters.dead_letters, &counters.results, &counters.failures].map(|of| of.get()), [1, 2, 0]);
    assert_eq!(counters.acknowledged.get(), 3);
}
