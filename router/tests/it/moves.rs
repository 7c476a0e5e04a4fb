//! Tenants that move between pools while both run: every record once, in order, whatever stops on the way.

use std::path::Path;
use std::time::Duration;

use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{FetchBounds, Record, Transaction};
use fpaas_router::Config;
use fpaas_state::{Change, rows};

use crate::world::{Delivered, FENCE, Life, PARTITIONS, collections, live, pool_of, source, tenant_of};
use fpaas_log::faulty::{Fault, Faults};

const ACME: &str = "acme";
const FREE: &str = "_free";
/// In the shared pool all the time.
const ZED: &str = "zed";

async fn begin(folder: &Path) -> Life {
    let quick = Config { idle_commit: Duration::from_millis(5), ..Config::default() };
    Life::begin(folder, quick, Faults::new(vec![])).await
}

/// A tenant in its own pool and one in a shared one, each with a subscription.
async fn two_tenants(life: &Life) {
    life.put_tenant(ACME, ACME).await;
    life.put_tenant(ZED, FREE).await;
    life.put("likes", collections(&[]), life.ends().await).await;
    life.put_of(ZED, "posts", collections(&[]), life.ends().await).await;
}

/// So many records in each partition.
async fn append(life: &Life, count: u64, all: &mut Delivered) {
    for partition in 0..PARTITIONS {
        for _ in 0..count {
            let offset = life.append(partition, FENCE).await;
            all.entry(partition).or_default().push(offset.0);
        }
    }
}

fn count(delivered: &Delivered) -> usize {
    delivered.values().map(Vec::len).sum()
}

/// Both have exactly these, in order.
async fn check(life: &Life, all: &Delivered) {
    for deliveries in [life.deliveries("likes"), life.deliveries_of(ZED, "posts")] {
        let delivered = life.delivered_at(&deliveries, |delivered| count(delivered) >= count(all)).await;
        assert_eq!(delivered, *all, "{deliveries}");
    }
}

