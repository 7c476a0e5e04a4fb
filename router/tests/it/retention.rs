//! What a scan or a lane has not passed is held: past the soft limit it stays, past the hard one it goes and is
//! counted.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::Offset;
use fpaas_log::Retention;
use fpaas_router::Config;

use crate::world::{Delivered, FENCE, Life, collections, live, source};
use fpaas_log::faulty::{Fault, Faults};

const SOFT: Duration = Duration::from_secs(100);
/// Past the soft limit, and not past the hard one.
const LATER: Duration = Duration::from_secs(150);

fn has(offset: Offset) -> impl Fn(&Delivered) -> bool {
    move |delivered| delivered.get(&0).is_some_and(|offsets| offsets.contains(&offset.0))
}

async fn begin(folder: &std::path::Path, config: Config, faults: Arc<Faults>) -> Life {
    let life = Life::begin(folder, config, faults).await;
    let retention = Retention { time: Some(SOFT), bytes: None };
    life.log.alter_topic("fpaas.firehose", &retention).await.unwrap();
    life
}

async fn low(life: &Life) -> Offset {
    life.log.watermarks(&source(0)).await.unwrap().low
}

/// Time passes and retention looks: to the soft limit, and to the hard one.
async fn check_held_from(life: &Life, held: Offset) {
    life.retain_after(LATER);
    assert!(low(life).await <= held && life.lost_records() == 0, "held records went at the soft limit");
    life.retain_after(LATER);
    assert!(low(life).await > held && life.lost_records() > 0, "nothing went at the hard limit");
}

#[tokio::test]
async fn what_a_scan_cannot_commit_is_held_up_to_the_hard_limit_and_then_counted() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::new(vec![]);
    let one_by_one = Config { step_records: 1, ..Config::default() };
    let mut life = begin(folder.path(), one_by_one, Arc::clone(&faults)).await;
    life.put("likes", collections(&[]), life.ends().await).await;
    life.start("node0");
    let first = life.append(0, FENCE).await;
    life.delivered("likes", has(first)).await;
    faults.plan(Fault::Away);
    let held = life.append(0, FENCE).await;
    for _ in 0..5 {
        life.append(0, FENCE).await;
    }
    faults.fires().await;
    check_held_from(&life, held).await;
    faults.heal();
    let last = life.append_now(0, FENCE).await;
    let delivered = life.delivered("likes", has(last)).await;
    // The one that was waiting in memory is not lost.
    assert_eq!(delivered[&0], [first.0, held.0, last.0]);
    let counters = life.counters("likes");
    life.stop().await;
    assert!(counters.lost.get() >= 5, "{}", counters.lost.get());
}

#[test]
fn what_a_lane_has_not_passed_is_held_while_it_waits_for_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let (first, middle) = live(async {
        let no_turns = Config { lanes_running: 0, ..Config::default() };
        let mut life = begin(folder.path(), no_turns, Faults::new(vec![])).await;
        life.put("scan", collections(&[]), life.ends().await).await;
        life.start("node0");
        let first = life.append(0, FENCE).await;
        for _ in 0..5 {
            life.append(0, FENCE).await;
        }
        let middle = life.append(0, FENCE).await;
        life.delivered("scan", has(middle)).await;
        life.put("lane", collections(&[]), vec![first, Offset::ZERO]).await;
        // The scan knows of the lane once it has taken a record under the new roster.
        life.scans_under(life.entry("lane").revision).await;
        check_held_from(&life, first).await;
        life.stop().await;
        (first, middle)
    });
    live(async {
        let mut life = begin(folder.path(), Config::default(), Faults::new(vec![])).await;
        life.start("node0");
        let last = life.append_now(0, FENCE).await;
        let delivered = life.delivered("lane", has(last)).await;
        assert!(!delivered[&0].contains(&first.0), "{delivered:?}");
        let counters = life.counters("lane");
        life.stop().await;
        assert!(counters.lost.get() > middle.0 - first.0, "{}", counters.lost.get());
    });
}
