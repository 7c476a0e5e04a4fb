//! The router of one pool: member of its group, owner of slots, and of the scans that hash to them.
//!
//! A change of the control view never disturbs a running scan: each follows the roster by itself. Owns all tasks; none
//! outlives it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, PoolId, TopicPartition};
use fpaas_log::{Backoff, Error as LogError, Lease, Membership, MembershipEvent, Writer};
use fpaas_state::{Context, Error as StateError, Tables, View, rows};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::commit::{Ended, Step};
use crate::grown::{self, Counts};
use crate::moving::Moving;
use crate::own::{Own, Shared, has_come};
use crate::roster::Roster;
use crate::tasks::Tasks;
use crate::{Config, Error, Result, scan, sweep};

/// Routes for one pool until `shutdown`. An error means that the process has to start again from what is committed.
pub async fn run(context: Context, pool: PoolId, config: Config, shutdown: CancellationToken) -> Result<()> {
    let group = context.topics.group(&pool, Stage::Router);
    let membership = context.log.join(&group, &context.node).await?;
    let views = context.control.views();
    let mut service = Service::open(context, pool, config, membership).await?;
    service.renew(&views.borrow().clone());
    let counts = watch::Sender::default();
    let (found, looked) = (counts.subscribe(), Arc::clone(&service.shared.context.log));
    let looking = grown::watch(looked, service.roster.subscribe(), counts);
    let ended = tokio::select! {
        ended = service.follow(views, found, &shutdown) => ended,
        never = looking => match never {},
    };
    service.stop(|_| true).await?;
    ended
}

/// How often a scan that the log does not let go on is tried again: an operator has to do something about it.
const REFUSED_AGAIN: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) pool: PoolId,
    membership: Membership,
    pub(crate) shared: Arc<Shared>,
    pub(crate) owned: BTreeMap<Slot, Lease>,
    /// What the roster was made of.
    pub(crate) view: Arc<View>,
    pub(crate) roster: watch::Sender<Arc<Roster>>,
    pub(crate) moving: Moving,
    tasks: Tasks<TopicPartition>,
    running: HashMap<TopicPartition, (Slot, CancellationToken)>,
    /// Scans that cannot go on by themselves: not started again while the slot is ours.
    halted: HashSet<TopicPartition>,
    /// Scans that the log does not let go on: started again now and then.
    refused: HashSet<TopicPartition>,
    /// A transaction whose outcome nobody knows: everything starts again from what the log holds.
    pub(crate) unsure: bool,
}

impl Service {
    async fn open(context: Context, pool: PoolId, config: Config, membership: Membership) -> Result<Self> {
        let topic = context.topics.tables(&pool, Stage::Router);
        let tables = Arc::new(Tables::open(&*context.log, &topic).await?);
        let writer = writer(&context, &pool, &membership).await?;
        let turns = Arc::new(Semaphore::new(config.lanes_running));
        let replays = Arc::new(Semaphore::new(config.lanes_running));
        let group = membership.group().to_string();
        let shared = Arc::new(Shared { context, config, group, tables, writer, turns, replays });
        let (roster, _) = watch::channel(Arc::default());
        let moving = Moving::new(&shared.context, &pool);
        Ok(Self {
            pool,
            membership,
            shared,
            owned: BTreeMap::new(),
            view: Arc::default(),
            roster,
            moving,
            tasks: Tasks::default(),
            running: HashMap::new(),
            halted: HashSet::new(),
            refused: HashSet::new(),
            unsure: false,
        })
    }

