//! How a subscription fares.

use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, Partition, SubscriptionId, TenantId, Timestamp, TopicPartition};
use fpaas_log::{Lease, Membership, MembershipEvent, Record, TopicSpec, Transaction, Writer};
use fpaas_state::rows::{self, ScanRow};
use fpaas_state::{LastOutcome, SubscriptionEntry};
use serde_json::{Value, json};

use crate::world::{NOW, World, record};

const STATUS: &str = "/v1/subscriptions/likes/status";

fn entry(world: &World) -> Arc<SubscriptionEntry> {
    let (tenant, id) = (TenantId::parse("local").unwrap(), SubscriptionId::parse("likes").unwrap());
    Arc::clone(world.context.control.view().subscription(&tenant, &id).unwrap())
}

/// Stands in for a stage: it writes positions of its group.
struct Stand {
    membership: Membership,
    lease: Lease,
    writer: Arc<dyn Writer>,
}

impl Stand {
    async fn of(world: &World, stage: Stage) -> Self {
        let group = world.context.topics.group(&entry(world).pool, stage);
        let mut membership = world.context.log.join(&group, "node").await.unwrap();
        let Some(MembershipEvent::Assigned(mut leases)) = membership.next().await else { panic!("no slots") };
        let writer = world.context.log.writer(stage.as_str(), Some(&membership)).await.unwrap();
        Self { membership, lease: leases.remove(0), writer }
    }

    async fn advance(&self, at: &TopicPartition, offset: u64, rows: &[(TopicPartition, String, Option<ScanRow>)]) {
        let mut transaction = Transaction::under(&self.lease);
        transaction.advance(at.clone(), Offset(offset), Bytes::new());
        for (changelog, key, row) in rows {
            let value = row.as_ref().map(|row| rows::encode(row).unwrap());
            transaction.append(changelog.clone(), Record { key: Some(key.clone().into()), value, ..Record::default() });
        }
        self.writer.commit(transaction).await.unwrap();
        assert!(!self.membership.group().is_empty());
    }
}

async fn first_partition(world: &World) -> Value {
    world.get(STATUS).await.json(200)["source"]["partitions"][0].clone()
}

#[tokio::test]
async fn a_new_subscription_stands_at_its_start_with_nothing_counted() {
    let world = World::new().await;
    let firehose = world.context.topics.firehose();
    world.append(&firehose, 0, [record("k", "{}", 0)]).await;
    world.subscribe("likes", r#""lanes":2"#).await.json(201);
    world.append(&firehose, 0, [record("k", "{}", 1)]).await;
    let status = world.get(STATUS).await.json(200);
    assert_eq!(
        (&status["state"], &status["reason"], &status["lastOutcome"]),
        (&json!("active"), &Value::Null, &Value::Null)
    );
    assert_eq!(status["source"]["topic"], "firehose");
    assert_eq!(status["source"]["partitions"].as_array().unwrap().len(), 16);
    assert_eq!(
        status["source"]["partitions"][0],
        json!({"partition": 0, "position": 1, "end": 2, "lag": 1, "catchingUp": false})
    );
    assert_eq!(
        status["lanes"],
        json!([{"lane": 0, "position": 0, "end": 0, "lag": 0}, {"lane": 1, "position": 0, "end": 0, "lag": 0}])
    );
    assert_eq!(status["lag"], json!({"source": 1, "deliveries": 0, "redrive": 0}));
    let counters = json!({"matched": 0, "batches": 0, "calls": 0, "failures": 0, "acknowledged": 0, "results": 0, "deadLetters": 0, "badResponses": 0, "matchErrors": 0, "dropped": 0, "lost": 0, "parked": 0});
    assert_eq!(status["counters"], counters);
    assert_eq!(status["createdAt"], "2026-11-23T20:00:00.000Z");
}

#[tokio::test]
async fn what_catches_up_is_shown_where_it_is_and_not_where_the_scan_is() {
    let world = World::new().await;
    let firehose = world.context.topics.firehose();
    world.append(&firehose, 0, (0..4).map(|n| record("k", "{}", n))).await;
    world.subscribe("likes", r#""startFrom":"earliest""#).await.json(201);
    let (at, entry) = (TopicPartition::new(firehose, 0), entry(&world));
    let tables = world.context.topics.tables(&entry.pool, Stage::Router);
    world.context.log.create_topic(&tables, &TopicSpec::compacted(64)).await.unwrap();
    let changelog = TopicPartition::new(tables, Slot::of_source(&at).0);
    let router = Stand::of(&world, Stage::Router).await;
    let row = |position, in_scan| {
        (changelog.clone(), rows::scan_key(&entry, &at), Some(ScanRow { position: Offset(position), in_scan }))
    };
    let mut seen = Vec::new();
    for rows in [vec![], vec![row(2, false)], vec![row(4, true)]] {
        router.advance(&at, 4, &rows).await;
        let partition = first_partition(&world).await;
        seen.push((partition["position"].as_u64().unwrap(), partition["catchingUp"].as_bool().unwrap()));
    }
    assert_eq!(seen, [(0, true), (2, true), (4, false)]);
}

#[tokio::test]
async fn lanes_counters_and_the_last_outcome_are_shown() {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    let entry = entry(&world);
    let deliveries = world.context.topics.deliveries(&entry.tenant, &entry.id, entry.incarnation);
    world.append(&deliveries, 0, (0..3).map(|n| record("k", "{}", n))).await;
    let dispatcher = Stand::of(&world, Stage::Dispatcher).await;
    dispatcher.advance(&TopicPartition::new(deliveries, 0), 2, &[]).await;
    let counters = world.context.board.of(&entry.tenant, &entry.id, entry.incarnation);
    counters.dead_letters.add(7);
    counters.note_stopped(Stage::Router, Partition(0), "its source is gone");
    let time = Timestamp::from_millis(NOW);
    counters.note(LastOutcome {
        time,
        status: Some(503),
        outcome: "status".to_owned(),
        message: "503".into(),
        attempt: 2,
    });
    let status = world.get(STATUS).await.json(200);
    assert_eq!(status["lanes"], json!([{"lane": 0, "position": 2, "end": 3, "lag": 1}]));
    assert_eq!(status["lag"]["deliveries"], 1);
    assert_eq!(status["counters"]["deadLetters"], 7);
    assert_eq!((&status["state"], &status["reason"]), (&json!("stopped"), &json!("its source is gone")));
    let outcome =
        json!({"time": "2026-11-23T20:00:00.000Z", "status": 503, "outcome": "status", "message": "503", "attempt": 2});
    assert_eq!(status["lastOutcome"], outcome);
}
