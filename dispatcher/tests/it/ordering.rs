//! What goes on while something fails: order per key, parked events, several batches of a lane at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fpaas_core::Offset;
use fpaas_log::{Log as _, Record};
use serde_json::{Value, json};

use crate::support::receiver::{Receiver, Reply, Request, ok, status};
use crate::support::{World, event, subscription, text};

/// Event `number` of the key `key`.
fn keyed(key: &str, number: u32) -> Record {
    let value = format!(r#"{{"key":"{key}","n":{number}}}"#);
    Record { key: Some(key.to_owned().into()), value: Some(value.into()), ..event(number) }
}

fn by_key(more: Value) -> Value {
    let mut settings = json!({"ordering": "key", "collector": {"maxEvents": 2, "maxWaitMs": 20}});
    if let (Some(into), Value::Object(more)) = (settings.as_object_mut(), more) {
        into.extend(more);
    }
    settings
}

/// True of a request with an event of this key.
fn holds(request: &Request, key: &str) -> bool {
    request.json()["events"].as_array().unwrap().iter().any(|event| event["event"]["key"] == key)
}

/// The numbers of each key's results, in their order.
async fn results(world: &World, count: usize) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for stored in world.read(&world.results(), count).await {
        let value: Value = serde_json::from_str(&text(&stored.record)).unwrap();
        found.entry(value["key"].as_str().unwrap().to_owned()).or_default().push(value["n"].as_u64().unwrap());
    }
    found
}

