//! Which lanes run: one task for each lane of the pool's subscriptions whose slot is ours.
//!
//! Follows the view and the leases. Does not own what a lane does ([`crate::lane`]) or the group's membership
//! ([`crate::service`]). No task is detached: whoever drops this ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Incarnation, Partition, PoolId, SubscriptionId, TenantId, TopicPartition};
use fpaas_log::Lease;
use fpaas_state::{SubscriptionEntry, View, moves};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::lane::Lane;
use crate::site::{Shared, Site};

/// The leases we hold.
pub(crate) type Leases = BTreeMap<Slot, Lease>;

/// A lane of a subscription as it was made: deleting and making it again is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    tenant: TenantId,
    subscription: SubscriptionId,
    incarnation: Incarnation,
    lane: Partition,
}

type Wanted<'a> = BTreeMap<Key, (&'a Arc<SubscriptionEntry>, &'a Lease)>;

#[derive(Debug)]
struct Running {
    slot: Slot,
    /// Its task follows the revisions given here. Holds the subscription's topics for as long as the lane is there.
    entry: watch::Sender<Arc<SubscriptionEntry>>,
    stop: CancellationToken,
    /// The task is over though nobody asked it to stop; `/status` says why.
    over: bool,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Lanes {
    shared: Arc<Shared>,
    pool: PoolId,
    tasks: JoinSet<(Key, Result<()>)>,
    running: BTreeMap<Key, Running>,
}

impl Lanes {
    /// None yet.
    pub(crate) fn new(shared: Arc<Shared>, pool: PoolId) -> Self {
        Self { shared, pool, tasks: JoinSet::new(), running: BTreeMap::new() }
    }

    /// Starts what is missing, tells what changed, asks what should not run to stop. Answers the slots of lanes that
    /// had ended before and are not wanted any more.
    pub(crate) fn follow(&mut self, view: &View, leases: &Leases) -> Result<BTreeSet<Slot>> {
        let wanted = self.wanted(view, leases)?;
        for (key, (entry, lease)) in &wanted {
            self.want(key, entry, lease);
        }
        let mut left = BTreeSet::new();
        self.running.retain(|key, running| {
            let keep = wanted.contains_key(key);
            if !keep {
                running.stop.cancel();
            }
            if !keep && running.over {
                left.insert(running.slot);
            }
            // One that is still at work stays until its task is over.
            keep || !running.over
        });
        Ok(left)
    }

    /// True while a lane of a tenant is at work in a slot.
    pub(crate) fn work_for(&self, tenant: &TenantId, slot: Slot) -> bool {
        self.running.iter().any(|(key, running)| key.tenant == *tenant && running.slot == slot && !running.over)
    }

    /// Without the lanes of who moves here and has not come to the slot.
    fn wanted<'a>(&self, view: &'a View, leases: &'a Leases) -> Result<Wanted<'a>> {
        let entries = view.subscriptions.values();
        let ours = entries.filter(|entry| {
            entry.pool == self.pool && entry.config.webhook().is_some() && view.unmade(entry).is_none()
        });
        let lanes = ours.flat_map(|entry| (0..entry.config.lanes).map(move |lane| (entry, Partition(lane))));
        let held = lanes.filter_map(|(entry, lane)| {
            let slot = Slot::of_lane(entry.tenant.as_str(), entry.id.as_str(), lane);
            leases.get(&slot).map(|lease| (key(entry, lane), (entry, lease)))
        });
        let (mut wanted, somebody_moves) = (Wanted::new(), view.moving().next().is_some());
        for (key, (entry, lease)) in held {
            if !somebody_moves || moves::may_begin(&self.shared.tables, lease.slot, view, entry)? {
                wanted.insert(key, (entry, lease));
            }
        }
        Ok(wanted)
    }

    /// The next lane that is over: its slot, or what went wrong with it. Waits for ever when there is none.
    pub(crate) async fn over(&mut self) -> Result<Slot> {
        let Some(joined) = self.tasks.join_next().await else { return std::future::pending().await };
        let (key, result) = joined?;
        result?;
        Ok(self.note_over(&key))
    }

