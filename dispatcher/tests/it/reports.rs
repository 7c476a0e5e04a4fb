//! What a tenant is told besides results: the delivery log, and the topic `system`.

use fpaas_core::subscription::State;
use fpaas_core::{TopicName, TopicPartition};
use fpaas_log::embedded::EmbeddedConfig;
use fpaas_log::faulty::Fault;
use fpaas_log::{Embedded, Log as _};
use fpaas_state::{Attempt, Change};
use serde_json::{Value, json};

use crate::support::receiver::{Receiver, Reply, status};
use crate::support::{World, likes, subscription, tenant, text};

fn attempts(world: &World) -> TopicPartition {
    TopicPartition::new(world.context.topics.attempts(&tenant()), 0)
}

fn system(world: &World) -> TopicPartition {
    TopicPartition::new(world.context.topics.of_tenant(&tenant(), &TopicName::system()), 0)
}

/// The first `count` events of the topic `system`.
async fn told(world: &World, count: usize) -> Vec<Value> {
    let stored = world.read(&system(world), count).await;
    stored.iter().map(|stored| serde_json::from_str(&text(&stored.record)).unwrap()).collect()
}

/// The first `count` calls of the delivery log.
pub(crate) async fn logged(world: &World, count: usize) -> Vec<Attempt> {
    // It is made with the first call.
    let made = async {
        while world.log.describe_topic(&attempts(world).topic).await.unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, made).await.expect("there is a delivery log");
    let stored = world.read(&attempts(world), count).await;
    stored.iter().map(|stored| Attempt::decode(stored.record.value.as_deref().unwrap()).unwrap()).collect()
}