/// Repeated calls have the id and the bytes of the first.
fn check_repeats(requests: &[Request]) {
    let mut bodies = BTreeMap::new();
    for request in requests {
        let id = request.headers["webhook-id"].clone();
        assert_eq!(*bodies.entry(id).or_insert_with(|| request.body.clone()), request.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_events_of_a_failed_key_wait_behind_it_and_all_other_keys_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Arc::new(AtomicUsize::new(8));
    let left = Arc::clone(&failing);
    let decide = move |request: &Request| {
        let fails = holds(request, "a")
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails { status(503) } else { Reply::Echo }
    };
    let mut world = World::open(folder.path()).await;
    let mut receiver = Receiver::answering(decide).await;
    world
        .put(subscription(&receiver.url, &by_key(json!({"retry": {"initialBackoffMs": 100, "maxBackoffMs": 100}}))))
        .await;
    let keys = ["a", "b", "c", "d"];
    for number in 0..10u32 {
        world.append(0, keys.iter().map(|key| keyed(key, number)).collect()).await;
    }
    // 24 of three keys at least arrive while the first batch still fails: only what shares its keys waits.
    let found = results(&world, 20).await;
    assert!(failing.load(Ordering::SeqCst) > 0, "it fails still");
    assert_eq!(found.get("a"), None);
    let found = results(&world, 40).await;
    for key in keys {
        assert_eq!(found[key], (0..10).collect::<Vec<_>>(), "{key}");
    }
    check_repeats(&receiver.requests());
    let counters = world.counters();
    assert_eq!(world.position(0).await.map(|position| position.offset), Some(Offset(40)));
    world.stop().await;
    assert_eq!((counters.parked(), counters.dead_letters.get(), counters.acknowledged.get()), (0, 0, 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_passed_and_survives_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::answering(|request| if holds(request, "a") { status(503) } else { Reply::Echo }).await;
    let mut world = World::open_with(folder.path(), |config| config.gap_every = Some(3)).await;
    let slow = by_key(json!({"retry": {"initialBackoffMs": 1500, "maxBackoffMs": 1500}}));
    world.put(subscription(&receiver.url, &slow)).await;
    world.append(0, vec![keyed("a", 0), keyed("b", 0), keyed("a", 1)]).await;
    let first = receiver.request().await;
    assert_eq!(first.events(), ["e0", "e0"]);
    world.append(0, vec![keyed("a", 2), keyed("c", 0), keyed("c", 1), keyed("b", 1)]).await;
    assert_eq!(results(&world, 2).await["c"], [0, 1]);
    // It is passed, and what it holds goes on all the same: nothing of the deliveries is needed any more.
    let mut again = tokio::time::interval(Duration::from_millis(5));
    while world.counters().parked() < 5 {
        again.tick().await;
    }
    let position = world.position(0).await.unwrap().offset;
    let low = world.log.watermarks(&world.lane(0)).await.unwrap().low;
    world.stop().await;
    assert!(receiver.requests().iter().all(|request| !holds(request, "b")), "the batch waits");

    let log = fpaas_log::Embedded::open(folder.path(), config()).unwrap();
    let lane = fpaas_core::TopicPartition::new("fpaas.acme.d.likes.1", 0);
    log.trim(&lane, position).await.unwrap();
    log.close().unwrap();
    drop(log);
    assert!(position > low && position >= Offset(6));
    let world = World::open_with(folder.path(), |config| config.gap_every = Some(3)).await;
    receiver.then(Reply::Echo);
    let repeat = receiver.request().await;
    assert_eq!((&repeat.headers["webhook-id"], &repeat.body), (&first.headers["webhook-id"], &first.body));
    assert_eq!(repeat.headers["fpaas-attempt"], "2");
    (0..9).for_each(|_| receiver.then(Reply::Echo));
    let found = results(&world, 7).await;
    assert_eq!((&found["a"], &found["b"]), (&vec![0, 1, 2], &vec![0, 1]));
    world.stop().await;
}

fn config() -> fpaas_log::embedded::EmbeddedConfig {
    fpaas_log::embedded::EmbeddedConfig::new(Arc::new(fpaas_core::ManualClock::at_micros(1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_to_be_left_alone_is_not_called_because_the_owner_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let busy = Reply::Answer { status: 503, headers: "retry-after: 3\r\n", body: String::new() };
    for ordering in ["key", "partition"] {
        let mut receiver = Receiver::start([busy.clone()]).await;
        let folder = folder.path().join(ordering);
        let mut world = World::open(&folder).await;
        world.put(subscription(&receiver.url, &json!({"ordering": ordering}))).await;
        world.deliver(0..1).await;
        receiver.request().await;
        let answered = Instant::now();
        // The answer and the row that says so are on their way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.stop().await;
        let world = World::open(&folder).await;
        world.deliver(1..2).await;
        let mut requests = vec![receiver.request().await];
        if ordering == "key" {
            assert_eq!(requests.remove(0).events(), ["e1"], "another key goes on");
            requests.push(receiver.request().await);
        }
        let waited = answered.elapsed();
        assert_eq!((requests[0].events(), requests[0].headers["fpaas-attempt"].as_str()), (vec!["e0".to_owned()], "2"));
        assert!(waited > Duration::from_millis(2400), "{ordering}: {waited:?}");
        world.read(&world.results(), 2).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_batches_of_a_lane_are_in_flight_and_share_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let mut receiver = Receiver::answering(|_| Reply::Late(Duration::from_millis(100))).await;
    world.put(subscription(&receiver.url, &by_key(json!({"collector": {"maxEvents": 1, "maxWaitMs": 0}})))).await;
    for number in 0..20u32 {
        let records = (0..10).map(|key| keyed(&format!("k{key}"), number));
        world.append(0, records.collect()).await;
    }
    let begun = Instant::now();
    let found = results(&world, 200).await;
    let took = begun.elapsed();
    assert!(found.values().all(|numbers| *numbers == (0..20).collect::<Vec<_>>()), "{found:?}");
    // One at a time would take 20 s, and ten keys at a time 2 s.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(receiver.requests().len(), 200);
    world.stop().await;
}

/// The last one waits for its timer, and not for the fetch that waits for more: that one waits half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_its_key_is_called_once_its_time_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    world.put(subscription(&receiver.url, &json!({"ordering": "key", "collector": {"maxEvents": 2}}))).await;
    world.append(0, (0..5).map(|number| keyed("k", number)).collect()).await;
    for events in [&["e0", "e1"][..], &["e2", "e3"], &["e4"]] {
        let request = tokio::time::timeout(Duration::from_secs(15), receiver.request()).await.expect("it is called");
        assert_eq!(request.events(), events);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_order_only_what_failed_is_called_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let receiver = Receiver::start([status(503), status(503)]).await;
    let none = json!({"ordering": "none", "collector": {"maxEvents": 1, "maxWaitMs": 0},
        "retry": {"initialBackoffMs": 400, "maxBackoffMs": 400}});
    world.put(subscription(&receiver.url, &none)).await;
    world.append(0, (0..6).map(|number| keyed("a", number)).collect()).await;
    let found = results(&world, 6).await;
    let first: BTreeSet<_> = found["a"][..4].iter().copied().collect();
    assert_eq!(first, BTreeSet::from([2, 3, 4, 5]), "the same key overtakes, in any order");
    assert_eq!(found["a"][4..].iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]));
    world.stop().await;
}

/// What is answered to the first call, and what then becomes of `e0`, `e1`, `e2`: the events of the second call, the
/// results in order and the ids of dead letters.
async fn check_partial(answer: &str, more: &Value, again: &[&str], written: &[u64], dead: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let mut receiver = Receiver::start([ok(answer)]).await;
    let mut settings = json!({"collector": {"maxEvents": 3, "maxWaitMs": 20}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.put(subscription(&receiver.url, &settings)).await;
    world.deliver(0..3).await;
    let first = receiver.request().await;
    if !again.is_empty() {
        let second = receiver.request().await;
        assert_eq!(second.events(), again, "{answer}");
        let same = again.len() == 3;
        assert_eq!(second.headers["webhook-id"] == first.headers["webhook-id"], same, "{answer}");
        assert_eq!(second.headers["fpaas-attempt"], "2");
    }
    let results = world.read(&world.results(), written.len()).await;
    let numbers: Vec<u64> = results
        .iter()
        .map(|stored| serde_json::from_str::<Value>(&text(&stored.record)).unwrap())
        .map(|value| value.get("n").map_or_else(|| value.as_u64().unwrap(), |n| n.as_u64().unwrap()))
        .collect();
    assert_eq!(numbers, written, "{answer}");
    let letters = world.read(&world.dead_letters(), dead.len()).await;
    let ids: Vec<_> = letters.iter().map(|stored| stored.record.headers.get_str("id").unwrap()).collect();
    assert_eq!(ids, dead, "{answer}");
    let counters = world.counters();
    world.stop().await;
    assert_eq!(counters.acknowledged.get() + counters.dead_letters.get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_what_becomes_of_single_events() {
    for more in [json!({"ordering": "key"}), json!({"ordering": "partition"}), json!({"ordering": "none"})] {
        let retry = r#"{"records":[{"value":70}],"results":[{"id":"e1","action":"retry"}]}"#;
        check_partial(retry, &more, &["e1"], &[70, 1], &[]).await;
        let both = r#"{"results":[{"id":"e0","action":"reject"},{"id":"e2","action":"retry","delayMs":30}]}"#;
        check_partial(both, &more, &["e2"], &[2], &["e0"]).await;
        let aws = r#"{"batchItemFailures":[{"itemIdentifier":"e0"},{"itemIdentifier":"e2"}]}"#;
        check_partial(aws, &more, &["e0", "e2"], &[0, 2], &[]).await;
        let all = r#"{"batchItemFailures":[{"itemIdentifier":"e0"},{"itemIdentifier":"e1"},{"itemIdentifier":"e2"}]}"#;
        check_partial(all, &more, &["e0", "e1", "e2"], &[0, 1, 2], &[]).await;
        let unknown = r#"{"batchItemFailures":[{"itemIdentifier":"e7"}]}"#;
        check_partial(unknown, &more, &["e0", "e1", "e2"], &[0, 1, 2], &[]).await;
        check_partial(r#"{"batchItemFailures":[]}"#, &more, &[], &[], &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_found_by_halving_and_nothing_else_is_given_up_on() {
    for ordering in ["key", "partition", "none"] {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::open(folder.path()).await;
        let poison = |request: &Request| {
            if request.events().contains(&"e13".to_owned()) { status(400) } else { Reply::Echo }
        };
        let mut receiver = Receiver::answering(poison).await;
        let bisect = json!({"ordering": ordering, "collector": {"maxEvents": 32, "maxWaitMs": 200},
            "retry": {"onFailure": "bisect", "initialBackoffMs": 10, "maxBackoffMs": 20}});
        world.put(subscription(&receiver.url, &bisect)).await;
        world.deliver(0..32).await;
        let dead = world.read(&world.dead_letters(), 1).await;
        assert_eq!(dead[0].record.headers.get_str("id"), Some("e13"), "{ordering}");
        let mut numbers: Vec<u32> = Vec::new();
        for stored in world.read(&world.results(), 31).await {
            let value: Value = serde_json::from_str(&text(&stored.record)).unwrap();
            numbers.push(value["n"].as_u64().unwrap().try_into().unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..32).filter(|number| *number != 13).collect::<Vec<_>>(), "{ordering}");
        let requests = receiver.requests();
        check_repeats(&requests);
        let counters = world.counters();
        world.stop().await;
        assert_eq!((counters.dead_letters.get(), counters.acknowledged.get()), (1, 31), "{ordering}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_that_is_lifted_forgets_what_was_owed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    // The first batch is paid for after ten minutes.
    let collector = json!({"maxEvents": 10, "maxWaitMs": 0});
    let slow = by_key(json!({"throttle": {"eventsPerSecond": 1}, "lanes": 60, "collector": collector}));
    world.put(subscription(&receiver.url, &slow)).await;
    world.deliver(0..20).await;
    assert_eq!(receiver.request().await.events().len(), 10);
    let lifted = by_key(json!({"lanes": 60, "collector": collector}));
    world.put(subscription(&receiver.url, &lifted)).await;
    assert_eq!(receiver.request().await.events().len(), 10);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_holds_calls_to_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let receiver = Receiver::start([]).await;
    let slow = by_key(json!({"throttle": {"eventsPerSecond": 20}, "collector": {"maxEvents": 5, "maxWaitMs": 0}}));
    world.put(subscription(&receiver.url, &slow)).await;
    let begun = Instant::now();
    world.deliver(0..40).await;
    world.read(&world.results(), 40).await;
    // Forty events at twenty a second, less the last batch, which need not be paid for.
    assert!(begun.elapsed() >= Duration::from_millis(1700), "{:?}", begun.elapsed());
    world.put(subscription(&receiver.url, &by_key(json!({"collector": {"maxEvents": 5, "maxWaitMs": 0}})))).await;
    let begun = Instant::now();
    world.deliver(40..80).await;
    world.read(&world.results(), 80).await;
    assert!(begun.elapsed() < Duration::from_millis(1700), "{:?}", begun.elapsed());
    world.stop().await;
}
