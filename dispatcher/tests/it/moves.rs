//! Tenants that move between pools while both run: what is frozen stays frozen, and every event is acknowledged once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::faulty::Fault;
use fpaas_log::{FetchBounds, Log as _};
use fpaas_state::{Change, Outcome};
use serde_json::json;

use crate::redrive::{done, redrive};
use crate::support::receiver::{Receiver, Reply, status};
use crate::support::{PATIENCE, World, dispatch_for, event, pool_of, subscription, tenant, text};

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
    let mut world = World::idle(folder, |config| config.gap_every = Some(2)).await;
    if world.context.control.view().tenants.is_empty() {
        move_to(&mut world, ACME).await;
    }
    world
}

/// Waits until every slot has handed over the tenant, and taken it where `pool` is served.
async fn moved(world: &World, to: &str, since: u64, is_served: bool) {
    let (topics, to) = (&world.context.topics, pool_of(to));
    let (topic, group) = (topics.moves(&to, Stage::Dispatcher), topics.group(&to, Stage::Dispatcher));
    let key = fpaas_state::moves::key(&tenant(), since);
    let is_there = async |at: &TopicPartition| {
        let Ok(fetched) = world.log.fetch(at, Offset::ZERO, FetchBounds::now()).await else { return false };
        let ours = fetched.records.iter().find(|of| of.record.key.as_deref() == Some(key.as_bytes()));
        let position = world.log.positions(&group, std::slice::from_ref(at)).await.unwrap().remove(0);
        let position = position.map_or(Offset::ZERO, |position| position.offset);
        ours.is_some_and(|ours| !is_served || ours.offset < position)
    };
    let waits = async {
        for at in Slot::all().map(|slot| TopicPartition::new(topic.as_str(), slot.0)) {
            while !is_there(&at).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("it has moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_batch_moves_and_is_called_again_with_the_same_id_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([status(503), Reply::Echo]).await;
    let patient = json!({"retry": {"initialBackoffMs": 1500, "maxBackoffMs": 1500}});
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
    assert!(position.metadata.starts_with(b"node._free.dispatcher "), "{position:?}");
    world.shutdown.cancel();
    for ended in [old, new] {
        ended.await.unwrap().unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_goes_on_where_it_is_in_the_pool_that_its_tenant_moves_to() {
    const LETTERS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start((0..LETTERS).map(|_| status(400))).await;
    let mut world = idle(folder.path()).await;
    let stop = world.shutdown.clone();
    let running = [ACME, FREE].map(|pool| dispatch_for(&world.context, pool, &stop));
    world.put(subscription(&receiver.url, &json!({"collector": {"maxEvents": 1, "maxWaitMs": 0}}))).await;
    world.deliver(0..8).await;
    world.read(&world.dead_letters(), LETTERS).await;
    let end = world.log.watermarks(&world.dead_letters()).await.unwrap().end.0;
    receiver.requests();
    let number = redrive(&mut world, end, &[], Some(2)).await;
    assert_eq!(receiver.request().await.events(), ["e0"], "it is under way");
    let since = move_to(&mut world, FREE).await;
    moved(&world, FREE, since, true).await;
    let mut seen: Vec<_> = receiver.requests().iter().flat_map(|request| request.events()).collect();
    assert!(seen.len() + 1 < LETTERS, "it has ended before the move: {seen:?}");
    assert_eq!(done(&world, number, end).await.redriven, LETTERS as u64);
    let results = world.read(&world.results(), LETTERS).await;
    let values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    assert_eq!(values, (0..LETTERS).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>());
    seen.extend(receiver.requests().iter().flat_map(|request| request.events()));
    assert_eq!(seen, (1..LETTERS).map(|n| format!("e{n}")).collect::<Vec<_>>(), "each is delivered again once");
    world.shutdown.cancel();
    for ended in running {
        ended.await.unwrap().unwrap();
    }
    world.stop().await;
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
        moved(&world, pool, since, true).await;
        assert_eq!(world.submit(Change::EndMove { since }).await, Outcome::Replaced);
    }
    count = deliver(&world, count, 60).await;
    check_results(&world, count).await;
    world.shutdown.cancel();
    for ended in running {
        ended.await.unwrap().unwrap();
    }
    world.stop().await;
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
    let patient = json!({"retry": {"initialBackoffMs": 1500, "maxBackoffMs": 1500}});
    let mut world = idle(folder.path()).await;
    let old = dispatch_for(&world.context, ACME, &world.shutdown.clone());
    world.put(subscription(&receiver.url, &patient)).await;
    world.deliver(0..3).await;
    let first = receiver.request().await;
    let since = move_to(&mut world, FREE).await;
    moved(&world, FREE, since, false).await;
    world.deliver(3..5).await;
    world.shutdown.cancel();
    old.await.unwrap().unwrap();
    world.stop().await;

    // Its old pool calls nobody: the next request is the new one's.
    let world = idle(folder.path()).await;
    let old = dispatch_for(&world.context, ACME, &world.shutdown.clone());
    world.deliver(5..6).await;
    world.shutdown.cancel();
    old.await.unwrap().unwrap();
    world.stop().await;

    let world = idle(folder.path()).await;
    let new = dispatch_for(&world.context, FREE, &world.shutdown.clone());
    let again = receiver.request().await;
    assert_eq!((&again.headers["webhook-id"], &again.body), (&first.headers["webhook-id"], &first.body));
    assert_eq!(receiver.request().await.events(), ["e3", "e4", "e5"]);
    world.read(&world.results(), 6).await;
    world.shutdown.cancel();
    new.await.unwrap().unwrap();
    world.stop().await;
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
    world.shutdown.cancel();
    for ended in running {
        ended.await.unwrap().unwrap();
    }
    world.stop().await;
}

/// Elsewhere it would begin again, and every event would be called twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_position_is_lost_does_not_move_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([]).await;
    let mut world = idle(folder.path()).await;
    let old = dispatch_for(&world.context, ACME, &world.shutdown.clone());
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..1).await;
    receiver.request().await;
    world.read(&world.results(), 1).await;
    // Removing the topic takes its positions; the started row stays.
    let lane = world.lane(0);
    let spec = world.log.describe_topic(&lane.topic).await.unwrap().unwrap();
    world.shutdown.cancel();
    old.await.unwrap().unwrap();
    world.stop().await;
    let mut world = idle(folder.path()).await;
    world.log.delete_topic(&lane.topic).await.unwrap();
    world.log.create_topic(&lane.topic, &spec).await.unwrap();
    world.deliver(1..2).await;
    move_to(&mut world, FREE).await;
    let running = [ACME, FREE].map(|pool| dispatch_for(&world.context, pool, &world.shutdown));
    let stopped = async {
        loop {
            match world.counters().stopped() {
                Some(why) => return why,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let why = tokio::time::timeout(PATIENCE, stopped).await.expect("it stands still");
    assert!(why.starts_with("positionLost"), "{why}");
    // Without it the tenant moves.
    world.delete().await;
    let since = world.context.control.view().tenants.values().next().unwrap().revision;
    moved(&world, FREE, since, true).await;
    world.shutdown.cancel();
    for ended in running {
        ended.await.unwrap().unwrap();
    }
    world.stop().await;
    assert!(receiver.requests().is_empty());
}

/// Whichever commit it is: of a batch, of a lane that begins, or of the move itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_which_one_commit_is_not_known_to_be_committed_loses_nothing_and_doubles_nothing() {
    for number in 1..=30 {
        for fault in [Fault::UnknownDone, Fault::UnknownNotDone] {
            let folder = tempfile::tempdir().unwrap();
            println!("{fault:?} at {number}");
            let (mut world, receiver) = (idle(folder.path()).await, Receiver::start(vec![Reply::Echo; 400]).await);
            world.faults.plan_at(number, fault);
            let stop = world.shutdown.clone();
            world.put(subscription(&receiver.url, &json!({"lanes": 4, "collector": {"maxEvents": 2}}))).await;
            deliver_to(&world, 0..40, 4).await;
            let running = [ACME, FREE].map(|pool| dispatch_for(&world.context, pool, &stop));
            let since = move_to(&mut world, FREE).await;
            deliver_to(&world, 40..60, 4).await;
            check_results(&world, 60).await;
            moved(&world, FREE, since, true).await;
            assert_eq!(world.submit(Change::EndMove { since }).await, Outcome::Replaced);
            deliver_to(&world, 60..64, 4).await;
            check_results(&world, 64).await;
            world.shutdown.cancel();
            for ended in running {
                ended.await.unwrap().unwrap();
            }
            world.stop().await;
        }
    }
}

async fn deliver_to(world: &World, numbers: std::ops::Range<u32>, lanes: u32) {
    for number in numbers {
        world.append(number % lanes, vec![event(number)]).await;
    }
}
