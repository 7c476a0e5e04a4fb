//! What nodes hear of each other.

use fpaas_core::subscription::Secret;
use fpaas_core::topics::{Stage, Topics};
use fpaas_core::{ManualClock, Partition};
use fpaas_log::Embedded;
use fpaas_log::embedded::EmbeddedConfig;

use super::*;
use crate::board::Board;
use crate::command::{Change, Command};
use crate::{Control, LastOutcome, Machine};

/// A node of several over one log.
async fn node(log: &Arc<Embedded>, clock: &Arc<ManualClock>, name: &str) -> Context {
    let topics = Topics::default();
    let control = Control::open(log.clone(), topics.clone(), name).await.unwrap();
    let board = Arc::new(Board::default());
    Context { log: log.clone(), topics, control, board, clock: clock.clone(), node: name.into() }
}

fn likes() -> Arc<SubscriptionEntry> {
    let (tenant, id) = (TenantId::local(), SubscriptionId::parse("likes").unwrap());
    let change = Change::PutSubscription {
        id: id.clone(),
        subscription: serde_json::from_str("{}").unwrap(),
        secret: Secret::from_bytes(&[7; 32]).unwrap(),
        starts: vec![Offset(3)],
    };
    let mut machine = Machine::default();
    machine.apply(&Command::new("a".to_owned(), Timestamp::default(), tenant.clone(), change));
    Arc::clone(machine.view.subscription(&tenant, &id).unwrap())
}

fn telling(context: &Context) -> Telling {
    Telling { context: context.clone(), writer: None, told: HashMap::new() }
}

fn outcome(at: i64) -> LastOutcome {
    let (time, message) = (Timestamp::from_millis(at), "as it was".into());
    LastOutcome { time, status: Some(200), outcome: "acknowledged".to_owned(), message, attempt: 1 }
}

#[tokio::test]
async fn who_is_asked_knows_what_others_have_told_until_they_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at_micros(1_000_000_000));
    let log = Embedded::open(folder.path(), EmbeddedConfig::new(clock.clone())).unwrap();
    let (a, b, likes) = (node(&log, &clock, "a").await, node(&log, &clock, "b").await, likes());
    let of = |context: &Context| context.board.of(&likes.tenant, &likes.id, likes.incarnation);
    let (told, mut telling_a, mut telling_b) = (Told::default(), telling(&a), telling(&b));
    assert_eq!(told.at_all(&b, &likes).await, Fares::default(), "nobody has told anything");

    of(&a).calls.add(3);
    of(&a).note(outcome(20));
    of(&a).note_stopped(Stage::Dispatcher, Partition(0), "it stands still");
    of(&b).calls.add(2);
    of(&b).note(outcome(10));
    telling_a.tell().await.unwrap();
    telling_b.tell().await.unwrap();
    let all = told.at_all(&b, &likes).await;
    assert_eq!((all.calls, all.last, all.stopped.as_deref()), (5, Some(outcome(20)), Some("it stands still")));
    assert_eq!(Told::default().at_all(&a, &likes).await.calls, 5);

    // It goes on elsewhere.
    of(&a).note_moving(Stage::Dispatcher, Partition(0));
    telling_a.tell().await.unwrap();
    assert_eq!(told.at_all(&b, &likes).await.stopped, None);
    let end = log.watermarks(&at(&a)).await.unwrap().end;
    telling_a.tell().await.unwrap();
    assert_eq!(log.watermarks(&at(&a)).await.unwrap().end, end.next(), "only that it is there");

    clock.advance(GONE_AFTER + EVERY);
    telling_b.tell().await.unwrap();
    assert_eq!(told.at_all(&b, &likes).await.calls, 2, "it is not heeded any more");
    // Back, it has nothing to tell, and what it told before is gone.
    let back = node(&log, &clock, "a").await;
    telling(&back).tell().await.unwrap();
    assert_eq!(told.at_all(&b, &likes).await.calls, 2);
    clock.advance(FORGOTTEN_AFTER * 2);
    telling(&back).tell().await.unwrap();
    let mut heard = Heard::default();
    heard.follow(&*log, &at(&a)).await.unwrap();
    assert_eq!(heard.fares.len(), 0, "{:?}", heard.fares);
    assert_eq!(heard.nodes.keys().collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn what_is_deleted_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at_micros(1_000_000_000));
    let log = Embedded::open(folder.path(), EmbeddedConfig::new(clock.clone())).unwrap();
    let (a, likes) = (node(&log, &clock, "a").await, likes());
    let mut telling = telling(&a);
    a.board.of(&likes.tenant, &likes.id, likes.incarnation).calls.add(1);
    telling.tell().await.unwrap();
    a.board.forget(&likes.tenant, &likes.id, likes.incarnation);
    telling.tell().await.unwrap();
    let mut heard = Heard::default();
    heard.follow(&*log, &at(&a)).await.unwrap();
    assert_eq!(heard.fares.len(), 0);
    // What nobody can read is left out.
    for (key, value) in [("a/x", "{"), ("\u{0}", "null"), ("b", r#"{"v":9}"#)] {
        let value = Some(Bytes::from_static(value.as_bytes()));
        let record = Record { key: Some(key.into()), value, ..Record::default() };
        heard.hear(Stored { offset: Offset(9), record });
    }
    assert_eq!((heard.fares.len(), heard.nodes.len()), (0, 1));
}
