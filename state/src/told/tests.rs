//! What nodes hear of each other.

use fpaas_core::subscription::Secret;
use fpaas_core::topics::{Stage, Topics};
use fpaas_core::{ManualClock, Partition, SubscriptionId, TenantId};
use fpaas_log::embedded::EmbeddedConfig;
use fpaas_log::{Embedded, Log as _};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::board::Board;
use crate::command::{Change, Command};
use crate::{Control, LastOutcome};

/// Several nodes over one log, whose views are one.
struct World {
    log: Arc<Embedded>,
    clock: Arc<ManualClock>,
    control: Arc<Control>,
    following: JoinHandle<()>,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at_micros(1_000_000_000));
        let log = Embedded::open(folder.path(), EmbeddedConfig::new(clock.clone())).unwrap();
        let control = Control::open(log.clone(), Topics::default(), "control").await.unwrap();
        let (followed, (restored, ready)) = (Arc::clone(&control), oneshot::channel());
        let following = tokio::spawn(async move {
            let follower = followed.restore().await.unwrap();
            restored.send(()).unwrap();
            follower.follow(&CancellationToken::new()).await.unwrap();
        });
        ready.await.unwrap();
        Self { log, clock, control, following, _folder: folder }
    }

    fn node(&self, name: &str) -> Telling {
        Telling::new(Context {
            log: self.log.clone(),
            topics: Topics::default(),
            control: Arc::clone(&self.control),
            board: Arc::new(Board::default()),
            clock: self.clock.clone(),
            node: name.into(),
        })
    }

    async fn submit(&self, change: Change) -> Key {
        let command = Command::new(format!("{change:?}"), Timestamp::default(), TenantId::local(), change);
        let applied = self.control.submit(command).await.unwrap();
        let incarnation = applied.subscription.map(|entry| entry.incarnation);
        (TenantId::local(), likes(), incarnation.unwrap_or(fpaas_core::Incarnation(0)))
    }

    async fn put(&self) -> Key {
        let subscription = serde_json::from_str("{}").unwrap();
        let secret = Secret::from_bytes(&[7; 32]).unwrap();
        self.submit(Change::PutSubscription { id: likes(), subscription, secret, starts: vec![Offset(3)] }).await
    }

    fn at_all(&self, node: &Telling, key: &Key) -> Fares {
        node.context.board.at_all(key, &node.context.node, node.context.clock.now())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn likes() -> SubscriptionId {
    SubscriptionId::parse("likes").unwrap()
}

fn outcome(at: i64) -> LastOutcome {
    let (time, message) = (Timestamp::from_millis(at), "as it was".into());
    LastOutcome { time, status: Some(200), outcome: "acknowledged".to_owned(), message, attempt: 1 }
}

#[tokio::test]
async fn who_is_asked_knows_what_others_have_told_until_they_are_gone() {
    let world = World::new().await;
    let (mut a, mut b, key) = (world.node("a"), world.node("b"), world.put().await);
    let of = |node: &Telling| node.context.board.of(&key.0, &key.1, key.2);
    assert_eq!(world.at_all(&b, &key), Fares::default(), "nobody has told anything");

    of(&a).calls.add(3);
    of(&a).note(outcome(20));
    of(&a).note_stopped(Stage::Dispatcher, Partition(0), "it stands still");
    of(&b).calls.add(2);
    of(&b).note(outcome(10));
    a.turn().await.unwrap();
    b.turn().await.unwrap();
    a.turn().await.unwrap();
    let all = world.at_all(&b, &key);
    assert_eq!((all.calls, all.last, all.stopped.as_deref()), (5, Some(outcome(20)), Some("it stands still")));
    assert_eq!(world.at_all(&a, &key).calls, 5);

    // It goes on elsewhere: that is news, and a number is not.
    of(&a).note_moving(Stage::Dispatcher, Partition(0));
    a.turn().await.unwrap();
    b.turn().await.unwrap();
    assert_eq!(world.at_all(&b, &key).stopped, None);
    of(&a).calls.add(1);
    let end = world.log.watermarks(&a.at).await.unwrap().end;
    a.turn().await.unwrap();
    assert_eq!(world.log.watermarks(&a.at).await.unwrap().end, end.next(), "only that it is there");
    assert_eq!(world.at_all(&b, &key).calls, 5);

    world.clock.advance(Duration::from_secs(31));
    b.turn().await.unwrap();
    assert_eq!(world.at_all(&b, &key).calls, 2, "it is not heeded any more");
    // Back, it has nothing to tell, and what it told before is gone.
    let mut back = world.node("a");
    back.turn().await.unwrap();
    b.turn().await.unwrap();
    assert_eq!(world.at_all(&b, &key).calls, 2);
    of(&back).calls.add(7);
    back.turn().await.unwrap();
    b.turn().await.unwrap();
    assert_eq!(world.at_all(&b, &key).calls, 9);
    // Whoever is gone for good is forgotten by everybody.
    world.clock.advance(FORGOTTEN_AFTER * 2);
    b.turn().await.unwrap();
    b.turn().await.unwrap();
    let others = b.context.board.others();
    assert_eq!((others.nodes.contains_key("b"), others.nodes.len(), others.fares.contains_key("a")), (true, 1, false));
}

#[tokio::test]
async fn what_is_deleted_is_taken_back_and_what_nobody_can_read_is_left_out() {
    let world = World::new().await;
    let (mut a, mut b, key) = (world.node("a"), world.node("b"), world.put().await);
    a.context.board.of(&key.0, &key.1, key.2).calls.add(1);
    a.turn().await.unwrap();
    b.turn().await.unwrap();
    assert_eq!(b.context.board.others().fares["a"].len(), 1);
    world.submit(Change::DeleteSubscription { id: likes() }).await;
    a.turn().await.unwrap();
    b.turn().await.unwrap();
    assert!(a.context.board.get(&key.0, &key.1, key.2).is_none());
    assert!(b.context.board.others().fares["a"].is_empty() && a.told.is_empty());
    let mut others = Others::default();
    for (key, value) in [("a/x", "{"), ("\u{0}", "null"), ("b", r#"{"v":9}"#)] {
        let value = Some(value.as_bytes().to_vec().into());
        let record = Record { key: Some(key.into()), value, ..Record::default() };
        note(&mut others, Stored { offset: Offset(9), record });
    }
    assert!(others.fares.values().all(HashMap::is_empty) && others.nodes.is_empty());
}
