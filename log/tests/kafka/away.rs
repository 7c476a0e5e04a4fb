//! A broker that is away for longer than it is waited for, and comes back.

use std::time::Duration;

use fpaas_core::TopicPartition;
use fpaas_core::topics::Topics;
use fpaas_log::conformance::kit::text;
use fpaas_log::{Error, Kafka, KafkaConfig, Log as _, TopicSpec, Transaction};
use fpaas_testkit::broker::Options;
use fpaas_testkit::proxy::Way;
use fpaas_testkit::{Broker, Proxy};

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

/// A broker that its controller has given up answers that there are no brokers; whoever asks just then must not believe
/// it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_told_that_there_are_no_brokers_asks_again() {
    let Some(broker) = Broker::start(&Options::default()).await else { return };
    let mut config = KafkaConfig::new(&broker.bootstrap(), &Topics::with_prefix("fenced"));
    config.request_wait = Duration::from_secs(2);
    let mut logs = Vec::new();
    for _ in 0..4 {
        logs.push(Kafka::open(config.clone()).await.unwrap());
    }
    logs[0].create_topic("fenced.t", &TopicSpec::kept(1)).await.unwrap();
    for round in 0..3 {
        broker.pause().await.unwrap();
        // Longer than the controller waits for a broker.
        tokio::time::sleep(Duration::from_secs(6)).await;
        broker.resume().await.unwrap();
        let began = tokio::time::Instant::now();
        let mut answered = 0;
        while answered < 20 * logs.len() {
            answered = 0;
            for log in &logs {
                // Each anew, and nothing of what is known.
                let name = format!("fenced.none-{round}");
                for _ in 0..20 {
                    answered += usize::from(matches!(log.describe_topic(&name).await, Ok(None)));
                }
            }
            assert!(began.elapsed() < Duration::from_secs(60), "round {round}: {answered} answers");
        }
    }
}

/// A connection that breaks while its answer is awaited, as when a leader dies: librdkafka then gives an answer without
/// an error and without an offset. Who took that for an empty partition would restore no row from a full changelog.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_while_it_is_asked_for_offsets_has_not_answered() {
    let proxy = Proxy::start().await.unwrap();
    let Some(broker) = Broker::start(&Options::default().behind(proxy.address())).await else { return };
    proxy.forward(broker.address());
    let config = KafkaConfig::new(&broker.bootstrap(), &Topics::with_prefix("dies"));
    let log = Kafka::open(config).await.unwrap();
    log.create_topic("dies.t", &TopicSpec::kept(1)).await.unwrap();
    let (at, mut transaction) = (TopicPartition::new("dies.t", 0), Transaction::new());
    transaction.append(at.clone(), text("row"));
    log.writer("w", None).await.unwrap().commit(transaction).await.unwrap();
    let record = log.appended_end(&at).await.unwrap();
    assert!(record.0 > 0);

    let (mut unanswered, limit) = (0, Duration::from_secs(30));
    for _ in 0..4 {
        let held = proxy.counts().held;
        proxy.hold(Some(Way::Answers));
        let (appended, marks, ()) = tokio::join!(log.appended_end(&at), log.watermarks(&at), async {
            proxy.wait(limit, |counts| counts.held > held).await.unwrap();
            proxy.cut().await;
            proxy.hold(None);
        });
        for end in [appended, marks.map(|marks| marks.end)] {
            match end {
                Ok(end) => assert!(end >= record, "{end}"),
                Err(Error::Retry(_)) => unanswered += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(unanswered > 0, "the fault has not hit a question");
    let again = async { while log.appended_end(&at).await.is_err() {} };
    tokio::time::timeout(limit, again).await.expect("it answers again");
}
