//! A partition without a leader: what goes there waits, and whatever else the same member commits goes on. So does what
//! takes more brokers than there are.

use std::time::Duration;

use fpaas_core::topics::Topics;
use fpaas_log::conformance::kit::{self, soon};
use fpaas_log::{Error, Kafka, KafkaConfig, Log as _, TopicSpec};
use fpaas_testkit::Cluster;
use fpaas_testkit::broker::Options;

use crate::beside::{Beside, topic};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_only_broker_is_away_waits_and_the_others_of_its_member_go_on() {
    let Some(cluster) = Cluster::start(3, &Options::default()).await else { return };
    let mut config = KafkaConfig::new(&cluster.bootstrap(), &Topics::with_prefix("leaderless"));
    // Three brokers on one small machine take their time.
    config.request_wait = Duration::from_secs(30);
    let log = Kafka::open(config.clone()).await.unwrap();
    // Too few brokers for a topic's copies: they may come.
    let four = Kafka::open(KafkaConfig { replication: Some(4), ..config.clone() }).await.unwrap();
    let fourth = four.create_topic("leaderless.fourth", &TopicSpec::kept(1)).await.unwrap_err();
    assert!(fourth.may_pass() && fourth.to_string().contains("there are fewer brokers"), "{fourth}");
    four.close();

    let beside = Beside::start(&log, "leaderless").await;
    // Its one copy is on the third broker, which then goes away.
    let assigned = ["--create", "--topic", "leaderless.alone", "--replica-assignment", "3"];
    cluster.brokers()[0].tool(TOPICS, &assigned).await.unwrap();
    let alone = topic(&log, "leaderless.alone").await;
    beside.writer.commit(beside.transaction(&alone, &["before".to_owned()])).await.unwrap();
    beside.goes_on(20).await;
    cluster.broker(3).unwrap().kill().await.unwrap();

    for attempt in 0..3 {
        let waiting = beside.writer.commit(beside.transaction(&alone, &["meanwhile".to_owned()]));
        let error = soon(waiting).await.unwrap_err().error;
        assert!(error.may_pass(), "{error:?}");
        assert!(attempt == 0 || matches!(error, Error::Abort(_)), "{error:?}");
        beside.goes_on(20).await;
    }

    // A start waits for a broker that comes back.
    let another = KafkaConfig {
        request_wait: config.request_wait,
        ..KafkaConfig::new(&cluster.bootstrap(), &Topics::with_prefix("another"))
    };
    let (started, opened) = tokio::join!(cluster.broker(3).unwrap().start_again(), Kafka::open(another));
    started.unwrap();
    opened.unwrap().close();
    soon(async {
        while beside.writer.commit(beside.transaction(&alone, &["after".to_owned()])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert_eq!(kit::values(&*log, &alone).await, ["before", "after"]);
    beside.goes_on(20).await;
    beside.ends_whole(&log).await;
}
