//! A lease ends with the membership that it was granted under, whether librdkafka says so or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::partition::SLOTS;
use fpaas_core::topics::Topics;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::conformance::kit::{self, soon, text};
use fpaas_log::{Culprit, Error, Kafka, KafkaConfig, Lease, Log, Membership, MembershipEvent, Transaction, Writer};
use fpaas_testkit::broker::Options;
use fpaas_testkit::proxy::Way;
use fpaas_testkit::{Broker, Proxy};

const GROUP: &str = "outlived.group";
const SESSION: Duration = Duration::from_secs(3);
/// Longer than that.
const SILENCE: Duration = Duration::from_secs(6);

/// One of two nodes.
pub(crate) struct Node {
    log: Arc<Kafka>,
    pub(crate) membership: Membership,
    writer: Arc<dyn Writer>,
}

impl Node {
    pub(crate) async fn join(bootstrap: &str, name: &str) -> Self {
        let mut config = KafkaConfig::new(bootstrap, &Topics::with_prefix("outlived"));
        config.session = SESSION;
        // Longer than the silence: what was revoked is let go of only after it.
        config.revoke_wait = Duration::from_secs(30);
        let log = Kafka::open(config).await.unwrap();
        let membership = log.join(GROUP, name).await.unwrap();
        let writer = log.writer(name, Some(&membership)).await.unwrap();
        Self { log, membership, writer }
    }

    pub(crate) async fn event(&mut self) -> MembershipEvent {
        tokio::time::timeout(kit::PATIENCE, self.membership.next()).await.unwrap().unwrap()
    }

    /// What it is assigned until it has `slots`; what is revoked meanwhile is let go of.
    pub(crate) async fn assigned(&mut self, slots: usize) -> Vec<Lease> {
        let mut leases: Vec<Lease> = Vec::new();
        while leases.len() < slots {
            match self.event().await {
                MembershipEvent::Assigned(more) => leases.extend(more),
                MembershipEvent::Revoked(gone, ack) => {
                    leases.retain(|lease| !gone.contains(lease));
                    ack.acknowledge();
                }
                MembershipEvent::Lost(gone) => leases.retain(|lease| !gone.contains(lease)),
            }
        }
        leases
    }
}

fn transaction(lease: &Lease, at: &TopicPartition, value: &str, offset: u64) -> Transaction {
    let mut transaction = Transaction::under(lease);
    transaction.append(at.clone(), text(value));
    transaction.advance(at.clone(), Offset(offset), Bytes::new());
    transaction
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_granted_to_a_member_is_not_committed_by_the_one_that_joined_in_its_place() {
    let proxy = Proxy::start().await.unwrap();
    let options = Options::default().behind(proxy.address()).property("group.min.session.timeout.ms", "1000");
    let Some(broker) = Broker::start(&options).await else { return };
    proxy.forward(broker.address());
    let mut first = Node::join(&broker.bootstrap(), "first").await;
    let at = TopicPartition::new("outlived.results", 0);
    first.log.create_topic(&at.topic, &fpaas_log::TopicSpec::kept(1)).await.unwrap();
    let held = first.assigned(SLOTS as usize).await;

    // Half of them are to move; before the first one has let go of these, nobody hears of it for longer than a session.
    let mut second = Node::join(&broker.inside(), "second").await;
    let (moving, ack) = loop {
        if let MembershipEvent::Revoked(moving, ack) = first.event().await {
            break (moving, ack);
        }
    };
    let kept = held.iter().find(|lease| !moving.contains(lease)).unwrap().clone();
    proxy.hold(Some(Way::Requests));
    let began = tokio::time::Instant::now();
    let all = second.assigned(SLOTS as usize).await;
    let theirs = all.iter().find(|lease| lease.slot == kept.slot).unwrap();
    second.writer.commit(transaction(theirs, &at, "second", 10)).await.unwrap();

    // It is back, and joins again by itself, under another id.
    tokio::time::sleep_until(began + SILENCE).await;
    proxy.hold(None);
    ack.acknowledge();
    let late = first.writer.commit(transaction(&kept, &at, "first", 20));
    let late = tokio::time::timeout(Duration::from_secs(45), late).await.unwrap();
    assert_eq!(late.map_err(|rejected| rejected.error), Err(Error::Abort(Culprit::Fenced)));
    let position = second.log.positions(GROUP, std::slice::from_ref(&at)).await.unwrap().remove(0);
    assert_eq!(position.map(|position| position.offset), Some(Offset(10)));
    assert_eq!(kit::values(&*second.log, &at).await, ["second"]);

    // Its stage is told, and it goes on with what it is given next.
    let (mut lost, mut anew) = (false, Vec::new());
    soon(async {
        while !lost || anew.is_empty() {
            tokio::select! {
                event = first.event() => match event {
                    MembershipEvent::Lost(gone) => {
                        lost |= gone.contains(&kept);
                        anew.retain(|lease| !gone.contains(lease));
                    }
                    MembershipEvent::Assigned(leases) => anew = leases,
                    MembershipEvent::Revoked(gone, ack) => {
                        anew.retain(|lease| !gone.contains(lease));
                        ack.acknowledge();
                    }
                },
                event = second.event() => if let MembershipEvent::Revoked(_, ack) = event { ack.acknowledge() },
            }
        }
    })
    .await;
    let lease: &Lease = anew.first().unwrap();
    assert_ne!((lease.slot, lease.incarnation), (kept.slot, kept.incarnation));
    let mut again = Transaction::under(lease);
    again.append(at.clone(), text("first again"));
    first.writer.commit(again).await.unwrap();
    // By the log that committed: another one may hear of it a moment later.
    assert_eq!(kit::values(&*first.log, &at).await, ["second", "first again"]);
}
