//! Slots do not stay nobody's.

use std::time::Duration;

use fpaas_core::partition::SLOTS;
use fpaas_log::MembershipEvent;
use fpaas_testkit::Broker;
use fpaas_testkit::broker::Options;

use crate::outlived::Node;

/// Long before anybody's session is over, or anybody else looks.
const SOON: Duration = Duration::from_secs(10);
const HALF: usize = SLOTS as usize / 2;

/// It was to let go of half of them and to ask for a rebalance then. Its next life has nothing to let go of.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_was_to_let_go_of_when_it_died_is_given_to_others_once_it_is_back() {
    let options = Options::default().property("group.min.session.timeout.ms", "1000");
    let Some(broker) = Broker::start(&options).await else { return };
    let mut first = Node::join(&broker.bootstrap(), "first").await;
    first.assigned(SLOTS as usize).await;
    let mut second = Node::join(&broker.bootstrap(), "second").await;
    let (moving, _never_given) = loop {
        if let MembershipEvent::Revoked(moving, ack) = first.event().await {
            break (moving, ack);
        }
    };
    assert_eq!(moving.len(), HALF);
    let mut back = Node::join(&broker.bootstrap(), "first").await;
    let both = async {
        let (mut ours, mut theirs) = (0, 0);
        while (ours, theirs) != (HALF, HALF) {
            let (count, event) = tokio::select! {
                event = back.event() => (&mut ours, event),
                event = second.event() => (&mut theirs, event),
            };
            match event {
                MembershipEvent::Assigned(leases) => *count += leases.len(),
                MembershipEvent::Revoked(leases, ack) => {
                    *count -= leases.len();
                    ack.acknowledge();
                }
                MembershipEvent::Lost(leases) => *count -= leases.len(),
            }
        }
    };
    tokio::time::timeout(SOON, both).await.expect("every slot has somebody");
}