    async fn follow(
        &mut self,
        mut views: watch::Receiver<Arc<View>>,
        mut counts: watch::Receiver<Counts>,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        loop {
            let again = self.moving.again();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                event = self.membership.next() => self.member(event, shutdown).await?,
                Ok(()) = views.changed() => {}
                Ok(()) = counts.changed() => {}
                Some(ended) = self.tasks.next() => self.note_end(ended)?,
                found = self.moving.looking.found() => self.take(found, shutdown).await?,
                () = tokio::time::sleep(REFUSED_AGAIN), if !self.refused.is_empty() => self.refused.clear(),
                () = tried_again(again) => {}
            }
            let now = counts.borrow().clone();
            loop {
                if self.unsure {
                    self.start_again(shutdown).await?;
                }
                let view = Arc::clone(&views.borrow_and_update());
                self.follow_view(&view, &now, shutdown).await?;
                if !self.unsure {
                    break;
                }
            }
            self.start_scans(&now, shutdown)?;
            if !self.moving.is_stuck() {
                self.moving.between.clear();
            }
            if !self.owned.is_empty() {
                self.shared.config.holding.notify_one();
            }
        }
    }

    async fn member(&mut self, event: Option<MembershipEvent>, shutdown: &CancellationToken) -> Result<()> {
        match event {
            Some(MembershipEvent::Assigned(leases)) => self.assigned(leases, shutdown).await,
            Some(MembershipEvent::Revoked(leases, ack)) => {
                self.revoked(&leases).await?;
                ack.acknowledge();
                Ok(())
            }
            Some(MembershipEvent::Lost(leases)) => self.revoked(&leases).await,
            None if shutdown.is_cancelled() => Ok(()),
            None => Err(Error::Replaced(self.shared.group.clone())),
        }
    }

    async fn assigned(&mut self, leases: Vec<Lease>, shutdown: &CancellationToken) -> Result<()> {
        info!(pool = %self.pool, slots = leases.len(), "slots assigned");
        if self.restore(&leases, shutdown).await?.is_continue() && self.knows_enough(&leases, shutdown).await? {
            self.owned.extend(leases.into_iter().map(|lease| (lease.slot, lease)));
            self.shared.config.assigned.notify_one();
        }
        Ok(())
    }

    /// Their scans end, with what they have under way, before anybody else begins.
    async fn revoked(&mut self, leases: &[Lease]) -> Result<()> {
        info!(pool = %self.pool, slots = leases.len(), "slots revoked");
        let slots: HashSet<Slot> = leases.iter().map(|lease| lease.slot).collect();
        self.owned.retain(|slot, _| !slots.contains(slot));
        self.stop(|slot| slots.contains(&slot)).await?;
        self.say_nothing_of(&slots);
        self.halted.retain(|source| !slots.contains(&Slot::of_source(source)));
        slots.into_iter().for_each(|slot| self.shared.tables.release(slot));
        Ok(())
    }

    /// Whoever has these slots next speaks for what stands still there.
    fn say_nothing_of(&self, slots: &HashSet<Slot>) {
        let Context { topics, board, .. } = &self.shared.context;
        for entry in self.view.subscriptions.values() {
            let from = self.view.on_the_move(entry).map(|moving| &moving.from);
            if entry.pool != self.pool && from != Some(&self.pool) {
                continue;
            }
            let Some(counters) = board.get(&entry.tenant, &entry.id, entry.incarnation) else { continue };
            let topic = topics.of_tenant(&entry.tenant, &entry.config.source.topic);
            for partition in counters.parts_of(Stage::Router) {
                if slots.contains(&Slot::of_source(&TopicPartition::new(topic.as_str(), partition.0))) {
                    counters.note_moving(Stage::Router, partition);
                }
            }
        }
    }

    /// Reads the slots' rows back and removes those of subscriptions that went while nobody watched. Breaks when asked
    /// to stop: nothing of the slots may run then.
    async fn restore(&self, leases: &[Lease], shutdown: &CancellationToken) -> Result<ControlFlow<()>> {
        let (shared, mut backoff) = (&self.shared, Backoff::default());
        loop {
            let slots = leases.iter().map(|lease| lease.slot);
            match shared.tables.restore_all(&*shared.context.log, slots).await {
                Err(StateError::Log(LogError::Retry(why))) if backoff.wait(&why, shutdown).await.is_continue() => {}
                Err(StateError::Log(LogError::Retry(_))) => return Ok(ControlFlow::Break(())),
                restored => break restored?,
            }
        }
        for lease in leases {
            self.sweep(lease, shutdown).await?;
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn sweep(&self, lease: &Lease, shutdown: &CancellationToken) -> Result<()> {
        let (shared, view) = (&self.shared, self.shared.context.control.view());
        let rows: Vec<_> =
            [rows::SCAN, rows::REPLAY].iter().flat_map(|table| shared.tables.scan(lease.slot, table)).collect();
        let mut orphans = sweep::orphans(rows.iter().map(|(key, _)| key.as_str()), &view);
        let started = shared.tables.scan(lease.slot, rows::STARTED);
        let names = &shared.context.topics;
        orphans.extend(sweep::unread(started.iter().map(|(key, _)| key.as_str()), &view, &self.pool, names));
        if orphans.is_empty() {
            return Ok(());
        }
        let mut step = Step::under(lease);
        for key in orphans {
            let Step { transaction, mutations } = &mut step;
            shared.tables.remove(transaction, mutations, lease.slot, key, shared.context.clock.now());
        }
        // Whatever comes of it: rows of nobody do no harm, and the next owner tries again.
        let outcome = shared.commit(step, shutdown).await?;
        info!(slot = lease.slot.0, ?outcome, "removed the rows of deleted subscriptions");
        Ok(())
    }

    /// Every running scan hears of the new view.
    pub(crate) fn renew(&mut self, view: &Arc<View>) {
        let (topics, board) = (&self.shared.context.topics, &self.shared.context.board);
        let roster = Roster::next(&self.roster.borrow(), view, &self.pool, topics, board);
        // A source that nobody reads any more may be another one when it is read again.
        self.halted.retain(|at| !roster.source(&at.topic).members().is_empty());
        self.roster.send_replace(Arc::new(roster));
        self.view = Arc::clone(view);
    }

    /// Starts what should run and does not.
    fn start_scans(&mut self, counts: &Counts, shutdown: &CancellationToken) -> Result<()> {
        let roster = Arc::clone(&self.roster.borrow());
        for source in roster.partitions(counts) {
            let Some(lease) = self.owned.get(&Slot::of_source(&source)) else { continue };
            if self.running.contains_key(&source) || self.halted.contains(&source) || self.refused.contains(&source) {
                continue;
            }
            if self.moving.holds_up(&source) || !self.has_somebody(&roster, &source, lease.slot)? {
                continue;
            }
            let stop = shutdown.child_token();
            self.running.insert(source.clone(), (lease.slot, stop.clone()));
            let own = Own { shared: Arc::clone(&self.shared), lease: lease.clone(), source: source.clone() };
            // Everything, until the scan and its lanes know where they stand and hold that.
            let all = own.log().hold(&source, Offset::ZERO);
            let roster = self.roster.subscribe();
            self.tasks.spawn(source, scan::run(Arc::new(own), all, roster, stop));
        }
        Ok(())
    }

    /// False of a source whose readers are all on their way here.
    fn has_somebody(&self, roster: &Roster, source: &TopicPartition, slot: Slot) -> Result<bool> {
        for member in roster.source(&source.topic).members() {
            if has_come(&self.shared.tables, slot, member)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn note_end(&mut self, (source, ended): (TopicPartition, Result<Ended>)) -> Result<()> {
        let slot = self.running.remove(&source).map(|(slot, _)| slot);
        match ended? {
            Ended::Stopped | Ended::Done => {}
            // Brokers may not agree yet whether a partition that was added is there.
            Ended::Halted if self.roster.borrow().is_added(&source) => drop(self.refused.insert(source)),
            Ended::Halted => drop(self.halted.insert(source)),
            Ended::Refused => drop(self.refused.insert(source)),
            Ended::Unknown => self.unsure = true,
            Ended::Fenced => {
                warn!(pool = %self.pool, %source, "the slot is another's");
                slot.and_then(|slot| self.owned.remove(&slot));
            }
        }
        Ok(())
    }

    /// The partitions whose scans run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &TopicPartition> {
        self.running.keys()
    }

    /// Ends the scans of these slots and waits until none has a transaction under way.
    pub(crate) async fn stop(&mut self, which: impl Fn(Slot) -> bool) -> Result<()> {
        let affected = |(slot, _): &&(Slot, CancellationToken)| which(*slot);
        self.running.values().filter(affected).for_each(|(_, stop)| stop.cancel());
        while self.running.values().any(|one| affected(&one)) {
            let Some(ended) = self.tasks.next().await else { return Ok(()) };
            self.note_end(ended)?;
        }
        Ok(())
    }

    /// A new writer ends what the old one left open; then rows and positions are read again.
    pub(crate) async fn start_again(&mut self, shutdown: &CancellationToken) -> Result<()> {
        warn!(pool = %self.pool, "the outcome of a transaction is not known: starting again from what the log holds");
        self.stop(|_| true).await?;
        let writer = writer(&self.shared.context, &self.pool, &self.membership).await?;
        let (context, config) = (self.shared.context.clone(), self.shared.config.clone());
        let (group, tables) = (self.shared.group.clone(), Arc::clone(&self.shared.tables));
        let (turns, replays) = (Arc::clone(&self.shared.turns), Arc::clone(&self.shared.replays));
        self.shared = Arc::new(Shared { context, config, group, tables, writer, turns, replays });
        self.unsure = false;
        self.moving.lost.clear();
        let leases = std::mem::take(&mut self.owned).into_values().collect();
        self.assigned(leases, shutdown).await
    }
}

async fn tried_again(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn writer(context: &Context, pool: &PoolId, membership: &Membership) -> Result<Arc<dyn Writer>> {
    let id = format!("{}.{pool}.router", context.node);
    Ok(context.log.writer(&id, Some(membership)).await?)
}
