//! Dead letters that are delivered again.

use std::time::{Duration, Instant};

use fpaas_core::{Offset, Timestamp};
use fpaas_log::{Log as _, Record, Transaction};
use fpaas_state::rows::RedriveRow;
use fpaas_state::{Cause, Change, Outcome, Standings};
use serde_json::json;

use crate::support::receiver::{Receiver, status};
use crate::support::{PATIENCE, World, event, likes, subscription, tenant, text};

/// Begins one over the first lane's letters below `to`; its number.
pub(crate) async fn redrive(world: &mut World, to: u64, reasons: &[&str], rate: Option<u32>) -> u64 {
    let entry = world.context.control.view().subscription(&tenant(), &likes()).unwrap().clone();
    let change = Change::StartRedrive {
        id: likes(),
        of: entry.incarnation,
        instead_of: entry.redrive.as_ref().map(|redrive| redrive.since),
        from: vec![Offset(0)],
        to: vec![Offset(to)],
        reasons: reasons.iter().map(ToString::to_string).collect(),
        events_per_second: rate,
    };
    assert_eq!(world.submit(change).await, Outcome::Replaced);
    let view = world.context.control.view();
    view.subscription(&tenant(), &likes()).unwrap().redrive.as_ref().unwrap().since
}

/// How far the first lane has come, once that is `to`.
pub(crate) async fn done(world: &World, since: u64, to: u64) -> RedriveRow {
    let (standings, begun) = (Standings::default(), Instant::now());
    let entry = world.context.control.view().subscription(&tenant(), &likes()).unwrap().clone();
    loop {
        let row = standings.of_redrive(&world.context, &entry, since, &world.lane(0)).await.unwrap();
        if let Some(row) = row.filter(|row| row.position == Offset(to)) {
            return row;
        }
        assert!(begun.elapsed() < PATIENCE, "it is done");
        tokio::task::yield_now().await;
    }
}

async fn end_of_letters(world: &World) -> u64 {
    world.log.watermarks(&world.dead_letters()).await.unwrap().end.0
}

/// A world in which these events have died, one after the other.
async fn with_letters(folder: &std::path::Path, receiver: &Receiver, events: std::ops::Range<u32>) -> World {
    let mut world = World::open_with(folder, |config| config.gap_every = Some(3)).await;
    let count = events.len();
    (0..count).for_each(|_| receiver.then(status(400)));
    let one = json!({"collector": {"maxEvents": 1, "maxWaitMs": 0}});
    world.put(subscription(&receiver.url, &one)).await;
    world.deliver(events).await;
    world.read(&world.dead_letters(), count).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_delivered_again_as_they_were_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([]).await;
    let mut world = with_letters(folder.path(), &receiver, 0..5).await;
    let end = end_of_letters(&world).await;
    receiver.requests();
    // The first one dies again: that letter is not in it.
    receiver.then(status(400));
    let since = redrive(&mut world, end, &[], None).await;
    let results = world.read(&world.results(), 4).await;
    let values: Vec<_> = results.iter().map(|stored| text(&stored.record)).collect();
    assert_eq!(values, (1..5).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>());
    let row = RedriveRow { position: Offset(end), redriven: 5, ..RedriveRow::default() };
    assert_eq!(done(&world, since, end).await, row);
    let ids: Vec<_> = receiver.requests().iter().flat_map(|request| request.events()).collect();
    assert_eq!(ids, ["e0", "e1", "e2", "e3", "e4"]);
    // What died again is as it was, too, and another redrive ends it; the first one's row goes.
    let letters = world.read(&world.dead_letters(), 6).await;
    let names = |record: &Record| record.headers.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&letters[0].record), names(&letters[5].record));
    let entry = world.context.control.view().subscription(&tenant(), &likes()).unwrap().clone();
    let end = end_of_letters(&world).await;
    let next = redrive(&mut world, end, &[], None).await;
    world.read(&world.results(), 10).await;
    assert_eq!(done(&world, next, end).await.redriven, 6);
    let gone = Standings::default().of_redrive(&world.context, &entry, since, &world.lane(0)).await.unwrap();
    assert_eq!(gone, None);
    world.stop().await;
}