    /// True when none is at work.
    pub(crate) fn are_over(&self) -> bool {
        self.running.values().all(|running| running.over)
    }

    /// Stops the lanes of `slots`: after this they commit nothing more.
    pub(crate) async fn stop(&mut self, slots: &BTreeSet<Slot>) -> Result<()> {
        let ours = |running: &Running| slots.contains(&running.slot);
        self.running.values().filter(|running| ours(running)).for_each(|running| running.stop.cancel());
        while self.running.values().any(|running| ours(running) && !running.over) {
            self.over().await?;
        }
        self.running.retain(|_, running| !ours(running));
        Ok(())
    }

    /// The lanes of `slots` are another's: whoever runs them next speaks for what stands still there.
    pub(crate) fn say_nothing_of(&self, slots: &BTreeSet<Slot>) {
        let board = &self.shared.context.board;
        for (key, _) in self.running.iter().filter(|(_, running)| slots.contains(&running.slot)) {
            board.of(&key.tenant, &key.subscription, key.incarnation).note_moving(Stage::Dispatcher, key.lane);
        }
    }

    fn note_over(&mut self, key: &Key) -> Slot {
        match self.running.get_mut(key) {
            Some(running) if !running.stop.is_cancelled() => {
                running.over = true;
                running.slot
            }
            _ => {
                // Where it goes on, it is somebody else who says how.
                let board = &self.shared.context.board;
                let counters = board.get(&key.tenant, &key.subscription, key.incarnation);
                counters.into_iter().for_each(|counters| counters.note_moving(Stage::Dispatcher, key.lane));
                self.running.remove(key).map_or(Slot(0), |running| running.slot)
            }
        }
    }

    fn want(&mut self, key: &Key, entry: &Arc<SubscriptionEntry>, lease: &Lease) {
        let Some(running) = self.running.get(key) else { return self.start(key.clone(), entry, lease) };
        // What is delivered again is no part of its revision.
        let is_same = |known: &SubscriptionEntry| known.revision == entry.revision && known.redrive == entry.redrive;
        let changed = !is_same(&running.entry.borrow());
        if changed && running.over {
            // It stood still for a reason, which the change may have removed.
            self.start(key.clone(), entry, lease);
        } else if changed {
            running.entry.send_replace(Arc::clone(entry));
        }
    }

    fn start(&mut self, key: Key, entry: &Arc<SubscriptionEntry>, lease: &Lease) {
        let (sender, receiver) = watch::channel(Arc::clone(entry));
        let stop = CancellationToken::new();
        let lane = self.lane(&key, receiver, lease, stop.clone());
        let running = Running { slot: lease.slot, entry: sender, stop, over: false };
        self.running.insert(key.clone(), running);
        self.tasks.spawn(async move { (key, lane.run().await) });
    }

    fn lane(
        &self,
        key: &Key,
        entry: watch::Receiver<Arc<SubscriptionEntry>>,
        lease: &Lease,
        stop: CancellationToken,
    ) -> Lane {
        let context = &self.shared.context;
        let deliveries = context.topics.deliveries(&key.tenant, &key.subscription, key.incarnation);
        let counters = context.board.of(&key.tenant, &key.subscription, key.incarnation);
        counters.note_moving(Stage::Dispatcher, key.lane);
        Lane::new(Arc::new(Site {
            shared: Arc::clone(&self.shared),
            lease: lease.clone(),
            at: TopicPartition::new(deliveries, key.lane.0),
            entry,
            counters,
            stop,
            unparkable: AtomicBool::new(false),
            making: self.shared.making.of_a_lane(&key.tenant),
        }))
    }
}

fn key(entry: &SubscriptionEntry, lane: Partition) -> Key {
    let (tenant, subscription) = (entry.tenant.clone(), entry.id.clone());
    Key { tenant, subscription, incarnation: entry.incarnation, lane }
}
