//! What a new owner reads while the last transaction of the old one is on its way.

use std::time::Duration;

use fpaas_core::{Offset, TopicPartition};
use fpaas_log::conformance::Backend as _;
use fpaas_log::{Error, Stored, TopicSpec, replay};
use fpaas_testkit::Broker;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::Cluster;

const PATIENCE: Duration = Duration::from_secs(20);

/// Puts one record into an open transaction, and it is at the broker.
fn append(producer: &BaseProducer, topic: &str, value: &str) {
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::to(topic).partition(0).key(value).payload(value)).unwrap();
    producer.flush(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_replays_waits_for_a_transaction_that_is_not_decided() {
    let Some(cluster) = Cluster::open().await else { return };
    let (log, topic) = (cluster.log(), cluster.fresh("replayed"));
    log.create_topic(&topic, &TopicSpec::compacted(1)).await.unwrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", Broker::shared().await.unwrap().bootstrap())
        .set("transactional.id", format!("{topic}-other"));
    let other: BaseProducer = config.create().unwrap();
    other.init_transactions(PATIENCE).unwrap();
    append(&other, &topic, "first");
    other.commit_transaction(PATIENCE).unwrap();
    append(&other, &topic, "second");

    let at = TopicPartition::new(topic.as_str(), 0);
    let mut found = Vec::new();
    let each = |stored: Stored| {
        found.push(String::from_utf8(stored.record.value.unwrap().to_vec()).unwrap());
        Ok::<_, Error>(())
    };
    let mut replaying = Box::pin(replay(&*log, &at, Offset::ZERO, each));
    let early = tokio::time::timeout(Duration::from_secs(2), &mut replaying).await;
    assert!(early.is_err(), "it has not waited: {early:?}");
    other.commit_transaction(PATIENCE).unwrap();
    let next = tokio::time::timeout(PATIENCE, &mut replaying).await.expect("it goes on").unwrap();
    drop(replaying);
    assert_eq!((found, next >= Offset(3)), (vec!["first".to_owned(), "second".to_owned()], true));
}
