//! Slots that move between nodes. Invariant: one-owner.

use std::collections::BTreeSet;

use fpaas_dispatcher::Error;
use fpaas_state::Context;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::receiver::{Receiver, Reply};
use crate::support::{PATIENCE, World, dispatch, event, subscription, text};

const LANES: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn lanes_move_to_another_node_and_back_without_loss_or_double() {
    let folder = tempfile::tempdir().unwrap();
    let script = (0..200).map(|n| if n % 5 == 0 { Reply::Cut } else { Reply::Echo });
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start(script).await);
    world.put(subscription(&receiver.url, &json!({"lanes": LANES}))).await;
    deliver(&world, 0..100).await;

    let leaving = CancellationToken::new();
    let other = dispatch(&Context { node: "other".into(), ..world.context.clone() }, &leaving);
    deliver(&world, 100..200).await;
    check_results(&world, 200).await;
    deliver(&world, 200..300).await;
    check_results(&world, 300).await;
    let mut owners = BTreeSet::new();
    for lane in 0..LANES {
        let metadata = world.position(lane).await.unwrap().metadata;
        owners.insert(String::from_utf8(metadata.to_vec()).unwrap().split(' ').next().unwrap().to_owned());
    }
    assert_eq!(owners.into_iter().collect::<Vec<_>>(), ["node.acme.dispatcher", "other.acme.dispatcher"]);

    deliver(&world, 300..400).await;
    leaving.cancel();
    other.await.unwrap().unwrap();
    deliver(&world, 400..500).await;
    check_results(&world, 500).await;
    world.stop().await;
}

async fn deliver(world: &World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        world.append(number % LANES, vec![event(number)]).await;
    }
}

/// Exactly the first `count` events' results are there.
async fn check_results(world: &World, count: u32) {
    let results = world.read(&world.results(), count as usize).await;
    let mut values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    values.sort();
    let mut expected: Vec<_> = (0..count).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    expected.sort();
    assert_eq!(values, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_name_another_process_took_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    world.deliver(0..1).await;
    world.read(&world.results(), 1).await;
    let leaving = CancellationToken::new();
    let other = dispatch(&world.context, &leaving);
    assert!(matches!(world.ended().await, Err(Error::Fenced)));
    leaving.cancel();
    tokio::time::timeout(PATIENCE, other).await.unwrap().unwrap().ok();
}
