//! The scan's single duties, one by one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::partition::Slot;
use fpaas_core::subscription::State;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{FetchBounds, MembershipEvent, Record, Transaction};
use fpaas_router::Config;
use fpaas_state::rows::{self, ScanRow, StartedRow};
use tempfile::TempDir;

use crate::world::{Delivered, FENCE, Life, collections, live, pool, source};
use fpaas_log::faulty::{Fault, Faults};

fn quick() -> Config {
    Config { idle_commit: Duration::from_millis(5), ..Config::default() }
}

async fn begin(folder: &Path) -> Life {
    Life::begin(folder, quick(), Faults::new(vec![])).await
}

async fn fresh(faults: Vec<(usize, Fault)>) -> (TempDir, Life) {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::begin(folder.path(), quick(), Faults::new(faults)).await;
    (folder, life)
}

fn has(offset: Offset) -> impl Fn(&Delivered) -> bool {
    move |delivered| delivered.get(&0).is_some_and(|offsets| offsets.contains(&offset.0))
}

/// What the changelog holds of the slot that partition 0 of the source belongs to: keys and values.
async fn rows(life: &Life) -> Vec<(String, Option<Bytes>)> {
    let at = TopicPartition::new(life.topics.tables(&pool(), Stage::Router), Slot::of_source(&source(0)).0);
    let fetched = life.log.fetch(&at, Offset::ZERO, FetchBounds::now()).await.unwrap();
    let records = fetched.records.into_iter().map(|stored| stored.record);
    records.map(|row| (String::from_utf8(row.key.unwrap().to_vec()).unwrap(), row.value)).collect()
}

#[tokio::test]
async fn a_position_is_committed_with_the_revision_it_ran_under_and_a_started_row() {
    let (_folder, mut life) = fresh(vec![]).await;
    life.put("likes", collections(&[]), life.ends().await).await;
    life.start("node0");
    let first = life.append(0, FENCE).await;
    life.delivered("likes", has(first)).await;
    let offset = life.append(0, FENCE).await;
    life.delivered("likes", has(offset)).await;
    let position = life.position(0).await.unwrap();
    assert_eq!((position.offset, &position.metadata[..]), (offset.next(), &br#"{"v":1,"revision":1,"rows":true}"#[..]));
    let rows = rows(&life).await;
    let count = |key: &str| rows.iter().filter(|(found, _)| found == key).count();
    assert_eq!(count("started/fpaas.firehose/0"), 1, "{rows:?}");
    assert_eq!(count("scan/acme/likes/1/fpaas.firehose/0"), 1, "{rows:?}");
    life.stop().await;
}

#[test]
fn a_stop_commits_what_was_scanned_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let last = live(async {
        let slow = Config { idle_commit: Duration::from_secs(3600), ..Config::default() };
        let mut life = Life::begin(folder.path(), slow, Faults::new(vec![])).await;
        life.put("likes", collections(&[]), life.ends().await).await;
        life.start("node0");
        let first = life.append(0, FENCE).await;
        assert_eq!(life.delivered("likes", has(first)).await[&0], [first.0]);
        let nobody_wants_this = life.append(0, "a.a.a").await;
        let passed = |asked: &BTreeMap<u32, Offset>| asked.get(&0).is_some_and(|from| *from > nobody_wants_this);
        life.faults.asked.subscribe().wait_for(passed).await.unwrap();
        assert!(life.position(0).await.unwrap().offset <= nobody_wants_this);
        life.stop().await;
        nobody_wants_this
    });
    live(async {
        let life = begin(folder.path()).await;
        assert!(life.position(0).await.unwrap().offset > last);
        life.stop().await;
    });
}

#[tokio::test]
async fn a_position_that_is_lost_stops_the_scan_with_a_sentence() {
    let (_folder, mut life) = fresh(vec![]).await;
    life.put("likes", collections(&[]), life.ends().await).await;
    let slot = Slot::of_source(&source(0));
    let tables = life.topics.tables(&pool(), Stage::Router);
    life.log.create_topic(&tables, &fpaas_log::TopicSpec::compacted(64)).await.unwrap();
    let mut transaction = Transaction::new();
    let key = Some(rows::started_key(&source(0)).into());
    let value = Some(rows::encode(&StartedRow {}).unwrap());
    transaction.append(TopicPartition::new(tables, slot.0), Record { key, value, ..Record::default() });
    life.log.writer("test.rows", None).await.unwrap().commit(transaction).await.unwrap();
    life.start("node0");
    life.append(0, FENCE).await;
    let other = life.append(1, FENCE).await;
    let delivered = life.delivered("likes", |delivered| delivered.contains_key(&1)).await;
    assert_eq!(delivered[&1], [other.0]);
    let counters = life.counters("likes");
    life.stop().await;
    assert!(counters.stopped().unwrap().starts_with("positionLost"));
}

/// It would begin at its start again, and everything it has had would come twice.
#[test]
fn a_row_that_is_lost_stops_the_scan_with_a_sentence_and_what_is_new_has_none_to_lose() {
    let folder = tempfile::tempdir().unwrap();
    let (first, lost) = live(async {
        let mut life = begin(folder.path()).await;
        life.put("likes", collections(&[]), life.ends().await).await;
        life.start("node0");
        let first = [life.append(0, FENCE).await.0, life.append(1, FENCE).await.0];
        let delivered = life.delivered("likes", |delivered| delivered.len() == 2).await;
        assert_eq!(delivered, [(0, vec![first[0]]), (1, vec![first[1]])].into());
        let lost = rows::scan_key(&life.entry("likes"), &source(0));
        life.stop().await;
        (first, lost)
    });
    live(async {
        let mut life = begin(folder.path()).await;
        let at = TopicPartition::new(life.topics.tables(&pool(), Stage::Router), Slot::of_source(&source(0)).0);
        let mut transaction = Transaction::new();
        transaction.append(at, Record { key: Some(lost.into()), ..Record::default() });
        life.log.writer("test.rows", None).await.unwrap().commit(transaction).await.unwrap();
        life.put("new", collections(&[]), life.ends().await).await;
        life.start("node0");
        life.append(0, FENCE).await;
        let second = life.append(1, FENCE).await.0;
        let delivered = life.delivered("likes", |delivered| delivered.get(&1).is_some_and(|at| at.len() == 2)).await;
        assert_eq!(delivered, [(0, vec![first[0]]), (1, vec![first[1], second])].into());
        assert_eq!(life.delivered("new", |delivered| !delivered.is_empty()).await, [(1, vec![second])].into());
        let counters = life.counters("likes");
        let stands = async {
            while counters.stopped().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), stands).await.unwrap();
        life.stop().await;
        let stopped = counters.stopped().unwrap();
        assert!(stopped.starts_with("rowLost: where acme/likes/1 stands on fpaas.firehose/0 was written"), "{stopped}");
    });
}

