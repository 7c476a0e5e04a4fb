//! However subscriptions come and go, and wherever the process dies: each record that a subscription wants, from its
//! start on, is delivered to it exactly once and in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::Offset;
use fpaas_core::subscription::State;
use fpaas_router::Config;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use tokio_util::sync::CancellationToken;

use crate::world::{Delivered, FENCE, Life, PARTITIONS, collections, live};
use fpaas_log::faulty::{Fault, Faults};

const COLLECTIONS: [&str; 3] = ["a.a.a", "b.b.b", "c.c.c"];
const SUBSCRIPTIONS: [&str; 4] = ["s0", "s1", "s2", "s3"];

#[derive(Clone, Debug)]
enum Act {
    /// So many records with a collection each, on a partition.
    Append(u32, Vec<usize>),
    /// Creates it at this share of each partition, or replaces its filter.
    Put(usize, Vec<usize>, Vec<f64>),
    Delete(usize),
    /// It stands still from somewhere on until it is put again.
    Pause(usize),
    /// Another node comes and takes some of the slots.
    Join,
    /// The newest node goes.
    Leave,
    /// Everything is delivered before the next act.
    Settle,
}

/// What is done in one life of the process, and what fails in it.
type OneLife = (Vec<Act>, Vec<(usize, Fault)>);

#[derive(Clone, Debug)]
struct Story {
    step_records: usize,
    lives: Vec<OneLife>,
}

fn acts() -> impl Strategy<Value = Act> {
    let filter = proptest::sample::subsequence(vec![0, 1, 2], 0..=3);
    prop_oneof![
        6 => (0..PARTITIONS, proptest::collection::vec(0..3usize, 1..30))
            .prop_map(|(at, records)| Act::Append(at, records)),
        5 => (0..4usize, filter, proptest::collection::vec(0.0..=1.0, 2))
            .prop_map(|(who, what, from)| Act::Put(who, what, from)),
        1 => (0..4usize).prop_map(Act::Delete),
        3 => (0..4usize).prop_map(Act::Pause),
        1 => Just(Act::Join),
        1 => Just(Act::Leave),
        1 => Just(Act::Settle),
    ]
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    let fault = prop_oneof![
        3 => Just(Fault::CrashBefore),
        3 => Just(Fault::CrashAfter),
        1 => Just(Fault::Retry),
        1 => Just(Fault::UnknownDone),
        1 => Just(Fault::UnknownNotDone),
    ];
    proptest::collection::vec((1..40usize, fault), 0..4)
}

fn stories() -> impl Strategy<Value = Story> {
    let life = (proptest::collection::vec(acts(), 1..8), faults());
    (1..6usize, proptest::collection::vec(life, 1..5)).prop_map(|(step_records, lives)| Story { step_records, lives })
}

/// What was appended and asked for, kept apart from everything that routes.
#[derive(Default)]
struct Oracle {
    records: BTreeMap<u32, Vec<(u64, Option<usize>)>>,
    subscriptions: BTreeMap<usize, Wanted>,
}

struct Wanted {
    starts: Vec<Offset>,
    /// Every filter it ever had: which of two holds for a record near the change is not said.
    filters: Vec<Vec<usize>>,
    paused: bool,
}

impl Oracle {
    fn check(&self, who: usize, delivered: &Delivered) {
        let wanted = &self.subscriptions[&who];
        for partition in 0..PARTITIONS {
            let got = delivered.get(&partition).map_or(&[][..], Vec::as_slice);
            assert!(got.is_sorted_by(|a, b| a < b), "{who} on {partition}: doubled or out of order: {got:?}");
            let start = wanted.starts[partition as usize].0;
            let records = self.records.get(&partition).map_or(&[][..], Vec::as_slice);
            for (offset, collection) in records {
                let admits = |filter: &Vec<usize>| collection.is_none_or(|name| filter.contains(&name));
                let has = got.binary_search(offset).is_ok();
                let must = *offset >= start && wanted.filters.iter().all(admits);
                let may = *offset >= start && wanted.filters.iter().any(admits);
                assert!(!must || has, "{who} on {partition}: {offset} is missing from {got:?}");
                assert!(may || !has, "{who} on {partition}: {offset} should not be in {got:?}");
            }
        }
    }
}

struct Teller<'o> {
    life: Life,
    oracle: &'o mut Oracle,
    nodes: Vec<CancellationToken>,
}

impl<'o> Teller<'o> {
    fn begin(mut life: Life, oracle: &'o mut Oracle) -> Self {
        let nodes = vec![life.start("node0")];
        Self { life, oracle, nodes }
    }

    /// The life ends with the last act, wherever the routers are by then.
    async fn tell_all(mut self, acts: &[Act]) {
        let crashed = self.life.faults.crashed.clone();
        for act in acts {
            // A world that settles may die on the way; what is told to the oracle is told as a whole.
            if matches!(act, Act::Settle) {
                crashed.run_until_cancelled(Box::pin(self.tell(act))).await;
            } else {
                Box::pin(self.tell(act)).await;
            }
        }
    }

