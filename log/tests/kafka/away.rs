//! A broker that is away for longer than it is waited for, and comes back.

use std::time::Duration;

use fpaas_core::TopicPartition;
use fpaas_core::topics::Topics;
use fpaas_log::{Error, Kafka, KafkaConfig, Log as _, TopicSpec};
use fpaas_testkit::Broker;
use fpaas_testkit::broker::Options;

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_in_vain_for_positions_asks_again_when_the_broker_is_back() {
    let Some(broker) = Broker::start(&Options::default()).await else { return };
    let mut config = KafkaConfig::new(&broker.bootstrap(), &Topics::with_prefix("away"));
    let patient = Kafka::open(config.clone()).await.unwrap();
    patient.create_topic("away.t", &TopicSpec::compacted(1)).await.unwrap();
    config.request_wait = Duration::from_secs(1);
    let log = loop {
        if let Ok(log) = Kafka::open(config.clone()).await {
            break log;
        }
    };
    let at = [TopicPartition::new("away.t", 0)];
    let asked = async || log.positions("away.g", &at).await;
    while asked().await.is_err() {}

    broker.stop().await.unwrap();
    // librdkafka would remember each of them.
    for _ in 0..3 {
        let away = asked().await;
        assert!(matches!(away, Err(Error::Retry(_))), "{away:?}");
    }
    broker.start_again().await.unwrap();
    let answered = async { while asked().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), answered).await.expect("it answers again");
}
