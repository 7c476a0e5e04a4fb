//! Tenants that move between pools while both run: what is frozen stays frozen, and every event is acknowledged once.

use std::collections::BTreeSet;
use std::path::Path;

use fpaas_core::Offset;
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Partition, TopicPartition};
use fpaas_log::{FetchBounds, Log as _};
use fpaas_state::{Change, Outcome};
use serde_json::json;

use crate::support::receiver::{Receiver, Reply, status};
use crate::support::{PATIENCE, World, dispatch_for, event, pool_of, subscription, text};

const ACME: &str = "acme";
const FREE: &str = "_free";
const LANES: u32 = 8;

/// Puts the tenant into a pool; the revision.
async fn move_to(world: &mut World, pool: &str) -> u64 {
    assert_ne!(world.submit(Change::PutTenant { pool: Some(pool_of(pool)) }).await, Outcome::NotFound);
    world.context.control.view().tenants.values().next().unwrap().revision
}

/// Without a dispatcher, with the tenant made.
async fn idle(folder: &Path) -> World {
    World::idle(folder, |config| config.gap_every = Some(2)).await
}

/// The slot of a lane has let go of the tenant.
async fn handed_over(world: &World, lane: u32, to: &str) {
    let slot = Slot::of_lane(ACME, "likes", Partition(lane));
    let at = TopicPartition::new(world.context.topics.moves(&pool_of(to), Stage::Dispatcher), slot.0);
    let waits = async {
        loop {
            match world.log.fetch(&at, Offset::ZERO, FetchBounds::waiting(PATIENCE)).await {
                Ok(fetched) if !fetched.records.is_empty() => return,
                _ => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("it is handed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_batch_moves_and_is_called_again_with_the_same_id_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([status(503), Reply::Echo]).await;
    let patient = json!({"retry": {"initialBackoffMs": 3_600_000, "maxBackoffMs": 3_600_000}});
    let mut world = idle(folder.path()).await;
    let stop = world.shutdown.clone();
    let (old, new) = (dispatch_for(&world.context, ACME, &stop), dispatch_for(&world.context, FREE, &stop));
    world.put(subscription(&receiver.url, &patient)).await;
    world.deliver(0..3).await;
    let first = receiver.request().await;
    world.deliver(3..5).await;
    move_to(&mut world, FREE).await;

    let again = receiver.request().await;
    assert_eq!((&again.headers["webhook-id"], &again.body), (&first.headers["webhook-id"], &first.body));
    assert_eq!(receiver.request().await.events(), ["e3", "e4"]);
    let results = world.read(&world.results(), 5).await;
    let values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    assert_eq!(values, (0..5).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>());
    let lane = [world.lane(0)];
    let group = world.context.topics.group(&pool_of(FREE), Stage::Dispatcher);
    let position = world.log.positions(&group, &lane).await.unwrap().remove(0).unwrap();
    assert_eq!(position.metadata, "node._free.dispatcher");
    world.stop().await;
    for ended in [old, new] {
        ended.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_that_move_to_and_fro_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = (0..400).map(|n| if n % 5 == 0 { Reply::Cut } else { Reply::Echo });
    let (mut world, receiver) = (idle(folder.path()).await, Receiver::start(script).await);
    let stop = world.shutdown.clone();
    let running = [ACME, FREE].map(|pool| dispatch_for(&world.context, pool, &stop));
    world.put(subscription(&receiver.url, &json!({"lanes": LANES}))).await;
    let mut count = 0;
    for pool in [FREE, ACME, FREE, ACME] {
        count = deliver(&world, count, 60).await;
        let since = move_to(&mut world, pool).await;
        count = deliver(&world, count, 60).await;
        check_results(&world, count).await;
        for lane in 0..LANES {
            handed_over(&world, lane, pool).await;
        }
        assert_eq!(world.submit(Change::EndMove { since }).await, Outcome::Replaced);
    }
    count = deliver(&world, count, 60).await;
    check_results(&world, count).await;
    world.stop().await;
    for ended in running {
        ended.await.unwrap().unwrap();
    }
}

async fn deliver(world: &World, from: u32, count: u32) -> u32 {
    for number in from..from + count {
        world.append(number % LANES, vec![event(number)]).await;
    }
    from + count
}

/// Exactly the first `count` events' results are there.
async fn check_results(world: &World, count: u32) {
    let results = world.read(&world.results(), count as usize).await;
    let values: BTreeSet<_> = results.iter().map(|stored| text(&stored.record)).collect();
    assert_eq!((results.len(), values.len()), (count as usize, count as usize));
    assert!((0..count).all(|n| values.contains(&format!(r#"{{"n":{n}}}"#))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_is_found_by_whoever_comes_later_and_no_lane_begins_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([status(503), Reply::Echo]).await;
    let patient = json!({"retry": {"initialBackoffMs": 3_600_000, "maxBackoffMs": 3_600_000}});
    let mut world = idle(folder.path()).await;
    let old = dispatch_for(&world.context, ACME, &world.shutdown.clone());
    world.put(subscription(&receiver.url, &patient)).await;
    world.deliver(0..3).await;
    let first = receiver.request().await;
    move_to(&mut world, FREE).await;
    handed_over(&world, 0, FREE).await;
    world.deliver(3..5).await;
    world.stop().await;
    old.await.unwrap().unwrap();

    // Its old pool calls nobody: the next request is the new one's.
    let world = idle(folder.path()).await;
    let old = dispatch_for(&world.context, ACME, &world.shutdown.clone());
    world.deliver(5..6).await;
    world.stop().await;
    old.await.unwrap().unwrap();

    let world = idle(folder.path()).await;
    let new = dispatch_for(&world.context, FREE, &world.shutdown.clone());
    let again = receiver.request().await;
    assert_eq!((&again.headers["webhook-id"], &again.body), (&first.headers["webhook-id"], &first.body));
    assert_eq!(receiver.request().await.events(), ["e3", "e4", "e5"]);
    world.read(&world.results(), 6).await;
    world.stop().await;
    new.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_ends_before_its_lane_moves() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([Reply::Hang, Reply::Echo]).await;
    let mut world = idle(folder.path()).await;
    let stop = world.shutdown.clone();
    let running = [ACME, FREE].map(|pool| dispatch_for(&world.context, pool, &stop));
    world.put(subscription(&receiver.url, &json!({"processor": {"webhook": {"timeoutMs": 1500}}}))).await;
    world.deliver(0..3).await;
    let first = receiver.request().await;
    move_to(&mut world, FREE).await;
    let again = receiver.request().await;
    assert_eq!((&again.headers["webhook-id"], &again.body), (&first.headers["webhook-id"], &first.body));
    check_results(&world, 3).await;
    world.stop().await;
    for ended in running {
        ended.await.unwrap().unwrap();
    }
}