/// Waits until the pool has taken what was handed over to every slot since then.
async fn taken(life: &Life, pool: &str, since: u64) {
    let pool = pool_of(pool);
    let (topic, group) = (life.topics.moves(&pool, Stage::Router), life.topics.group(&pool, Stage::Router));
    let key = fpaas_state::moves::key(&tenant_of(ACME), since);
    let waits = async {
        for at in Slot::all().map(|slot| TopicPartition::new(topic.as_str(), slot.0)) {
            while !is_taken(life, &group, &at, key.as_bytes()).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("it is taken");
}

async fn is_taken(life: &Life, group: &str, at: &TopicPartition, key: &[u8]) -> bool {
    let Ok(fetched) = life.log.fetch(at, Offset::ZERO, FetchBounds::now()).await else { return false };
    let ours = fetched.records.iter().find(|stored| stored.record.key.as_deref() == Some(key));
    let position = life.log.positions(group, std::slice::from_ref(at)).await.unwrap().remove(0);
    ours.zip(position).is_some_and(|(ours, position)| ours.offset < position.offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_moves_and_comes_back_gets_every_record_once_and_so_does_who_shares_its_pool() {
    let folder = tempfile::tempdir().unwrap();
    let (mut life, mut all) = (begin(folder.path()).await, Delivered::new());
    two_tenants(&life).await;
    life.start_pool("node0", ACME);
    life.start_pool("node0", FREE);
    for pool in [FREE, ACME, FREE, ACME] {
        append(&life, 30, &mut all).await;
        let since = life.put_tenant(ACME, pool).await;
        append(&life, 30, &mut all).await;
        check(&life, &all).await;
        taken(&life, pool, since).await;
        life.end_move(ACME, since).await;
    }
    append(&life, 5, &mut all).await;
    check(&life, &all).await;
    let last = *all[&0].last().unwrap();
    assert!(life.position_of(ACME, 0).await.unwrap().offset > Offset(last), "its own pool's scan has it again");
    life.stop().await;
}

/// Each pool has an owner that stays and one that comes and goes in the middle of moves.
#[tokio::test(flavor = "multi_thread")]
async fn slots_that_change_owners_in_the_middle_of_moves_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut life, mut all) = (begin(folder.path()).await, Delivered::new());
    two_tenants(&life).await;
    life.start_pool("stays", ACME);
    life.start_pool("stays", FREE);
    for (round, pool) in [FREE, ACME, FREE, ACME, FREE, ACME].into_iter().enumerate() {
        let guests: Vec<_> = [ACME, FREE].into_iter().map(|pool| life.start_pool("comes", pool)).collect();
        append(&life, 10, &mut all).await;
        let since = life.put_tenant(ACME, pool).await;
        // The one or the other goes as soon as the move has begun.
        guests[round % 2].cancel();
        append(&life, 10, &mut all).await;
        guests[1 - round % 2].cancel();
        check(&life, &all).await;
        taken(&life, pool, since).await;
        life.end_move(ACME, since).await;
    }
    check(&life, &all).await;
    life.stop().await;
}

#[test]
fn who_moves_waits_for_what_is_handed_over_and_nobody_waits_for_them() {
    let (folder, mut all) = (tempfile::tempdir().unwrap(), Delivered::new());
    live(async {
        let mut life = begin(folder.path()).await;
        two_tenants(&life).await;
        life.start_pool("node0", ACME);
        life.start_pool("node0", FREE);
        append(&life, 3, &mut all).await;
        check(&life, &all).await;
        life.stop().await;
    });
    let before = all.clone();
    live(async {
        let mut life = begin(folder.path()).await;
        let since = life.put_tenant(ACME, FREE).await;
        life.start_pool("node0", FREE);
        append(&life, 3, &mut all).await;
        let zed = life.deliveries_of(ZED, "posts");
        assert_eq!(life.delivered_at(&zed, |delivered| count(delivered) >= count(&all)).await, all);
        let mark = life.position_of(FREE, 0).await.unwrap().metadata;
        assert_eq!(mark, format!(r#"{{"v":1,"revision":{since},"rows":true,"but":["acme"]}}"#));
        assert_eq!(life.all_delivered("likes").await, before);
        life.stop().await;
    });
    live(async {
        let mut life = begin(folder.path()).await;
        life.start_pool("node0", FREE);
        life.start_pool("node0", ACME);
        append(&life, 3, &mut all).await;
        check(&life, &all).await;
        life.stop().await;
    });
    // What it has had under the shared pool's position is no loss of rows.
    live(async {
        let mut life = begin(folder.path()).await;
        life.start_pool("node0", FREE);
        append(&life, 3, &mut all).await;
        check(&life, &all).await;
        assert_eq!(life.counters("likes").stopped(), None);
        life.stop().await;
    });
}

/// Waits until the slot of the first partition has let go of the tenant.
async fn handed_over(life: &Life, to: &str) {
    let topic = life.topics.moves(&pool_of(to), Stage::Router);
    let at = TopicPartition::new(topic, Slot::of_source(&source(0)).0);
    let waits = async {
        loop {
            match life.log.fetch(&at, Offset::ZERO, FetchBounds::waiting(Duration::from_secs(1))).await {
                Ok(fetched) if !fetched.records.is_empty() => return,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("it is handed over");
}

#[test]
fn what_is_handed_over_is_found_by_whoever_comes_later() {
    let (folder, mut all) = (tempfile::tempdir().unwrap(), Delivered::new());
    live(async {
        let mut life = begin(folder.path()).await;
        two_tenants(&life).await;
        life.start_pool("node0", ACME);
        append(&life, 3, &mut all).await;
        life.delivered("likes", |delivered| count(delivered) == count(&all)).await;
        life.put_tenant(ACME, FREE).await;
        handed_over(&life, FREE).await;
        append(&life, 3, &mut all).await;
        life.stop().await;
    });
    // Its old pool has nothing of it any more, and says nothing again.
    for pools in [&[ACME][..], &[ACME, FREE]] {
        live(async {
            let mut life = begin(folder.path()).await;
            pools.iter().for_each(|pool| drop(life.start_pool("node0", pool)));
            append(&life, 3, &mut all).await;
            if pools.contains(&FREE) {
                check(&life, &all).await;
            }
            life.stop().await;
        });
    }
}

/// Removes the row of the subscription on the first partition from a pool's table.
async fn lose_row(life: &Life, pool: &str) {
    let at = TopicPartition::new(life.topics.tables(&pool_of(pool), Stage::Router), Slot::of_source(&source(0)).0);
    let lost = rows::scan_key(&life.entry("likes"), &source(0));
    let mut transaction = Transaction::new();
    transaction.append(at, Record { key: Some(lost.into()), ..Record::default() });
    life.log.writer("test.rows", None).await.unwrap().commit(transaction).await.unwrap();
}

async fn stands_still(life: &Life) -> String {
    let counters = life.counters("likes");
    let stands = async {
        loop {
            match counters.stopped() {
                Some(why) => return why,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stands).await.expect("it stands still")
}

#[test]
fn a_row_that_is_lost_before_a_move_stays_and_one_that_is_lost_after_it_is_missed() {
    for after in [false, true] {
        let (folder, mut all) = (tempfile::tempdir().unwrap(), Delivered::new());
        live(async {
            let mut life = begin(folder.path()).await;
            two_tenants(&life).await;
            life.start_pool("node0", ACME);
            life.start_pool("node0", FREE);
            append(&life, 3, &mut all).await;
            check(&life, &all).await;
            if after {
                let since = life.put_tenant(ACME, FREE).await;
                taken(&life, FREE, since).await;
                append(&life, 3, &mut all).await;
                check(&life, &all).await;
                life.end_move(ACME, since).await;
                append(&life, 3, &mut all).await;
                check(&life, &all).await;
            }
            life.stop().await;
        });
        live(async {
            let mut life = begin(folder.path()).await;
            lose_row(&life, if after { FREE } else { ACME }).await;
            if !after {
                life.put_tenant(ACME, FREE).await;
            }
            life.start_pool("node0", ACME);
            life.start_pool("node0", FREE);
            let why = stands_still(&life).await;
            assert!(why.starts_with("rowLost: where acme/likes/3 stands on fpaas.firehose/0 was written"), "{why}");
            let second = life.append(1, FENCE).await.0;
            all.entry(1).or_default().push(second);
            // Nothing comes twice, and the other partition goes on.
            let has_second = |delivered: &Delivered| delivered.get(&1).is_some_and(|at| at.contains(&second));
            assert_eq!(life.delivered("likes", has_second).await, all, "after: {after}");
            life.stop().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_on_its_way_does_not_arrive_and_what_is_made_meanwhile_begins_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut life, mut all) = (begin(folder.path()).await, Delivered::new());
    two_tenants(&life).await;
    life.put("gone", collections(&[]), life.ends().await).await;
    life.start_pool("node0", FREE);
    let since = life.put_tenant(ACME, FREE).await;
    life.delete("gone").await;
    life.put("new", collections(&[]), life.ends().await).await;
    append(&life, 3, &mut all).await;
    let new = life.delivered("new", |delivered| count(delivered) >= count(&all)).await;
    assert_eq!(new, all);
    life.start_pool("node0", ACME);
    check(&life, &all).await;
    taken(&life, FREE, since).await;
    life.end_move(ACME, since).await;
    append(&life, 3, &mut all).await;
    check(&life, &all).await;
    assert_eq!(life.all_delivered("new").await, all);
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_is_removed_once_the_move_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = begin(folder.path()).await;
    two_tenants(&life).await;
    life.start_pool("node0", ACME);
    life.start_pool("node0", FREE);
    let since = life.put_tenant(ACME, FREE).await;
    taken(&life, FREE, since).await;
    let topic = life.topics.moves(&pool_of(FREE), Stage::Router);
    let at: Vec<_> = Slot::all().map(|slot| TopicPartition::new(topic.as_str(), slot.0)).collect();
    for at in &at {
        assert_eq!(life.log.watermarks(at).await.unwrap().low, Offset::ZERO, "{at}");
    }
    let again = life.submit_as(&tenant_of(ACME), Change::EndMove { since: since + 1 }).await;
    assert_eq!(again.outcome, fpaas_state::Outcome::NotFound);
    life.end_move(ACME, since).await;
    let trimmed = async {
        for at in &at {
            while life.log.watermarks(at).await.unwrap().low == Offset::ZERO {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trimmed).await.expect("it is trimmed");
    let end = life.control.view().revision;
    life.stop_and(async |life| {
        // An owner that does not know that the move is over would wait for what is gone.
        let table = TopicPartition::new(life.topics.tables(&pool_of(FREE), Stage::Router), 0);
        let rows = life.log.fetch(&table, Offset::ZERO, FetchBounds::now()).await.unwrap().records;
        let moves = rows.iter().rfind(|stored| stored.record.key.as_deref() == Some(rows::MOVES.as_bytes()));
        let expected = format!(r#"{{"v":1,"revision":{end}}}"#);
        assert_eq!(moves.and_then(|stored| stored.record.value.as_deref()), Some(expected.as_bytes()));
    })
    .await;
}

/// Who stays in the pool gets its records at once, whatever keeps another one from leaving it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_the_log_does_not_take_keeps_nobody_else_from_going_on() {
    type Fail = fn(String) -> Fault;
    for fault in [Fault::Refuse as Fail, Fault::Leaderless] {
        let folder = tempfile::tempdir().unwrap();
        let (mut life, mut all) = (begin(folder.path()).await, Delivered::new());
        life.put_tenant(ACME, FREE).await;
        life.put_tenant(ZED, FREE).await;
        life.put("likes", collections(&[]), life.ends().await).await;
        life.put_of(ZED, "posts", collections(&[]), life.ends().await).await;
        life.start_pool("node0", FREE);
        append(&life, 20, &mut all).await;
        check(&life, &all).await;
        let before = all.clone();
        life.faults.plan(fault(life.topics.moves(&pool_of(ACME), Stage::Router)));
        life.put_tenant(ACME, ACME).await;
        life.faults.fires().await;
        append(&life, 20, &mut all).await;
        let zed = life.deliveries_of(ZED, "posts");
        assert_eq!(life.delivered_at(&zed, |delivered| count(delivered) >= count(&all)).await, all);
        assert_eq!(life.all_delivered("likes").await, before, "it is neither here nor there");
        life.faults.heal();
        life.start_pool("node0", ACME);
        check(&life, &all).await;
        life.stop().await;
    }
}

/// Whichever commit it is: of a scan, of a lane that catches up, or of the move itself.
#[test]
fn a_move_of_which_one_commit_is_not_known_to_be_committed_loses_nothing_and_doubles_nothing() {
    for number in 1..=36 {
        for fault in [Fault::UnknownDone, Fault::UnknownNotDone] {
            let folder = tempfile::tempdir().unwrap();
            let what = format!("{fault:?} at {number}");
            live(async {
                let steps = Config { idle_commit: Duration::from_millis(5), step_records: 2, ..Config::default() };
                let mut life = Life::begin(folder.path(), steps, Faults::new(vec![(number, fault)])).await;
                let mut all = Delivered::new();
                append(&life, 12, &mut all).await;
                life.put_tenant(ACME, FREE).await;
                life.put_tenant(ZED, FREE).await;
                // The one carries the scan, the others have to catch up.
                for (tenant, id) in [(ZED, "posts"), (ACME, "likes")] {
                    let starts = vec![Offset::ZERO; PARTITIONS as usize];
                    life.put_of(tenant, id, collections(&[]), starts).await;
                }
                life.start_pool("node0", FREE);
                life.start_pool("node0", ACME);
                let since = life.put_tenant(ACME, ACME).await;
                append(&life, 4, &mut all).await;
                let mut found = Vec::new();
                for deliveries in [life.deliveries("likes"), life.deliveries_of(ZED, "posts")] {
                    let whole = |delivered: &Delivered| count(delivered) >= count(&all);
                    found.push(life.delivered_at(&deliveries, whole).await);
                }
                assert_eq!(found, [all.clone(), all.clone()], "{what}");
                taken(&life, ACME, since).await;
                life.end_move(ACME, since).await;
                append(&life, 2, &mut all).await;
                check(&life, &all).await;
                life.stop().await;
            });
        }
    }
}