/// Its status says so a moment after its deliveries are there.
async fn moves(life: &Life, id: &str) {
    let moves = async {
        while life.counters(id).stopped().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), moves).await.expect("it moves");
}

#[tokio::test]
async fn a_refused_subscription_stands_still_and_delays_nobody_and_goes_on_when_it_may() {
    let (_folder, mut life) = fresh(vec![(1, Fault::Refuse("fpaas.acme.d.bad.2".to_owned()))]).await;
    life.put("good", collections(&[]), life.ends().await).await;
    life.put("bad", collections(&[]), life.ends().await).await;
    life.start("node0");
    let first = life.append(0, FENCE).await;
    let second = life.append(0, FENCE).await;
    life.delivered("good", has(second)).await;
    assert_eq!(life.counters("bad").stopped().unwrap(), "a delivery was refused: not authorised");
    life.faults.heal();
    let third = life.append(0, FENCE).await;
    let delivered = life.delivered("bad", has(third)).await;
    assert_eq!(delivered[&0], [first.0, second.0, third.0]);
    moves(&life, "bad").await;
    assert_eq!(life.all_delivered("good").await[&0], [first.0, second.0, third.0]);
    life.stop().await;
}

#[tokio::test]
async fn a_subscription_whose_deliveries_have_no_leader_waits_and_delays_nobody_and_catches_up_by_itself() {
    let (_folder, mut life) = fresh(vec![(1, Fault::Leaderless("fpaas.acme.d.bad.2".to_owned()))]).await;
    life.put("good", collections(&[]), life.ends().await).await;
    life.put("bad", collections(&[]), life.ends().await).await;
    life.start("node0");
    let first = life.append(0, FENCE).await;
    let second = life.append(0, FENCE).await;
    life.delivered("good", has(second)).await;
    let third = life.append(0, FENCE).await;
    life.delivered("good", has(third)).await;
    let why = life.counters("bad").stopped();
    assert_eq!(why.as_deref(), Some("a delivery was refused: its partition has no leader now"));
    life.faults.heal();
    let delivered = life.delivered("bad", has(third)).await;
    assert_eq!(delivered[&0], [first.0, second.0, third.0]);
    let fourth = life.append(0, FENCE).await;
    life.delivered("bad", has(fourth)).await;
    moves(&life, "bad").await;
    for id in ["good", "bad"] {
        assert_eq!(life.all_delivered(id).await[&0], [first.0, second.0, third.0, fourth.0]);
    }
    life.stop().await;
}

