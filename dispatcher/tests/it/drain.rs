//! A drain: what was frozen is finished as it was, and what waits behind it stays.

use fpaas_core::Offset;
use fpaas_dispatcher::Reach;
use fpaas_log::Record;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::World;
use crate::support::receiver::{Receiver, Reply, Request, status};
use crate::support::{event, subscription, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_the_frozen_batch_and_freezes_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([status(503), status(503), Reply::Echo]).await;
    let patient = json!({"retry": {"initialBackoffMs": 3_600_000, "maxBackoffMs": 3_600_000}});
    let mut world = World::open(folder.path()).await;
    world.put(subscription(&receiver.url, &patient)).await;
    world.deliver(0..3).await;
    let first = receiver.request().await;
    world.deliver(3..5).await;
    world.stop().await;

    let world = World::idle(folder.path(), |_| {}).await;
    // An address that is not permitted here is no reason to give up.
    let never = CancellationToken::new();
    assert_eq!(world.drain(Reach::global(), &never).await, [world.lane(0)]);
    assert!(world.counters().stopped().is_some_and(|why| why.contains("may not be called from here")));
    assert!(receiver.requests().is_empty());
    // It fails once more, and waits for an hour: what is left at the deadline is said.
    let deadline = CancellationToken::new();
    let (left, failed) = tokio::join!(world.drain(Reach::Dev, &deadline), async {
        let failed = receiver.request().await;
        deadline.cancel();
        failed
    });
    assert_eq!(left, [world.lane(0)]);
    assert!(world.drain(Reach::Dev, &never).await.is_empty());
    let again = receiver.request().await;
    for repeated in [&failed, &again] {
        assert_eq!((&repeated.headers["webhook-id"], &repeated.body), (&first.headers["webhook-id"], &first.body));
    }
    assert_eq!(world.position(0).await.map(|position| position.offset), Some(Offset(3)));
    let results = world.read(&world.results(), 3).await;
    let values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    assert_eq!(values, (0..3).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>());
    // What waits behind it is still there, and nobody has called with it.
    assert!(world.drain(Reach::Dev, &never).await.is_empty());
    assert_eq!(world.position(0).await.map(|position| position.offset), Some(Offset(3)));
    assert!(receiver.requests().is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_parked_and_what_is_below_something_done() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |request: &Request| {
        let events = request.events();
        if events.contains(&"e0".to_owned()) || events.contains(&"e1".to_owned()) { status(503) } else { Reply::Echo }
    };
    let mut receiver = Receiver::answering(fails).await;
    let patient = json!({"ordering": "key", "collector": {"maxEvents": 1, "maxWaitMs": 0},
        "retry": {"initialBackoffMs": 3_600_000, "maxBackoffMs": 3_600_000}});
    let mut world = World::open(folder.path()).await;
    world.put(subscription(&receiver.url, &patient)).await;
    // Two keys that fail, with one more event each, and keys that go through.
    let again = |number: u32, of: u32| Record { key: event(of).key, ..event(number) };
    world.append(0, vec![event(0), event(1), again(10, 0), event(2), again(11, 1), event(3)]).await;
    let done = world.read(&world.results(), 2).await;
    assert_eq!(done.iter().map(|stored| text(&stored.record)).collect::<Vec<_>>(), [r#"{"n":2}"#, r#"{"n":3}"#]);
    world.stop().await;

    let world = World::idle(folder.path(), |_| {}).await;
    receiver.requests();
    (0..2).for_each(|_| receiver.then(Reply::Echo));
    let never = CancellationToken::new();
    assert!(world.drain(Reach::Dev, &never).await.is_empty());
    let mut found: Vec<_> = world.read(&world.results(), 6).await.iter().map(|of| text(&of.record)).collect();
    found.sort();
    assert_eq!(found, [0, 10, 11, 1, 2, 3].map(|n| format!(r#"{{"n":{n}}}"#)));
    assert_eq!(world.position(0).await.map(|position| position.offset), Some(Offset(6)));
    world.stop().await;
}
