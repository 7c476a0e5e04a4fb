//! What a new owner finds.

use fpaas_core::Offset;
use fpaas_log::{Log as _, Record};
use serde_json::json;

use crate::support::receiver::{Receiver, Reply, status};
use crate::support::{World, event, subscription, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_batch_is_called_again_with_the_same_id_and_bytes_whatever_came_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([status(503), Reply::Echo]).await;
    let patient = json!({"retry": {"initialBackoffMs": 1500, "maxBackoffMs": 1500}});
    let mut world = World::open_with(folder.path(), |config| config.gap_every = Some(2)).await;
    world.put(subscription(&receiver.url, &patient)).await;
    world.deliver(0..3).await;
    let first = receiver.request().await;
    world.deliver(3..5).await;
    world.stop().await;

    let world = World::open_with(folder.path(), |config| config.gap_every = Some(2)).await;
    let again = receiver.request().await;
    assert_eq!((&again.headers["webhook-id"], &again.body), (&first.headers["webhook-id"], &first.body));
    assert_eq!(receiver.request().await.events(), ["e3", "e4"]);
    let results = world.read(&world.results(), 5).await;
    let values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    assert_eq!(values, (0..5).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_many_fetches_is_made_again_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([status(503)]).await;
    let large = json!({
        "collector": {"maxEvents": 20, "maxBytes": 6_291_456, "maxWaitMs": 10_000},
        "retry": {"initialBackoffMs": 1500, "maxBackoffMs": 1500},
    });
    let mut world = World::open_with(folder.path(), |config| config.gap_every = Some(4)).await;
    world.put(subscription(&receiver.url, &large)).await;
    for number in 0..20 {
        world.append(0, vec![event_of(number, 290_000)]).await;
    }
    let first = receiver.request().await;
    assert_eq!(first.events().len(), 20);
    world.stop().await;
    let world = World::open(folder.path()).await;
    let again = receiver.request().await;
    assert_eq!(again.headers["webhook-id"], first.headers["webhook-id"]);
    assert!(again.body == first.body && first.body.len() > 5_800_000);
    world.read(&world.results(), 20).await;
    world.stop().await;
}

fn event_of(number: u32, bytes: usize) -> Record {
    Record { value: Some(format!(r#"{{"n":{number},"text":"{}"}}"#, "é".repeat(bytes / 2)).into()), ..event(number) }
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_deliveries_are_trimmed_by_position() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([]).await;
    let mut world = World::open(folder.path()).await;
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..6).await;
    world.read(&world.results(), 6).await;
    world.stop().await;
    let world = World::open(folder.path()).await;
    world.deliver(6..7).await;
    world.read(&world.results(), 7).await;
    let low = world.log.watermarks(&world.lane(0)).await.unwrap().low;
    assert!(low >= Offset(6), "{low}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_position_is_lost_stands_still_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([]).await;
    let mut world = World::open(folder.path()).await;
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..1).await;
    receiver.request().await;
    world.read(&world.results(), 1).await;
    // Removing the topic takes its positions; the started row stays.
    let lane = world.lane(0);
    let spec = world.log.describe_topic(&lane.topic).await.unwrap().unwrap();
    world.stop().await;
    let log = fpaas_log::Embedded::open(folder.path(), config()).unwrap();
    log.delete_topic(&lane.topic).await.unwrap();
    log.create_topic(&lane.topic, &spec).await.unwrap();
    log.close().unwrap();
    drop(log);

    let world = World::open(folder.path()).await;
    world.deliver(1..2).await;
    assert!(stopped(&world).await.starts_with("positionLost"));
    assert_eq!(world.position(0).await, None, "no default takes its place");
    world.stop().await;
    assert!(receiver.requests().is_empty());
}

/// Why the subscription stands still. Nothing tells when it begins to, so this looks again and again.
async fn stopped(world: &World) -> String {
    let mut again = tokio::time::interval(std::time::Duration::from_millis(5));
    for _ in 0..6_000 {
        if let Some(why) = world.counters().stopped() {
            return why;
        }
        again.tick().await;
    }
    panic!("it does not stand still");
}

fn config() -> fpaas_log::embedded::EmbeddedConfig {
    fpaas_log::embedded::EmbeddedConfig::new(std::sync::Arc::new(fpaas_core::ManualClock::at_micros(1)))
}
