//! Another subscription's work: what goes wrong elsewhere must not hold it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fpaas_core::TopicPartition;
use fpaas_log::conformance::kit::{self, soon, text};
use fpaas_log::{Kafka, Lease, Log, Membership, MembershipEvent, Transaction};
use tokio::task::JoinHandle;

/// A member of a group of its own, which commits to a topic of its own all the time.
pub(crate) struct Beside {
    pub(crate) writer: Arc<dyn fpaas_log::Writer>,
    pub(crate) lease: Lease,
    pub(crate) at: TopicPartition,
    _membership: Membership,
    committed: Arc<AtomicU32>,
    going_on: JoinHandle<()>,
}

impl Beside {
    pub(crate) async fn start(log: &Kafka, prefix: &str) -> Self {
        let at = topic(log, &format!("{prefix}.beside")).await;
        let mut membership = log.join(&format!("{prefix}.group"), "alone").await.unwrap();
        let writer = log.writer("alone", Some(&membership)).await.unwrap();
        let lease = loop {
            if let MembershipEvent::Assigned(leases) = soon(membership.next()).await.unwrap() {
                break leases.first().unwrap().clone();
            }
        };
        let committed = Arc::<AtomicU32>::default();
        let (of, to, under, count) = (Arc::clone(&writer), at.clone(), lease.clone(), Arc::clone(&committed));
        let going_on = tokio::spawn(async move {
            loop {
                let mut transaction = Transaction::under(&under);
                transaction.append(to.clone(), text(count.load(Ordering::SeqCst).to_string()));
                match of.commit(transaction).await {
                    Ok(_) => drop(count.fetch_add(1, Ordering::SeqCst)),
                    // A broker that goes away takes its coordinators along.
                    Err(rejected) => assert!(rejected.error.may_pass(), "{rejected}"),
                }
            }
        });
        Self { writer, lease, at, _membership: membership, committed, going_on }
    }

    /// Until so many more are committed.
    pub(crate) async fn goes_on(&self, by: u32) {
        let until = self.committed.load(Ordering::SeqCst) + by;
        soon(async {
            while self.committed.load(Ordering::SeqCst) < until {
                assert!(!self.going_on.is_finished(), "what goes on beside it has failed");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub(crate) fn transaction(&self, to: &TopicPartition, texts: &[String]) -> Transaction {
        let mut transaction = Transaction::under(&self.lease);
        texts.iter().for_each(|value| transaction.append(to.clone(), text(value)));
        transaction
    }

    /// Every one of them is there once.
    pub(crate) async fn ends_whole(self, log: &Kafka) {
        self.going_on.abort();
        let found = kit::values(log, &self.at).await;
        let counted = self.committed.load(Ordering::SeqCst) as usize;
        assert!(found.len() == counted || found.len() == counted + 1, "{} of {counted}", found.len());
        assert!(found.iter().enumerate().all(|(number, value)| number.to_string() == *value));
    }
}

/// Three brokers on a small machine take their time to lead it: it is asked for again, as stages do.
pub(crate) async fn topic(log: &Kafka, name: &str) -> TopicPartition {
    let made = async {
        while let Err(error) = log.create_topic(name, &fpaas_log::TopicSpec::kept(1)).await {
            assert!(error.may_pass(), "{error}");
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(240), made).await.unwrap();
    TopicPartition::new(name, 0)
}
