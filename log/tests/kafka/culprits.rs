//! What one topic refuses concerns that topic: whatever else the same member commits goes on beside it.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::TopicPartition;
use fpaas_core::topics::Topics;
use fpaas_log::conformance::kit::{self, PATIENCE, refused, soon};
use fpaas_log::{Culprit, Error, Kafka, KafkaConfig, Log, Refusal, Transaction, Writer};
use fpaas_testkit::Broker;
use fpaas_testkit::broker::{Options, Which};

use crate::beside::{Beside, topic};

const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const USER: &str = "fpaas";

/// A broker that asks who somebody is. What has no rules is open to all.
async fn guarded() -> Option<(Broker, Arc<Kafka>)> {
    let login = "org.apache.kafka.common.security.plain.PlainLoginModule required user_fpaas=\"secret\";";
    let options = Options::default()
        .only(Which::Jars)
        .security("SASL_PLAINTEXT")
        .property("listener.name.client.sasl.enabled.mechanisms", "PLAIN")
        .property("listener.name.client.plain.sasl.jaas.config", login)
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("super.users", "User:ANONYMOUS")
        .property("allow.everyone.if.no.acl.found", "true");
    let broker = Broker::start(&options).await?;
    let mut config = KafkaConfig::new(&broker.bootstrap(), &Topics::with_prefix("guarded"));
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", USER),
        ("sasl.password", "secret"),
    ];
    config.properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let log = Kafka::open(config).await.unwrap();
    Some((broker, log))
}

/// Rules for a topic: only these may be done there.
async fn allow_only(broker: &Broker, topic: &str, operations: &[&str]) {
    let user = format!("User:{USER}");
    let mut arguments = vec!["--add", "--topic", topic, "--allow-principal", &user];
    operations.iter().for_each(|operation| arguments.extend(["--operation", operation]));
    broker.tool(ACLS, &arguments).await.unwrap();
}

/// Everybody may do everything there again.
async fn open_again(broker: &Broker, topic: &str) {
    broker.tool(ACLS, &["--remove", "--force", "--topic", topic]).await.unwrap();
}

