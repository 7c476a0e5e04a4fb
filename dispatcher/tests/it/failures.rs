//! Calls that fail: what is tried again, and what becomes of what is given up on.

use std::time::Duration;

use fpaas_core::limits;
use fpaas_log::Log as _;
use serde_json::{Value, json};

use crate::support::receiver::{Receiver, Reply, ok, status};
use crate::support::{PATIENCE, World, event, subscription, text};

/// Seven events against `script`: all results, and the requests. Every repeat has the id and the bytes of its first.
async fn check_recovers(script: Vec<Reply>, calls: u64, failures: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start(script.clone()).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..7).await;
    let results = world.read(&world.results(), 7).await;
    let values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    assert_eq!(values, (0..7).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>(), "{script:?}");
    let mut bodies = std::collections::BTreeMap::new();
    for request in receiver.requests() {
        let id = request.headers["webhook-id"].clone();
        assert_eq!(*bodies.entry(id).or_insert_with(|| request.body.clone()), request.body);
    }
    assert_eq!(bodies.len(), 3);
    let counters = world.counters();
    assert_eq!((counters.calls.get(), counters.failures.get()), (calls, failures), "{script:?}");
    assert_eq!(counters.dead_letters.get(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_is_repeated_with_the_same_id_and_the_same_bytes() {
    check_recovers(vec![status(503)], 4, 1).await;
    check_recovers(vec![status(500), status(429), status(408)], 6, 3).await;
    check_recovers(vec![Reply::Cut], 4, 1).await;
    check_recovers(vec![Reply::Echo, Reply::Cut, Reply::Cut], 5, 2).await;
    check_recovers(vec![Reply::CutBody], 4, 1).await;
    check_recovers(vec![Reply::Hang], 4, 1).await;
    check_recovers(vec![ok("<html>"), ok(r#"{"results":[1]}"#)], 5, 2).await;
    check_recovers(vec![Reply::Answer { status: 503, headers: "retry-after: 0\r\n", body: "busy".to_owned() }], 4, 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_connection_is_tried_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let script = [Reply::Echo, Reply::Cut];
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start(script).await);
    let slow = json!({"retry": {"initialBackoffMs": 3_600_000, "maxBackoffMs": 3_600_000}});
    world.put(subscription(&receiver.url, &slow)).await;
    world.deliver(0..6).await;
    world.read(&world.results(), 6).await;
    let attempts: Vec<_> = receiver.requests().iter().map(|request| request.headers["fpaas-attempt"].clone()).collect();
    assert_eq!(attempts, ["1", "1", "2"]);
    world.stop().await;
}

/// One event against `script` with `more` in its subscription: the headers of the dead letter it becomes.
async fn check_dead_letter(script: Vec<Reply>, more: &Value, reason: &str, code: Option<&str>, attempts: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start(script).await);
    world.put(subscription(&receiver.url, more)).await;
    world.deliver(0..1).await;
    let dead = world.read(&world.dead_letters(), 1).await.remove(0).record;
    let header = |name: &str| dead.headers.get_str(&format!("fpaas.error.{name}"));
    assert_eq!((header("reason"), header("status"), header("attempts")), (Some(reason), code, Some(attempts)));
    assert_eq!(header("stage"), Some("dispatcher"));
    let request = receiver.request().await;
    assert_eq!(header("batchId"), Some(request.headers["webhook-id"].as_str()));
    assert!(header("firstFailedAt") <= header("lastFailedAt") && header("firstFailedAt").is_some());
    assert!(!header("message").unwrap().contains("token"), "{dead:?}");
    assert_eq!((dead.headers.get_str("id"), dead.headers.get_str("kind")), (Some("e0"), Some("commit")));
    assert_eq!((text(&dead).as_str(), dead.key.as_deref()), (r#"{"n": 0}"#, Some(&b"did:plc:0"[..])));
    // The lane goes on.
    world.deliver(1..2).await;
    assert_eq!(text(&world.read(&world.results(), 1).await[0].record), r#"{"n":1}"#);
    assert_eq!(world.counters().dead_letters.get(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_on_is_kept_with_the_reason() {
    let none = json!({});
    let once = json!({"retry": {"maxElapsedMs": 0}});
    check_dead_letter(vec![status(400)], &none, "status", Some("400"), "1").await;
    check_dead_letter(vec![status(301)], &none, "redirect", Some("301"), "1").await;
    check_dead_letter(vec![status(501)], &none, "status", Some("501"), "1").await;
    check_dead_letter(vec![status(503)], &once, "status", Some("503"), "1").await;
    check_dead_letter(vec![ok("<html>")], &once, "badResponse", Some("200"), "1").await;
    check_dead_letter(vec![Reply::Cut], &once, "cut", None, "1").await;
    check_dead_letter(vec![Reply::CutBody], &once, "cut", None, "1").await;
    let hasty = json!({"retry": {"maxElapsedMs": 0}, "processor": {"webhook": {"timeoutMs": 100}}});
    check_dead_letter(vec![Reply::Hang], &hasty, "timeout", None, "1").await;
    let abort = Reply::Answer { status: 500, headers: "webhook-delivery: abort-message\r\n", body: String::new() };
    check_dead_letter(vec![abort], &none, "aborted", Some("500"), "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_above_the_limit_is_a_bad_response() {
    let long = format!("[\"{}\"]", "a".repeat(limits::RESPONSE_BYTES_MAX));
    let once = json!({"retry": {"maxElapsedMs": 0}, "processor": {"webhook": {"timeoutMs": 20_000}}});
    check_dead_letter(vec![ok(&long)], &once, "badResponse", Some("200"), "1").await;
}

/// A delivery of `bytes` that is given up on: what of it is left out of its dead letter. The lane goes on.
async fn check_large_dead_letter(bytes: usize, omitted: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start([status(400)]).await);
    let patient = json!({"collector": {"maxEvents": 1}, "processor": {"webhook": {"timeoutMs": 20_000}}});
    world.put(subscription(&receiver.url, &patient)).await;
    let mut large = event(0);
    let value = bytes - large.bytes() + large.value.as_ref().map_or(0, |value| value.len());
    large.value = Some(format!("\"{}\"", "x".repeat(value - 2)).into());
    assert_eq!(large.bytes(), bytes);
    world.append(0, vec![large.clone()]).await;
    world.deliver(1..2).await;
    assert_eq!(text(&world.read(&world.results(), 1).await[0].record), r#"{"n":1}"#);
    let dead = world.read(&world.dead_letters(), 1).await.remove(0).record;
    assert_eq!(dead.headers.get_str("fpaas.error.omitted"), omitted);
    assert_eq!((dead.key, dead.value), (large.key, large.value.filter(|_| omitted.is_none())));
    assert_eq!(world.counters().dead_letters.get(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_delivery_is_kept_whole_and_one_that_leaves_no_room_without_its_value() {
    check_large_dead_letter(limits::SOURCE_RECORD_BYTES_MAX + limits::DELIVERY_HEADERS_BYTES_MAX, None).await;
    check_large_dead_letter(limits::RECORD_BYTES_MAX, Some("value")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_batch_is_dropped_or_blocks_where_the_subscription_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([status(400)]).await);
    let retry = |on_exhausted| json!({"retry": {"maxElapsedMs": 0, "onExhausted": on_exhausted}});
    world.put(subscription(&receiver.url, &retry("drop"))).await;
    world.deliver(0..1).await;
    receiver.request().await;
    world.deliver(1..2).await;
    assert_eq!(text(&world.read(&world.results(), 1).await.last().unwrap().record), r#"{"n":1}"#);
    assert_eq!(world.counters().dropped.get(), 1);

    world.put(subscription(&receiver.url, &retry("block"))).await;
    (0..5).for_each(|_| receiver.then(status(400)));
    world.deliver(2..3).await;
    world.read(&world.results(), 2).await;
    assert_eq!((world.counters().failures.get(), world.counters().dead_letters.get()), (6, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_is_not_called() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let urls = ["http://169.254.169.254/latest/meta-data", "http://[::ffff:127.0.0.1]:9/", "http://0.0.0.0:9/"];
    for (url, count) in urls.iter().zip(1..) {
        let once = json!({"retry": {"maxElapsedMs": 0}, "collector": {"maxEvents": 1}});
        world.put(subscription(url, &once)).await;
        world.deliver(0..1).await;
        let dead = world.read(&world.dead_letters(), count).await.pop().unwrap().record;
        assert_eq!(dead.headers.get_str("fpaas.error.reason"), Some("address"), "{url}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_the_log_does_not_take_make_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([status(503)]).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.log.delete_topic(&world.results().topic).await.unwrap();
    world.deliver(0..2).await;
    let dead = world.read(&world.dead_letters(), 2).await;
    let headers = &dead[1].record.headers;
    let header = |name: &str| headers.get_str(&format!("fpaas.error.{name}"));
    assert_eq!((header("reason"), header("attempts")), (Some("output"), Some("2")));
    assert_eq!(header("message"), Some("there is no topic results"));
    // What is kept are the results: their events are done.
    assert_eq!((text(&dead[1].record).as_str(), headers.get_str("id")), (r#"{"n":1}"#, None));
    assert_eq!(receiver.requests().len(), 2, "the endpoint is not called again for it");

    // Where such results are not to be kept, they are not.
    let drop = json!({"retry": {"onExhausted": "drop"}});
    world.put(subscription(&receiver.url, &drop)).await;
    world.log.delete_topic(&world.results().topic).await.unwrap();
    world.deliver(2..3).await;
    let dropped = async {
        while world.counters().dropped.get() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.expect("it is dropped");
    assert_eq!((world.counters().dropped.get(), world.counters().dead_letters.get()), (1, 2));
    world.stop().await;
}

/// A full batch against an answer that cannot be read and whose error repeats a megabyte of it.
async fn check_hostile(answer: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start([ok(answer)]).await);
    let more = json!({
        "collector": {"maxEvents": 1000, "maxWaitMs": 10_000},
        "processor": {"webhook": {"timeoutMs": 20_000}},
        "retry": {"maxElapsedMs": 0},
    });
    world.put(subscription(&receiver.url, &more)).await;
    world.deliver(0..1000).await;
    let dead = world.read(&world.dead_letters(), 1000).await;
    let added = dead[0].record.bytes() - event(0).bytes();
    assert!(added <= fpaas_core::limits::DEAD_LETTER_HEADERS_BYTES_MAX, "{added} bytes of headers");
    assert_eq!(dead[999].record.headers.get_str("fpaas.error.reason"), Some("badResponse"));
    let last = world.counters().last_outcome().unwrap();
    assert_eq!((last.outcome.as_str(), last.status), ("badResponse", Some(200)));
    assert!(last.message.len() <= fpaas_core::limits::FAILURE_MESSAGE_BYTES_MAX, "{}", last.message.len());
    // The lane goes on.
    world.deliver(1000..2000).await;
    assert_eq!(world.read(&world.results(), 1000).await.len(), 1000);
    let counters = world.counters();
    world.stop().await;
    assert_eq!((counters.dead_letters.get(), counters.acknowledged.get(), counters.stopped()), (1000, 1000, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_in_an_answer_that_cannot_be_read_is_not_in_every_dead_letter() {
    let long = "x".repeat(1024 * 1024);
    check_hostile(&format!(r#"{{"records":[{{"value":1,"{long}":1}}]}}"#)).await;
}
