//! A subscription changes, goes and comes back while its lane is at work.

use std::collections::BTreeMap;
use std::time::Duration;

use fpaas_core::partition::Slot;
use fpaas_core::subscription::{Secret, State};
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, Partition, PoolId, TopicPartition};
use fpaas_log::{FetchBounds, Log as _, Record};
use fpaas_state::{Change, Outcome};
use serde_json::json;

use crate::support::receiver::{Receiver, Reply, status};
use crate::support::{PATIENCE, World, event, likes, subscription, tenant, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_url_is_called_from_the_next_attempt_on_with_the_same_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let mut old = Receiver::start((0..10_000).map(|_| status(503))).await;
    let mut new = Receiver::start([]).await;
    world.put(subscription(&old.url, &json!({}))).await;
    world.deliver(0..2).await;
    let first = old.request().await;
    world.put(subscription(&new.url, &json!({"collector": {"maxEvents": 1}}))).await;
    let repeat = new.request().await;
    assert_eq!(repeat.headers["webhook-id"], first.headers["webhook-id"]);
    assert_eq!(repeat.body, first.body);
    // The collector's change holds from the next batch on.
    world.deliver(2..4).await;
    assert_eq!([new.request().await.events(), new.request().await.events()], [["e2"], ["e3"]]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_subscription_is_forgotten_and_made_again_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    (0..10_000).for_each(|_| receiver.then(status(503)));
    world
        .put(subscription(&receiver.url, &json!({"retry": {"maxBackoffMs": 3_600_000, "initialBackoffMs": 3_600_000}})))
        .await;
    world.deliver(0..2).await;
    let first = receiver.request().await;
    let (old, tables) = (world.lane(0), world.context.topics.tables(&PoolId::of_tenant(&tenant()), Stage::Dispatcher));
    world.delete().await;
    let mut fresh = Receiver::start([]).await;
    world.put(subscription(&fresh.url, &json!({}))).await;
    assert_ne!(world.lane(0), old);
    world.deliver(0..2).await;
    let again = fresh.request().await;
    assert_eq!(again.events(), first.events());
    assert_ne!(again.headers["webhook-id"], first.headers["webhook-id"]);
    let results = world.read(&world.results(), 2).await;
    assert_eq!(results.iter().map(|stored| text(&stored.record)).collect::<Vec<_>>(), [r#"{"n":0}"#, r#"{"n":1}"#]);
    removed(&world, &tables, &old.topic).await;
    world.stop().await;
    // A start finds nothing of it either.
    let world = World::open(folder.path()).await;
    assert_eq!(world.log.describe_topic(&old.topic).await.unwrap(), None);
    world.stop().await;
}

/// Returns once the tables' changelog holds no row of `topic` any more, and it did hold some.
async fn removed(world: &World, tables: &str, topic: &str) {
    let slot = Slot::of_lane("acme", "likes", Partition(0));
    let (at, mut next, mut rows) = (TopicPartition::new(tables, slot.0), Offset::ZERO, BTreeMap::new());
    while rows.is_empty() || rows.values().any(|present| *present) {
        let fetching = world.log.fetch(&at, next, FetchBounds::waiting(PATIENCE));
        let fetched = tokio::time::timeout(PATIENCE, fetching).await.expect("the rows are removed").unwrap();
        next = fetched.next;
        for Record { key, value, .. } in fetched.records.into_iter().map(|stored| stored.record) {
            let key = String::from_utf8(key.unwrap().to_vec()).unwrap();
            if key.contains(topic) {
                rows.insert(key, value.is_some());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lane_goes_its_own_way() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([Reply::Hang]).await);
    let lanes = json!({"lanes": 2, "processor": {"webhook": {"timeoutMs": 20_000}}});
    world.put(subscription(&receiver.url, &lanes)).await;
    world.deliver(0..1).await;
    assert_eq!(receiver.request().await.json()["batch"]["lane"], 0);
    world.append(1, vec![event(9)]).await;
    // While lane 0 hangs.
    assert_eq!(receiver.request().await.json()["batch"]["lane"], 1);
    assert_eq!(text(&world.read(&world.results(), 1).await[0].record), r#"{"n":9}"#);
    // A stop does not wait for the call that hangs for longer than it may.
    world.stop().await;
}

/// Long enough for a call that should not come.
const SILENCE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_subscription_calls_nobody_and_goes_on_with_the_same_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let mut receiver = Receiver::start([status(503), status(503), status(503)]).await;
    let retry = json!({"retry": {"initialBackoffMs": 20, "maxBackoffMs": 20}});
    let paused = json!({"state": "paused", "retry": {"initialBackoffMs": 20, "maxBackoffMs": 20}});
    world.put(subscription(&receiver.url, &retry)).await;
    world.deliver(0..2).await;
    let first = receiver.request().await;
    world.put(subscription(&receiver.url, &paused)).await;
    // One may be on its way.
    tokio::time::sleep(SILENCE).await;
    receiver.requests();
    world.deliver(2..4).await;
    tokio::time::sleep(SILENCE).await;
    assert!(receiver.requests().is_empty(), "it was called while it was paused");
    // Also not by whoever takes it over.
    world.stop().await;
    let mut world = World::open(folder.path()).await;
    tokio::time::sleep(SILENCE).await;
    assert!(receiver.requests().is_empty(), "it was called while it was paused");

    world.put(subscription(&receiver.url, &retry)).await;
    let mut repeat = receiver.request().await;
    assert_eq!(repeat.headers["webhook-id"], first.headers["webhook-id"]);
    assert_eq!(repeat.body, first.body);
    while repeat.headers["webhook-id"] == first.headers["webhook-id"] {
        repeat = receiver.request().await;
    }
    assert_eq!(repeat.events(), ["e2", "e3"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_pause_is_none_of_a_batchs_retries() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let mut receiver = Receiver::start((0..100).map(|_| status(503))).await;
    let state = |state| {
        let retry = json!({"maxElapsedMs": 3000, "initialBackoffMs": 3_600_000, "maxBackoffMs": 3_600_000});
        json!({"retry": retry, "state": state})
    };
    world.put(subscription(&receiver.url, &state("active"))).await;
    world.deliver(0..1).await;
    let first = receiver.request().await;
    world.put(subscription(&receiver.url, &state("paused"))).await;
    tokio::time::sleep(Duration::from_millis(3200)).await;
    world.put(subscription(&receiver.url, &state("active"))).await;
    assert_eq!(receiver.request().await.headers["webhook-id"], first.headers["webhook-id"]);
    // It waits for its next attempt, and is not given up on.
    tokio::time::sleep(SILENCE).await;
    assert_eq!(world.counters().dead_letters.get(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_carry_both_signatures_while_a_secret_is_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    world.put(subscription(&receiver.url, &json!({"collector": {"maxEvents": 1}}))).await;
    let mut signatures = async |world: &World, number: u32| {
        world.append(0, vec![event(number)]).await;
        receiver.request().await.headers["webhook-signature"].split(' ').count()
    };
    assert_eq!(signatures(&world, 0).await, 1);
    world.rotate(Secret::from_bytes(&[1; 24]).unwrap(), 3600).await;
    assert_eq!(signatures(&world, 1).await, 2);
    world.rotate(Secret::from_bytes(&[2; 24]).unwrap(), 0).await;
    assert_eq!(signatures(&world, 2).await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_no_more_is_disabled_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let disable = Reply::Answer { status: 503, headers: "webhook-delivery: disable\r\n", body: String::new() };
    let done = Reply::Answer { status: 204, headers: "webhook-delivery: disable\r\n", body: String::new() };
    for (at, reply) in [status(410), disable, done.clone()].into_iter().enumerate() {
        for ordering in ["key", "partition"] {
            let folder = folder.path().join(format!("{at}{ordering}"));
            let mut receiver = Receiver::start([reply.clone()]).await;
            let mut world = World::open(&folder).await;
            world.put(subscription(&receiver.url, &json!({"ordering": ordering}))).await;
            world.deliver(0..2).await;
            let first = receiver.request().await;
            let entry = disabled(&world).await;
            assert!(entry.disabled.as_ref().unwrap().why.contains("no more"), "{entry:?}");
            world.deliver(2..4).await;
            tokio::time::sleep(SILENCE).await;
            assert!(receiver.requests().is_empty(), "it is called while it is disabled");
            assert_eq!(world.counters().dead_letters.get(), 0);
            // Made active again, in any way, it goes on where it stands.
            let state = Change::SetState { id: likes(), of: None, state: State::Active };
            assert_eq!(world.submit(state).await, Outcome::Replaced);
            let next = receiver.request().await;
            if matches!(reply, Reply::Answer { status: 204, .. }) {
                assert_eq!(next.events(), ["e2", "e3"], "the batch was acknowledged");
            } else {
                assert_eq!((&next.headers["webhook-id"], &next.body), (&first.headers["webhook-id"], &first.body));
                assert_eq!(receiver.request().await.events(), ["e2", "e3"]);
            }
            world.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_url_answers_late_is_none_of_the_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path()).await;
    let mut old = Receiver::start([Reply::LateStatus(Duration::from_millis(500), 410)]).await;
    let mut new = Receiver::start([]).await;
    world.put(subscription(&old.url, &json!({}))).await;
    world.deliver(0..2).await;
    let first = old.request().await;
    world.put(subscription(&new.url, &json!({}))).await;
    // An endpoint that is no more is called again after an hour.
    let repeat = new.request().await;
    assert_eq!((&repeat.headers["webhook-id"], &repeat.body), (&first.headers["webhook-id"], &first.body));
    world.read(&world.results(), 2).await;
    let view = world.context.control.view();
    assert_eq!(view.subscription(&tenant(), &likes()).unwrap().config.state, State::Active);
    world.stop().await;
}

/// The subscription, once it is disabled.
async fn disabled(world: &World) -> std::sync::Arc<fpaas_state::SubscriptionEntry> {
    let mut views = world.context.control.views();
    let is = |entry: &fpaas_state::SubscriptionEntry| entry.config.state == State::Disabled;
    let seen = views.wait_for(|view| view.subscription(&tenant(), &likes()).is_some_and(|entry| is(entry)));
    let view = tokio::time::timeout(PATIENCE, seen).await.expect("it is disabled").unwrap();
    std::sync::Arc::clone(view.subscription(&tenant(), &likes()).unwrap())
}