fn culprit(at: &TopicPartition, refusal: Refusal) -> Error {
    Error::Abort(Culprit::Append { at: at.clone(), refusal })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_written_to_is_the_culprit_and_others_go_on() {
    let Some((broker, log)) = guarded().await else { return };
    let beside = Beside::start(&log, "guarded").await;
    let forbidden = topic(&log, "guarded.forbidden").await;
    allow_only(&broker, &forbidden.topic, &["Describe", "Read"]).await;
    for _ in 0..3 {
        let transaction = beside.transaction(&forbidden, &["never".to_owned()]);
        let error = tokio::time::timeout(PATIENCE, refused(&*beside.writer, transaction)).await.unwrap();
        assert_eq!(error, culprit(&forbidden, Refusal::NotAuthorised));
        beside.goes_on(20).await;
    }
    assert!(kit::values(&*log, &forbidden).await.is_empty());

    // Neither may a position be committed where nothing may be read.
    let unread = topic(&log, "guarded.unread").await;
    allow_only(&broker, &unread.topic, &["Describe", "Write"]).await;
    let mut transaction = beside.transaction(&unread, &["never".to_owned()]);
    transaction.advance(unread.clone(), fpaas_core::Offset(1), bytes::Bytes::new());
    let error = tokio::time::timeout(PATIENCE, refused(&*beside.writer, transaction)).await.unwrap();
    assert_eq!(error, culprit(&unread, Refusal::NotAuthorised));
    beside.goes_on(20).await;

    // What an operator mends is seen without a restart.
    open_again(&broker, &forbidden.topic).await;
    soon(async {
        while beside.writer.commit(beside.transaction(&forbidden, &["at last".to_owned()])).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    })
    .await;
    assert_eq!(kit::values(&*log, &forbidden).await, ["at last"]);
    beside.ends_whole(&log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_made_is_refused_with_what_to_do() {
    let Some((broker, log)) = guarded().await else { return };
    // Topics may be made by nobody in general, and by everybody where a topic has no rules.
    broker
        .tool(ACLS, &["--add", "--cluster", "--allow-principal", "User:another", "--operation", "Create"])
        .await
        .unwrap();
    allow_only(&broker, "guarded.forbidden", &["Describe"]).await;
    let made = log.create_topic("guarded.forbidden", &fpaas_log::TopicSpec::kept(1)).await;
    let Err(Error::Refused(why)) = made else { panic!("{made:?}") };
    assert!(why.contains("guarded.forbidden") && why.contains("give the user"), "{why}");
    topic(&log, "guarded.open").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_above_the_limit_of_its_topic_is_the_culprit_and_its_neighbours_are_not() {
    let Some((broker, log)) = guarded().await else { return };
    let (beside, small) = (Beside::start(&log, "guarded").await, topic(&log, "guarded.small").await);
    let limit = ["--alter", "--entity-type", "topics", "--entity-name", &small.topic, "--add-config"];
    broker.tool(CONFIGS, &[&limit[..], &["max.message.bytes=20000"]].concat()).await.unwrap();
    let too_large = refused(&*beside.writer, beside.transaction(&small, &[noise(98, 60_000)])).await;
    assert_eq!(too_large, culprit(&small, Refusal::TooLarge));
    beside.goes_on(20).await;
    // Each of them fits, and all of them in one batch do not, however well they can be pressed.
    let many: Vec<String> = (0..40).map(|seed| noise(seed, 5000)).collect();
    beside.writer.commit(beside.transaction(&small, &many)).await.unwrap();
    assert_eq!(kit::values(&*log, &small).await, many);
    beside.goes_on(20).await;
    // One among many that does not.
    let mut among = many.clone();
    among.insert(20, noise(99, 60_000));
    assert_eq!(refused(&*beside.writer, beside.transaction(&small, &among)).await, culprit(&small, Refusal::TooLarge));
    beside.goes_on(20).await;
    beside.ends_whole(&log).await;
}

/// Text that does not shrink to much less than half.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap())
    };
    (0..length).map(|_| next()).collect()
}

/// Why it is refused in the end: what passes is asked again, as stages do.
async fn finally(writer: &dyn Writer, mut transaction: Transaction) -> Error {
    loop {
        let rejected = writer.commit(transaction).await.unwrap_err();
        match rejected.error {
            Error::Retry(_) => transaction = *rejected.transaction,
            // So soon after it was there nobody is believed that it is gone.
            Error::Abort(Culprit::Append { refusal: Refusal::Unavailable, .. }) => transaction = *rejected.transaction,
            error => return error,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_somebody_else_deleted_is_the_culprit_and_others_go_on() {
    let Some((broker, log)) = guarded().await else { return };
    let (beside, gone) = (Beside::start(&log, "guarded").await, topic(&log, "guarded.gone").await);
    beside.writer.commit(beside.transaction(&gone, &["there".to_owned()])).await.unwrap();
    broker.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &gone.topic]).await.unwrap();
    let error =
        tokio::time::timeout(PATIENCE, finally(&*beside.writer, beside.transaction(&gone, &["late".to_owned()])));
    assert_eq!(error.await.unwrap(), culprit(&gone, Refusal::NoSuchTopic));
    beside.goes_on(20).await;
    let mut transaction = beside.transaction(&beside.at, &[]);
    transaction.advance(gone.clone(), fpaas_core::Offset(1), bytes::Bytes::new());
    let error = tokio::time::timeout(PATIENCE, finally(&*beside.writer, transaction));
    assert_eq!(error.await.unwrap(), culprit(&gone, Refusal::NoSuchTopic));
    beside.goes_on(20).await;
    beside.ends_whole(&log).await;
}