async fn end(world: &World, of: &TopicPartition) -> u64 {
    world.log.watermarks(of).await.unwrap().end.0
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_in_the_delivery_log_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let busy = "you sent k3y-of-the-tenant";
    let reply = Reply::Answer { status: 503, headers: "", body: busy.to_owned() };
    let script = [Reply::Echo, Reply::Cut, reply, Reply::Hang];
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start(script).await);
    let more = json!({"processor": {"webhook": {"headers": {"x-key": "k3y-of-the-tenant"}, "timeoutMs": 300}},
                      "retry": {"maxBackoffMs": 20}});
    world.put(subscription(&receiver.url, &more)).await;
    world.deliver(0..6).await;
    world.read(&world.results(), 6).await;
    let logged = logged(&world, 5).await;
    let told: Vec<_> =
        logged.iter().map(|of| (of.attempt, of.status, of.outcome.as_str(), of.body.as_deref())).collect();
    let echo = |of: &Attempt| of.body.as_deref().is_some_and(|body| body.contains("\"records\""));
    assert_eq!(told[0].0, 1);
    assert!(echo(&logged[0]) && echo(&logged[4]), "{told:?}");
    assert_eq!(told[1], (1, None, "cut", None));
    assert_eq!(told[2], (2, Some(503), "status", Some("you sent [hidden]")));
    assert_eq!(told[3], (3, None, "timeout", None));
    assert_eq!((told[4].0, told[4].1, told[4].2), (4, Some(200), "acknowledged"));
    assert!(logged[1..].iter().all(|of| of.batch == logged[1].batch) && logged[0].batch != logged[1].batch);
    assert!(logged.iter().all(|of| of.events == 3 && of.lane == 0 && of.subscription == likes()));
    assert!(logged.iter().all(|of| receiver.url.starts_with(&of.origin) && of.origin.starts_with("http://127")));
    assert!(logged[3].timings.total_ms >= 300 && logged[2].timings.first_byte_ms.is_some(), "{logged:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_told_with_their_cause() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start([status(400)]).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..2).await;
    let event = told(&world, 1).await.remove(0);
    assert_eq!(
        (&event["type"], &event["count"], &event["reason"], &event["status"], &event["attempts"]),
        (&json!("deadLetters"), &json!(2), &json!("status"), &json!(400), &json!(1))
    );
    assert_eq!((&event["subscription"], &event["lane"]), (&json!("likes"), &json!(0)));
    let batch = event["batch"].as_str().unwrap();
    let letter = world.read(&world.dead_letters(), 2).await.remove(0).record;
    assert_eq!(letter.headers.get_str("fpaas.error.batchId"), Some(batch));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_reads_system_is_not_told_of_its_own_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start([status(400)]).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.delete().await;
    world.put(subscription(&receiver.url, &json!({"source": {"topic": "system"}}))).await;
    world.deliver(0..2).await;
    world.read(&world.dead_letters(), 2).await;
    // What comes later is committed behind them.
    world.deliver(2..3).await;
    world.read(&world.results(), 1).await;
    assert_eq!(end(&world, &system(&world)).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_opens_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let script: Vec<_> = (0..20).map(|_| status(500)).collect();
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start(script).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..2).await;
    let event = told(&world, 1).await.remove(0);
    assert_eq!(event["type"], "breakerOpened");
    assert!(receiver.url.starts_with(event["endpoint"].as_str().unwrap()), "{event}");
    assert_eq!((world.counters().calls.get(), end(&world, &system(&world)).await), (10, 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_an_endpoint_is_disabled_is_told_once_whoever_runs_the_lane() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([status(410), status(410)]).await;
    let mut world = World::open(folder.path()).await;
    world.put(subscription(&receiver.url, &json!({"lanes": 2}))).await;
    world.deliver(0..2).await;
    let event = told(&world, 1).await.remove(0);
    assert_eq!((&event["type"], &event["lane"]), (&json!("disabled"), &json!(0)));
    assert!(event["message"].as_str().unwrap().contains("no more"), "{event}");
    world.stop().await;
    let mut world = World::open(folder.path()).await;
    // Set active and disabled again, which is news; the first time is not told again before it.
    let active = Change::SetState { id: likes(), of: None, state: State::Active };
    world.submit(active.clone()).await;
    let told = told(&world, 2).await;
    assert!(told[1]["type"] == "disabled" && told[1]["revision"].as_u64() > told[0]["revision"].as_u64(), "{told:?}");
    world.submit(active).await;
    world.read(&world.results(), 2).await;
    assert_eq!(end(&world, &system(&world)).await, 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_position_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([]).await;
    let mut world = World::open(folder.path()).await;
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..2).await;
    world.read(&world.results(), 2).await;
    let lane = world.lane(0);
    world.stop().await;
    // Removing the topic takes its positions; the started row stays.
    let config = EmbeddedConfig::new(std::sync::Arc::new(fpaas_core::ManualClock::at_micros(1)));
    let log = Embedded::open(folder.path(), config).unwrap();
    let spec = log.describe_topic(&lane.topic).await.unwrap().unwrap();
    log.delete_topic(&lane.topic).await.unwrap();
    log.create_topic(&lane.topic, &spec).await.unwrap();
    log.close().unwrap();
    drop(log);
    for _ in 0..2 {
        let world = World::open(folder.path()).await;
        assert_eq!(told(&world, 1).await[0]["type"], "positionLost");
        while world.counters().stopped().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(end(&world, &system(&world)).await, 1);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_on_where_the_log_takes_no_reports() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([Reply::Echo, status(400)]).await;
    let mut world = World::open(folder.path()).await;
    for topic in [attempts(&world).topic, system(&world).topic] {
        world.faults.plan(Fault::Refuse(topic.to_string()));
    }
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..9).await;
    world.read(&world.results(), 6).await;
    world.read(&world.dead_letters(), 3).await;
    let counters = world.counters();
    assert_eq!((counters.calls.get(), counters.stopped()), (3, None), "nobody is called again for it");
    for topic in [attempts(&world), system(&world)] {
        assert_eq!(end(&world, &topic).await, 0);
    }
    world.stop().await;
}
