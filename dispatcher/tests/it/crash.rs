//! A lane dies at each of its crash points: what comes out is the same, and repeated calls are the same calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fpaas_core::crashpoint::{self, Point};
use fpaas_dispatcher::Error;
use fpaas_log::Log as _;
use serde_json::json;

use crate::redrive::{done, redrive};
use crate::support::receiver::{Receiver, status};
use crate::support::{World, subscription, text};

/// The name of the threads that may die: other tests hit the same points.
const THREADS: &str = "crash";

/// One more than the index of the armed point; 0 for none.
static ARMED: AtomicUsize = AtomicUsize::new(0);

/// The task dies where the process would: nothing after the point is done.
fn die_if_armed(point: Point) {
    let ours = thread::current().name() == Some(THREADS);
    if ours && ARMED.compare_exchange(index(point), 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        panic!("crash point {}", point.name());
    }
}

fn index(point: Point) -> usize {
    Point::ALL.iter().position(|other| *other == point).unwrap() + 1
}

#[test]
fn a_crash_at_any_point_of_a_lane_loses_nothing_and_doubles_nothing() {
    crashpoint::install(die_if_armed);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.thread_name(THREADS).worker_threads(2).enable_all().build().unwrap();
    for (point, calls) in [(Point::LaneBeforePark, 4), (Point::LaneAfterPark, 4), (Point::LaneInBackoff, 4)] {
        runtime.block_on(check_crash(point, calls, "key"));
    }
    for (point, calls) in [
        (Point::LaneBeforeFreeze, 4),
        (Point::LaneAfterFreeze, 4),
        (Point::LaneInBackoff, 4),
        (Point::LaneAfterAnswer, 4),
        (Point::LaneBeforeCommit, 5),
        (Point::LaneAfterCommit, 4),
    ] {
        runtime.block_on(check_crash(point, calls, "partition"));
    }
    for point in [Point::LaneBeforeRedrive, Point::LaneAfterRedrive] {
        runtime.block_on(check_redrive(point));
    }
}

/// Seven events in three batches, the first call fails: `calls` in all, counting those that the crash repeats.
async fn check_crash(point: Point, calls: usize, ordering: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([status(503)]).await;
    let mut world = World::open_with(folder.path(), |config| config.gap_every = Some(3)).await;
    ARMED.store(index(point), Ordering::SeqCst);
    world.put(subscription(&receiver.url, &json!({"ordering": ordering}))).await;
    world.deliver(0..7).await;
    assert!(matches!(world.ended().await, Err(Error::Panicked(_))), "{}", point.name());
    assert_eq!(ARMED.load(Ordering::SeqCst), 0, "{} was hit", point.name());

    let world = World::open_with(folder.path(), |config| config.gap_every = Some(3)).await;
    let results = world.read(&world.results(), 7).await;
    let mut values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    if ordering == "key" {
        values.sort();
    }
    assert_eq!(values, (0..7).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>(), "{}", point.name());
    let requests = receiver.requests();
    let mut bodies = BTreeMap::new();
    for request in &requests {
        let id = request.headers["webhook-id"].clone();
        assert_eq!(*bodies.entry(id).or_insert_with(|| request.body.clone()), request.body, "{}", point.name());
    }
    assert_eq!((bodies.len(), requests.len()), (3, calls), "{}", point.name());
    world.stop().await;
}

/// Five events that have died are delivered again, each once.
async fn check_redrive(point: Point) {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([status(400), status(400)]).await;
    let mut world = World::open_with(folder.path(), |config| config.gap_every = Some(3)).await;
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..5).await;
    world.read(&world.dead_letters(), 5).await;
    let end = world.log.watermarks(&world.dead_letters()).await.unwrap().end.0;
    receiver.requests();
    ARMED.store(index(point), Ordering::SeqCst);
    // One at a time, so that there is something left of it.
    let since = redrive(&mut world, end, &[], Some(2)).await;
    assert!(matches!(world.ended().await, Err(Error::Panicked(_))), "{}", point.name());
    assert_eq!(ARMED.load(Ordering::SeqCst), 0, "{} was hit", point.name());

    let world = World::open_with(folder.path(), |config| config.gap_every = Some(3)).await;
    assert_eq!(done(&world, since, end).await.redriven, 5, "{}", point.name());
    // Behind all of them.
    world.deliver(9..10).await;
    let results = world.read(&world.results(), 6).await;
    let values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    let expected: Vec<_> = (0..5).chain([9]).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    assert_eq!(values, expected, "{}", point.name());
    world.stop().await;
}
