//! A part of a source, delivered once more: once, beside everything else, however often it is interrupted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fpaas_core::Offset;
use fpaas_core::partition::Slot;
use fpaas_core::subscription::State;
use fpaas_core::topics::Stage;
use fpaas_log::FetchBounds;
use fpaas_router::Config;

use crate::world::{Delivered, FENCE, Life, collections, live, pool, source};
use fpaas_log::faulty::Faults;

const EVENTS: usize = 60;

async fn begin(folder: &Path) -> Life {
    let config = Config { idle_commit: Duration::from_millis(5), ..Config::default() };
    let mut life = Life::begin(folder, config, Faults::new(vec![])).await;
    life.start("node0");
    life
}

/// A subscription that has all of these.
async fn filled(life: &Life) -> Vec<Offset> {
    life.put("likes", collections(&["a.a.a"]), life.ends().await).await;
    let mut offsets = Vec::new();
    for number in 0..EVENTS {
        // Every other one is nobody's.
        let offset = life.append(0, if number % 2 == 0 { "a.a.a" } else { "b.b.b" }).await;
        offsets.extend((number % 2 == 0).then_some(offset));
    }
    let last = *offsets.last().unwrap();
    life.delivered("likes", |delivered| all(delivered).contains(&last.0)).await;
    offsets
}

fn all(delivered: &Delivered) -> Vec<u64> {
    delivered.get(&0).cloned().unwrap_or_default()
}

fn counts(delivered: &Delivered) -> BTreeMap<u64, usize> {
    all(delivered).into_iter().fold(BTreeMap::new(), |mut counts, offset| {
        *counts.entry(offset).or_default() += 1;
        counts
    })
}

/// Each of `offsets` as often as it should be, once those in between have come again.
async fn check(life: &Life, offsets: &[Offset], again: impl Fn(&Offset) -> bool) {
    let expected: BTreeMap<_, _> = offsets.iter().map(|offset| (offset.0, 1 + usize::from(again(offset)))).collect();
    let enough: usize = expected.values().sum();
    life.delivered("likes", |delivered| all(delivered).len() >= enough).await;
    // Whatever was too much would come before this.
    let fence = life.append(0, FENCE).await;
    let delivered = life.delivered("likes", |delivered| all(delivered).contains(&fence.0)).await;
    let mut counted = counts(&delivered);
    counted.remove(&fence.0);
    assert_eq!(counted, expected);
}

async fn replay_rows(life: &Life) -> BTreeMap<String, bool> {
    let at = life.topics.tables(&pool(), Stage::Router);
    let at = fpaas_core::TopicPartition::new(at, Slot::of_source(&source(0)).0);
    let (mut rows, mut next) = (BTreeMap::new(), Offset::ZERO);
    loop {
        let fetched = life.log.fetch(&at, next, FetchBounds::now()).await.unwrap();
        if fetched.records.is_empty() && fetched.next <= next {
            return rows;
        }
        for stored in fetched.records {
            let key = String::from_utf8(stored.record.key.unwrap().to_vec()).unwrap();
            if key.starts_with("replay/") {
                rows.insert(key, stored.record.value.is_some());
            }
        }
        next = fetched.next;
    }
}

#[tokio::test]
async fn what_is_replayed_comes_once_more_in_order_and_what_comes_meanwhile_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(folder.path()).await;
    let offsets = filled(&life).await;
    let (from, to) = (offsets[3], offsets[20]);
    life.replay("likes", from, to, None).await;
    let again = |offset: &Offset| (from..to).contains(offset);
    check(&life, &offsets, again).await;
    let delivered = all(&life.all_delivered("likes").await);
    let second: Vec<_> = delivered[offsets.len()..].iter().copied().filter(|offset| *offset < to.0).collect();
    assert!(second.is_sorted() && second.len() == 17, "{second:?}");
    // Asked for again, it is another one.
    life.replay("likes", from, to, None).await;
    life.delivered("likes", |delivered| all(delivered).len() >= offsets.len() + 1 + 2 * 17).await;
    let rows = replay_rows(&life).await;
    assert_eq!(rows.values().filter(|is_there| **is_there).count(), 1, "{rows:?}");
    life.stop().await;
}

#[test]
fn a_replay_that_is_interrupted_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let offsets = live(async {
        let life = begin(folder.path()).await;
        let offsets = filled(&life).await;
        life.replay("likes", Offset::ZERO, Offset(u64::MAX), Some(5)).await;
        life.delivered("likes", |delivered| all(delivered).len() > offsets.len()).await;
        offsets
    });
    // Whatever it had under way is gone with it.
    for _ in 0..2 {
        live(async {
            let life = begin(folder.path()).await;
            let before = all(&life.all_delivered("likes").await).len();
            life.delivered("likes", |delivered| all(delivered).len() > before).await;
            assert!(
                all(&life.all_delivered("likes").await).len() < 2 * offsets.len(),
                "it was too fast to be interrupted"
            );
        });
    }
    live(async {
        let life = begin(folder.path()).await;
        check(&life, &offsets, |_| true).await;
        life.stop().await;
    });
}

/// Its lanes are told from those of a replay by more than what it is called.
#[tokio::test]
async fn a_subscription_may_be_called_replay() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(folder.path()).await;
    life.put("likes", collections(&["a.a.a"]), life.ends().await).await;
    let mut offsets = Vec::new();
    for _ in 0..9 {
        offsets.push(life.append(0, "a.a.a").await.0);
    }
    // The scan is past its start: it catches up in a lane of its own.
    life.delivered("likes", |delivered| all(delivered).contains(offsets.last().unwrap())).await;
    life.put("replay", collections(&["a.a.a"]), vec![Offset::ZERO; 2]).await;
    let delivered = life.delivered("replay", |delivered| all(delivered).len() >= 9).await;
    assert_eq!(all(&delivered), offsets);
    life.stop().await;
}

#[tokio::test]
async fn a_pause_holds_a_replay_and_its_end_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(folder.path()).await;
    let offsets = filled(&life).await;
    life.put_as(State::Paused, "likes", collections(&["a.a.a"]), vec![]).await;
    life.replay("likes", Offset::ZERO, offsets[9], Some(2)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(all(&life.all_delivered("likes").await).len(), offsets.len());
    life.put("likes", collections(&["a.a.a"]), vec![]).await;
    // Its lane may not have ended when it is wanted again.
    life.put_as(State::Paused, "likes", collections(&["a.a.a"]), vec![]).await;
    life.put("likes", collections(&["a.a.a"]), vec![]).await;
    life.delivered("likes", |delivered| all(delivered).len() > offsets.len()).await;
    life.cancel_replay("likes").await;
    // One step may be under way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let cancelled = all(&life.all_delivered("likes").await).len();
    assert!(cancelled < offsets.len() + 9, "{cancelled}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(all(&life.all_delivered("likes").await).len(), cancelled);
    life.stop().await;
}
