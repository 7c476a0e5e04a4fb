//! How far behind everything is, as the line of progress says it.

use fpaas_core::TopicPartition;
use fpaas_log::Log as _;
use fpaas_state::Standings;

use crate::world::{World, record};

async fn end(world: &World, partition: u32) -> u64 {
    world.log.watermarks(&TopicPartition::new(world.context.topics.firehose(), partition)).await.unwrap().end.0
}

#[tokio::test]
async fn a_source_partition_counts_once_and_for_the_subscription_that_is_furthest_behind() {
    let world = World::new().await;
    let (firehose, standings) = (world.context.topics.firehose(), Standings::default());
    world.append(&firehose, 3, (0..9).map(|n| record("did:x:y", "{}", n))).await;
    let backlog = || fpaas_api::backlog(&world.context, &standings);
    assert_eq!(backlog().await.unwrap(), 0, "nobody reads it");
    world.subscribe("late", r#""startFrom":"latest""#).await.json(201);
    let late = end(&world, 3).await;
    world.append(&firehose, 3, (0..2).map(|n| record("did:x:y", "{}", n))).await;
    let all = end(&world, 3).await;
    assert_eq!(backlog().await.unwrap(), all - late);
    for id in ["one", "two"] {
        world.subscribe(id, r#""startFrom":"earliest""#).await.json(201);
    }
    assert_eq!(backlog().await.unwrap(), all);
    world.append(&firehose, 5, [record("did:x:y", "{}", 0)]).await;
    assert_eq!(backlog().await.unwrap(), all + end(&world, 5).await);
}