    async fn tell(&mut self, act: &Act) {
        match act {
            Act::Append(partition, collections) => {
                for collection in collections {
                    self.append(*partition, Some(*collection)).await;
                }
            }
            Act::Put(who, filter, shares) => self.put(*who, filter, shares).await,
            Act::Delete(who) => {
                if self.oracle.subscriptions.remove(who).is_some() {
                    self.life.delete(SUBSCRIPTIONS[*who]).await;
                }
            }
            Act::Pause(who) => self.set(*who, State::Paused).await,
            Act::Join => {
                let name = format!("node{}", self.nodes.len());
                self.nodes.push(self.life.start(&name));
            }
            Act::Leave if self.nodes.len() > 1 => self.nodes.pop().unwrap().cancel(),
            Act::Leave => {}
            Act::Settle => self.settle().await,
        }
    }

    async fn append(&mut self, partition: u32, collection: Option<usize>) -> u64 {
        let name = collection.map_or(FENCE, |number| COLLECTIONS[number]);
        let offset = self.life.append(partition, name).await.0;
        self.oracle.records.entry(partition).or_default().push((offset, collection));
        offset
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a few hundred"
    )]
    async fn put(&mut self, who: usize, filter: &[usize], shares: &[f64]) {
        let ends = self.life.ends().await;
        let starts: Vec<_> =
            ends.iter().zip(shares).map(|(end, share)| Offset((end.0 as f64 * share) as u64)).collect();
        let names: Vec<_> = filter.iter().map(|number| COLLECTIONS[*number]).collect();
        self.life.put(SUBSCRIPTIONS[who], collections(&names), starts.clone()).await;
        let wanted =
            self.oracle.subscriptions.entry(who).or_insert(Wanted { starts, filters: Vec::new(), paused: false });
        wanted.filters.push(filter.to_vec());
        wanted.paused = false;
    }

    async fn set(&mut self, who: usize, state: State) {
        let Some(wanted) = self.oracle.subscriptions.get_mut(&who) else { return };
        wanted.paused = state == State::Paused;
        let names: Vec<_> = wanted.filters.last().unwrap().iter().map(|number| COLLECTIONS[*number]).collect();
        self.life.put_as(state, SUBSCRIPTIONS[who], collections(&names), Vec::new()).await;
    }

    /// Everybody goes on, and gets what comes last, and with it everything before.
    async fn settle(&mut self) {
        let paused = self.oracle.subscriptions.iter().filter(|(_, wanted)| wanted.paused);
        for who in paused.map(|(who, _)| *who).collect::<Vec<_>>() {
            self.set(who, State::Active).await;
        }
        let mut fences = BTreeMap::new();
        for partition in 0..PARTITIONS {
            fences.insert(partition, self.append(partition, None).await);
        }
        for who in self.oracle.subscriptions.keys() {
            let enough = |got: &Delivered| {
                fences
                    .iter()
                    .all(|(partition, fence)| got.get(partition).is_some_and(|offsets| offsets.contains(fence)))
            };
            self.life.delivered(SUBSCRIPTIONS[*who], enough).await;
        }
    }
}

fn check(story: &Story) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let config =
        Config { step_records: story.step_records, idle_commit: Duration::from_millis(5), ..Config::default() };
    let mut oracle = Oracle::default();
    let mut fired = 0;
    for (acts, faults) in &story.lives {
        let faults = Faults::new(faults.clone());
        live(async {
            let life = Life::begin(folder.path(), config.clone(), Arc::clone(&faults)).await;
            Teller::begin(life, &mut oracle).tell_all(acts).await;
        });
        fired += *faults.fired.borrow();
    }
    live(async {
        let life = Life::begin(folder.path(), config, Faults::new(Vec::new())).await;
        last_life(life, &mut oracle).await;
    });
    fired
}

/// Nothing fails any more: everything must arrive.
async fn last_life(life: Life, oracle: &mut Oracle) {
    let mut teller = Teller::begin(life, oracle);
    teller.settle().await;
    let life = teller.life;
    for who in oracle.subscriptions.keys() {
        oracle.check(*who, &life.all_delivered(SUBSCRIPTIONS[*who]).await);
    }
    life.stop().await;
}

#[test]
fn every_wanted_record_is_delivered_exactly_once_and_in_order() {
    let cases = std::env::var("FPAAS_CATCH_UP_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let mut runner =
        TestRunner::new(Cases { cases, max_shrink_iters: 100, failure_persistence: None, ..Cases::default() });
    let fired = std::cell::Cell::new(0);
    runner
        .run(&stories(), |story| {
            fired.set(fired.get() + check(&story));
            Ok(())
        })
        .unwrap();
    assert!(fired.get() > 0, "no fault was hit");
    println!("{cases} stories, {} faults hit", fired.get());
}
