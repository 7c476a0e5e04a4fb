//! The control topic on a log: what a node knows after a start is what it knew before, from a snapshot or from all
//! commands.

#![expect(clippy::unwrap_used, clippy::tests_outside_test_module, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::topic::TopicSettings;
use fpaas_core::topics::Topics;
use fpaas_core::{ManualClock, TenantId, Timestamp, TopicName, TopicPartition};
use fpaas_log::{Embedded, EmbeddedConfig, FetchBounds, Fsync, Log};
use fpaas_state::{Change, Command, Control, Outcome, View};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A node: its log, and the view that follows.
struct Node {
    log: Arc<Embedded>,
    control: Arc<Control>,
    stop: CancellationToken,
    following: JoinHandle<()>,
}

impl Node {
    async fn start(folder: &Path) -> Self {
        let clock = Arc::new(ManualClock::at_micros(1_000_000));
        let config = EmbeddedConfig { fsync: Fsync::Never, gap_every: Some(7), ..EmbeddedConfig::new(clock) };
        let log = Embedded::open(folder, config).unwrap();
        let control = Control::open(log.clone(), Topics::default(), "node").await.unwrap();
        let (stop, (restored, ready)) = (CancellationToken::new(), oneshot::channel());
        let (follows, until) = (Arc::clone(&control), stop.clone());
        let following = tokio::spawn(async move {
            let follower = follows.restore().await.unwrap();
            restored.send(()).unwrap();
            follower.follow(&until).await.unwrap();
        });
        ready.await.unwrap();
        Self { log, control, stop, following }
    }

    /// Changes one of ten topics so many times.
    async fn change(&self, ids: std::ops::Range<u64>) {
        let put = |id: u64| self.control.submit(command(id));
        for some in ids.collect::<Vec<_>>().chunks(200) {
            for applied in futures_util::future::join_all(some.iter().map(|id| put(*id))).await {
                assert!(matches!(applied.unwrap().outcome, Outcome::Created | Outcome::Replaced));
            }
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.following.await.unwrap();
        self.log.close().unwrap();
    }

    fn snapshots() -> TopicPartition {
        TopicPartition::new(Topics::default().control_snapshot(), 0)
    }

    /// The revisions of the snapshots that are there, once that is one, and at least so new.
    async fn found_from(&self, revision: u64) -> Vec<u64> {
        let found = async {
            loop {
                let found = self.found().await;
                if found.len() == 1 && found.iter().all(|found| *found >= revision) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.unwrap()
    }

    async fn found(&self) -> Vec<u64> {
        let at = Self::snapshots();
        let low = self.log.watermarks(&at).await.unwrap().low;
        let records = self.log.fetch(&at, low, FetchBounds::now()).await.unwrap().records;
        let revision = |key: &str| key.split('/').next().unwrap().parse().unwrap();
        records
            .iter()
            .map(|stored| revision(std::str::from_utf8(stored.record.key.as_deref().unwrap()).unwrap()))
            .collect()
    }
}

fn command(id: u64) -> Command {
    let change = Change::PutTopic {
        name: TopicName::parse(&format!("topic-{}", id % 10)).unwrap(),
        settings: TopicSettings { retention_ms: Some(3_600_000 + id), ..TopicSettings::default() },
    };
    let time = Timestamp::from_millis(i64::try_from(id).unwrap());
    Command::new(format!("command-{id}"), time, TenantId::parse("acme").unwrap(), change)
}

fn shown(view: &View) -> String {
    format!("{} {:?} {:?}", view.revision, view.topics, view.subscriptions)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_a_snapshot_knows_what_a_start_from_all_commands_knows() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path()).await;
    node.change(0..900).await;
    assert!(node.found().await.is_empty(), "none is due yet");
    node.change(900..2500).await;
    node.found_from(1900).await;
    let before = shown(&node.control.view());
    node.stop().await;

    let node = Node::start(folder.path()).await;
    assert_eq!(shown(&node.control.view()), before);
    // Also of what was asked before.
    assert_eq!(node.control.submit(command(1)).await.unwrap().outcome, Outcome::Created);
    assert_eq!(node.control.submit(command(2499)).await.unwrap().outcome, Outcome::Replaced);
    let before = shown(&node.control.view());
    node.log.delete_topic(&Node::snapshots().topic).await.unwrap();
    node.stop().await;

    let node = Node::start(folder.path()).await;
    assert_eq!(shown(&node.control.view()), before);
    // All of them were replayed: the next start is quicker.
    assert_eq!(node.found_from(2502).await, [2502]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_control_topic_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path()).await;
    node.change(0..1100).await;
    node.found_from(1000).await;
    node.stop().await;
    let clock = Arc::new(ManualClock::at_micros(1_000_000));
    let log = Embedded::open(folder.path(), EmbeddedConfig::new(clock)).unwrap();
    log.delete_topic(&Topics::default().control()).await.unwrap();
    let control = Control::open(log.clone(), Topics::default(), "node").await.unwrap();
    let refused = control.restore().await.unwrap_err().to_string();
    assert!(refused.contains("that topic is another"), "{refused}");
    log.close().unwrap();
}