/// A letter that nobody has given up on here.
fn letter(number: u32, reason: &str, bytes_max: usize) -> Record {
    let cause = Cause {
        stage: "dispatcher",
        reason,
        status: None,
        message: "no",
        attempts: 1,
        first_failed: Timestamp::default(),
        last_failed: Timestamp::default(),
        batch: None,
    };
    let value = format!(r#"{{"n": {number}, "padding": "{}"}}"#, "x".repeat(600));
    let event = Record { value: Some(value.into()), ..event(number) };
    fpaas_state::dead_letter(&event, &cause.headers(), Timestamp::default(), bytes_max)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_or_no_whole_one_or_not_asked_for_is_passed_over_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::start([]).await);
    world.put(subscription(&receiver.url, &json!({}))).await;
    let letters = [
        letter(0, "status", 9000),
        letter(1, "output", 9000),
        letter(2, "timeout", 9000),
        letter(3, "status", 500),
        letter(4, "status", 9000),
    ];
    let (at, mut transaction) = (world.dead_letters(), Transaction::new());
    letters.into_iter().for_each(|letter| transaction.append(at.clone(), letter));
    world.log.writer("somebody", None).await.unwrap().commit(transaction).await.unwrap();
    let since = redrive(&mut world, 5, &["status", "rejected"], None).await;
    let row = RedriveRow { position: Offset(5), redriven: 2, results: 1, cut: 1, others: 1, refused: 0 };
    assert_eq!(done(&world, since, 5).await, row);
    world.read(&world.results(), 2).await;
    let ids: Vec<_> = receiver.requests().iter().flat_map(|request| request.events()).collect();
    assert_eq!(ids, ["e0", "e4"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_subscriptions_redrive_waits_and_one_that_is_cancelled_delivers_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([]).await;
    let mut world = with_letters(folder.path(), &receiver, 0..3).await;
    let end = end_of_letters(&world).await;
    receiver.requests();
    let one = json!({"collector": {"maxEvents": 1, "maxWaitMs": 0}, "state": "paused"});
    let active = json!({"collector": {"maxEvents": 1, "maxWaitMs": 0}});
    world.put(subscription(&receiver.url, &one)).await;
    let since = redrive(&mut world, end, &[], None).await;
    let of = world.incarnation();
    assert_eq!(world.submit(Change::CancelRedrive { id: likes(), of, since }).await, Outcome::Replaced);
    world.put(subscription(&receiver.url, &active)).await;
    world.deliver(7..8).await;
    assert_eq!(receiver.request().await.events(), ["e7"], "none was called before it");
    world.put(subscription(&receiver.url, &one)).await;
    let since = redrive(&mut world, end, &[], None).await;
    world.put(subscription(&receiver.url, &active)).await;
    assert_eq!(done(&world, since, end).await.redriven, 3);
    world.read(&world.results(), 4).await;
    let ids: Vec<_> = receiver.requests().iter().flat_map(|request| request.events()).collect();
    assert_eq!(ids, ["e0", "e1", "e2"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_keeps_to_its_rate_and_holds_up_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([]).await;
    let mut world = with_letters(folder.path(), &receiver, 0..3).await;
    let end = end_of_letters(&world).await;
    receiver.requests();
    let begun = Instant::now();
    let since = redrive(&mut world, end, &[], Some(1)).await;
    assert_eq!(receiver.request().await.events(), ["e0"]);
    world.deliver(7..8).await;
    assert_eq!(receiver.request().await.events(), ["e7"]);
    done(&world, since, end).await;
    assert_eq!(receiver.request().await.events(), ["e1"]);
    assert_eq!(receiver.request().await.events(), ["e2"]);
    // One at once, and one for each second after that.
    assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
    world.stop().await;
}