#[tokio::test]
async fn a_source_that_nobody_wants_any_more_may_lose_its_position() {
    let (_folder, mut life) = fresh(vec![]).await;
    life.put("likes", collections(&[]), life.ends().await).await;
    life.start("node0");
    let first = life.append(0, FENCE).await;
    life.delivered("likes", has(first)).await;
    assert!(is_started(&life).await);
    life.delete("likes").await;
    tokio::time::timeout(Duration::from_secs(30), async {
        while is_started(&life).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    // Whoever comes next is new, and so is what must not be lost.
    life.put("later", collections(&[]), life.ends().await).await;
    let second = life.append(0, FENCE).await;
    assert_eq!(life.delivered("later", has(second)).await[&0], [second.0]);
    assert!(is_started(&life).await);
    life.stop().await;
}

/// Whether a position on the source must be there.
async fn is_started(life: &Life) -> bool {
    let key = rows::started_key(&source(0));
    rows(life).await.into_iter().rfind(|(name, _)| *name == key).is_some_and(|(_, value)| value.is_some())
}

#[tokio::test]
async fn records_that_went_before_they_were_read_are_counted() {
    let (_folder, mut life) = fresh(vec![]).await;
    for _ in 0..20 {
        life.append(0, FENCE).await;
    }
    life.put("likes", collections(&[]), vec![Offset(2), Offset(0)]).await;
    life.log.trim(&source(0), Offset(10)).await.unwrap();
    life.start("node0");
    let last = life.append(0, FENCE).await;
    let delivered = life.delivered("likes", has(last)).await;
    assert!(delivered[&0].iter().all(|offset| *offset >= 10));
    let counters = life.counters("likes");
    life.stop().await;
    assert_eq!(counters.lost.get(), 8);
    assert_eq!(counters.matched.get(), delivered[&0].len() as u64);
}

#[test]
fn rows_of_a_subscription_that_was_deleted_while_nobody_ran_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let first = live(async {
        let mut life = begin(folder.path()).await;
        life.put("stays", collections(&[]), life.ends().await).await;
        life.put("goes", collections(&[]), life.ends().await).await;
        life.start("node0");
        let first = life.append(0, FENCE).await;
        life.delivered("stays", has(first)).await;
        life.stop().await;
        first
    });
    live(async {
        let mut life = begin(folder.path()).await;
        life.delete("goes").await;
        life.start("node0");
        let second = life.append(0, FENCE).await;
        assert_eq!(life.delivered("stays", has(second)).await[&0], [first.0, second.0]);
        let rows = rows(&life).await;
        let (_, value) = rows.iter().rfind(|(key, _)| key == "scan/acme/goes/2/fpaas.firehose/0").unwrap();
        assert_eq!(*value, None);
        life.stop().await;
    });
}

#[tokio::test]
async fn a_process_under_the_same_name_takes_the_place_and_the_old_one_ends_with_an_error() {
    let (_folder, mut life) = fresh(vec![]).await;
    life.put("likes", collections(&[]), life.ends().await).await;
    let context = fpaas_state::Context {
        log: std::sync::Arc::clone(&life.log),
        topics: life.topics.clone(),
        control: std::sync::Arc::clone(&life.control),
        board: std::sync::Arc::clone(&life.board),
        clock: std::sync::Arc::new(fpaas_core::ManualClock::default()),
        node: "node0".into(),
    };
    let old = tokio::spawn(fpaas_router::run(context, pool(), quick(), tokio_util::sync::CancellationToken::new()));
    let first = life.append(0, FENCE).await;
    life.delivered("likes", has(first)).await;
    life.start("node0");
    assert!(matches!(old.await.unwrap(), Err(fpaas_router::Error::Replaced(_))));
    let second = life.append(0, FENCE).await;
    assert_eq!(life.delivered("likes", has(second)).await[&0], [first.0, second.0]);
    life.stop().await;
}

/// An owner that knew more of the control topic has committed this position, and rows of whom it carried.
async fn commit_ahead(life: &Life, revision: u64, carried: &[&str]) {
    let group = life.topics.group(&pool(), Stage::Router);
    let mut membership = life.log.join(&group, "elsewhere").await.unwrap();
    let Some(MembershipEvent::Assigned(leases)) = membership.next().await else { panic!("no slot was assigned") };
    let lease = leases.iter().find(|lease| lease.slot == Slot::of_source(&source(0))).unwrap();
    let mut transaction = Transaction::under(lease);
    let tables = life.topics.tables(&pool(), Stage::Router);
    life.log.create_topic(&tables, &fpaas_log::TopicSpec::compacted(64)).await.unwrap();
    for id in carried {
        let key = Some(format!("scan/acme/{id}/fpaas.firehose/0").into());
        let value = Some(rows::encode(&ScanRow { position: Offset::ZERO, in_scan: true }).unwrap());
        let row = Record { key, value, ..Record::default() };
        transaction.append(TopicPartition::new(tables.clone(), lease.slot.0), row);
    }
    transaction.advance(source(0), Offset::ZERO, format!(r#"{{"v":1,"revision":{revision},"rows":true}}"#).into());
    life.log.writer("elsewhere.acme", Some(&membership)).await.unwrap().commit(transaction).await.unwrap();
}

#[tokio::test]
async fn a_new_owner_waits_until_it_knows_what_the_old_one_knew() {
    let (_folder, mut life) = fresh(vec![]).await;
    life.put("likes", collections(&[]), life.ends().await).await;
    commit_ahead(&life, 2, &["likes/1", "other/2"]).await;
    life.start("node0");
    let (ahead, other) = (life.append(0, FENCE).await, life.append(1, FENCE).await);
    let delivered = life.delivered("likes", |delivered| delivered.contains_key(&1)).await;
    assert_eq!(delivered, Delivered::from([(1, vec![other.0])]));
    assert!(!life.faults.asked.borrow().contains_key(&0));
    life.put("other", collections(&[]), life.ends().await).await;
    assert_eq!(life.delivered("likes", has(ahead)).await[&0], [ahead.0]);
    life.stop().await;
}

#[tokio::test]
async fn a_record_too_large_for_all_at_once_reaches_everybody_exactly_once() {
    let (_folder, mut life) = fresh(vec![]).await;
    let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    for name in &names {
        life.put(name, collections(&[]), life.ends().await).await;
    }
    let first = life.append(0, FENCE).await;
    let large = life.append_sized(0, FENCE, 4 * 1024 * 1024).await;
    life.start("node0");
    let last = life.append(0, FENCE).await;
    for name in &names {
        assert_eq!(life.delivered(name, has(last)).await[&0], [first.0, large.0, last.0], "{name}");
    }
    life.stop().await;
}

#[tokio::test]
async fn a_paused_subscription_keeps_its_place_and_costs_the_others_nothing() {
    let (_folder, mut life) = fresh(vec![]).await;
    let starts = life.ends().await;
    life.put("likes", collections(&[]), starts.clone()).await;
    life.put("others", collections(&[]), starts.clone()).await;
    life.start("node0");
    let before = life.append(0, FENCE).await;
    life.delivered("likes", has(before)).await;
    life.put_as(State::Paused, "likes", collections(&[]), starts.clone()).await;
    life.scans_under(life.entry("likes").revision).await;
    let held = life.all_delivered("likes").await;
    let meanwhile = [life.append(0, FENCE).await, life.append(1, FENCE).await];
    life.delivered("others", has(meanwhile[0])).await;
    assert_eq!(life.all_delivered("likes").await, held);
    // Changed while it is paused, it stays so.
    life.put_as(State::Paused, "likes", collections(&["a.a.a"]), starts.clone()).await;
    life.scans_under(life.entry("likes").revision).await;
    assert_eq!(life.all_delivered("likes").await, held);

    life.put("likes", collections(&[]), starts).await;
    let after = life.append(0, FENCE).await;
    let got = life.delivered("likes", has(after)).await;
    let others = life.delivered("others", has(after)).await;
    assert_eq!(got[&0], others[&0]);
    life.stop().await;
}
