//! Tenants that leave the router's pool, and those that come into it, slot by slot.
//!
//! The scans of a slot stop at the border of a transaction before it lets go of a tenant, as they do where the slot
//! goes to another owner: then rows and positions say all there is, and the next scans know the tenant no more. Who
//! comes is in the roster at once, and in a slot's scans once the slot has what was handed over. Does not own how that
//! is written ([`fpaas_state::moves`]). Invariants: offsets-with-effects, one-owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, PoolId, TopicPartition};
use fpaas_log::{Error as LogError, Hold, Lease, Position, patiently};
use fpaas_state::moves::{self, Departure, Found, Looking, Moves, Parcel, Slots};
use fpaas_state::rows::{self, ScanRow};
use fpaas_state::{Context, Error as StateError, SubscriptionEntry, View};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::commit::{Ended, Outcome, Step};
use crate::grown::Counts;
use crate::mark::Mark;
use crate::scan::row_lost;
use crate::service::Service;
use crate::{Error, Result, sweep};

/// How long after it failed something is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon what is not known yet is looked at again.
const SOON: Duration = Duration::from_millis(50);

/// What a service remembers of moves.
#[derive(Debug)]
pub(crate) struct Moving {
    moves: Moves,
    pub(crate) looking: Looking,
    /// The topic of moves into this pool is there.
    made: bool,
    /// Slots that could not let go of everybody who leaves: nothing runs there, so that it stays known what they have.
    stuck: BTreeSet<Slot>,
    again: Option<Instant>,
    /// What may be needed of the sources of those who are on their way, from here or to here.
    holds: BTreeMap<TopicPartition, Hold>,
}

impl Moving {
    pub(crate) fn new(context: &Context, pool: &PoolId) -> Self {
        let moves = Moves::new(context.clone(), pool.clone(), Stage::Router);
        let looking = moves.looking();
        Self { moves, looking, made: false, stuck: BTreeSet::new(), again: None, holds: BTreeMap::new() }
    }

    pub(crate) fn is_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    pub(crate) fn is_stuck_at(&self, slot: Slot) -> bool {
        self.stuck.contains(&slot)
    }

    fn is_early(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() < again)
    }
}

/// What is asked of the log for a hand-over.
struct Known<'v> {
    view: &'v View,
    /// The subscriptions that leave.
    entries: Vec<&'v Arc<SubscriptionEntry>>,
    /// The pool's, on the partitions of their sources.
    positions: BTreeMap<TopicPartition, Position>,
    /// What others of the pool read.
    topics: BTreeSet<String>,
}

impl Service {
    /// False when asked to stop before the view is as new as what the slots say.
    pub(crate) async fn knows_enough(&self, leases: &[Lease], shutdown: &CancellationToken) -> Result<bool> {
        let known = moves::known(&self.shared.tables, leases.iter().map(|lease| lease.slot))?;
        let mut views = self.shared.context.control.views();
        let waited = shutdown.run_until_cancelled(views.wait_for(|view| view.revision >= known)).await;
        Ok(matches!(waited, Some(Ok(_))))
    }

    /// Follows the view: lets go of who leaves before any scan hears of it.
    pub(crate) async fn follow_view(
        &mut self,
        view: &Arc<View>,
        counts: &Counts,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        self.hold(view, counts);
        self.let_go(view, counts, shutdown).await?;
        if !Arc::ptr_eq(view, &self.view) {
            self.renew(view);
        }
        let slots = self.owned.keys().copied();
        let awaiting = self.moving.moves.awaiting(&self.shared.tables, slots, view)?;
        if !awaiting.is_empty() && !self.moving.made {
            match asked(self.moving.moves.make_topic(&self.pool).await, shutdown)? {
                Some(()) => self.moving.made = true,
                None => return Ok(()),
            }
        }
        self.moving.looking.at(&awaiting);
        self.tidy(view, shutdown).await
    }

    /// Nobody else holds the sources of those who are on their way.
    fn hold(&mut self, view: &View, counts: &Counts) {
        let (topics, log) = (&self.shared.context.topics, &self.shared.context.log);
        let ours = |entry: &&Arc<SubscriptionEntry>| {
            let from = view.on_the_move(entry).map(|moving| &moving.from);
            from.is_some_and(|from| *from == self.pool || entry.pool == self.pool)
        };
        let mut wanted = BTreeSet::new();
        if view.moving().next().is_some() {
            for entry in view.subscriptions.values().filter(ours) {
                let topic = topics.of_tenant(&entry.tenant, &entry.config.source.topic);
                wanted.extend(
                    partitions(entry, &topic, counts).filter(|at| self.owned.contains_key(&Slot::of_source(at))),
                );
            }
        }
        self.moving.holds.retain(|at, _| wanted.contains(at));
        for at in wanted {
            self.moving.holds.entry(at).or_insert_with_key(|at| log.hold(at, Offset::ZERO));
        }
    }

    async fn let_go(&mut self, view: &View, counts: &Counts, shutdown: &CancellationToken) -> Result<()> {
        let departing = self.departing(view)?;
        let slots: BTreeSet<Slot> = departing.iter().map(|(slot, _)| *slot).collect();
        if slots.is_empty() || (self.moving.is_early() && slots.is_subset(&self.moving.stuck)) {
            self.moving.stuck = slots;
            return Ok(());
        }
        for to in departing.iter().map(|(_, departure)| departure.to.clone()).collect::<BTreeSet<_>>() {
            if asked(self.moving.moves.make_topic(&to).await, shutdown)?.is_none() {
                warn!(pool = %to, "tenants cannot move there now");
            }
        }
        self.stop(|slot| slots.contains(&slot)).await?;
        if self.unsure {
            self.start_again(shutdown).await?;
        }
        let mut departures: Vec<Departure> = Vec::new();
        for (_, departure) in departing {
            if !departures.contains(&departure) {
                departures.push(departure);
            }
        }
        for departure in &departures {
            self.hand_over(view, counts, departure, shutdown).await?;
        }
        self.moving.stuck = self.departing(view)?.into_iter().map(|(slot, _)| slot).collect();
        self.moving.again = Some(Instant::now() + AGAIN);
        Ok(())
    }

    fn departing(&self, view: &View) -> Result<Vec<(Slot, Departure)>> {
        Ok(self.moving.moves.departing(&self.shared.tables, self.owned.keys().copied(), view)?)
    }

    /// One tenant leaves every slot of ours that it has not left.
    async fn hand_over(
        &mut self,
        view: &View,
        counts: &Counts,
        departure: &Departure,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let Some(known) = self.known(view, counts, departure, shutdown).await? else { return Ok(()) };
        let (mut steps, mut step) = (Vec::new(), Slots::default());
        for (slot, _) in self.departing(view)?.iter().filter(|(_, of)| of == departure) {
            let Some(lease) = self.owned.get(slot) else { continue };
            let Some((parcel, others)) = self.parcel(*slot, &known, departure, counts)? else { continue };
            let (tables, moves) = (&self.shared.tables, &self.moving.moves);
            moves.hand_over((tables, view), &mut step, lease, departure, (&parcel, others))?;
            if step.is_full() {
                steps.push(std::mem::take(&mut step));
            }
        }
        for step in steps.into_iter().chain([step]) {
            let left: BTreeSet<Slot> = step.transaction.leases.iter().map(|lease| lease.slot).collect();
            crashpoint::hit(Point::MoveHandingOver);
            if self.commit_slots(step, shutdown).await? {
                crashpoint::hit(Point::MoveHandedOver);
                info!(tenant = %departure.tenant, to = %departure.to, slots = left.len(), "let go of a tenant that moves");
                self.forget_notes(&known, &left, counts);
            }
        }
        Ok(())
    }

    /// What kept it from going on in these slots is said where it is now.
    fn forget_notes(&self, known: &Known<'_>, slots: &BTreeSet<Slot>, counts: &Counts) {
        let Context { topics, board, .. } = &self.shared.context;
        for entry in &known.entries {
            let topic = topics.of_tenant(&entry.tenant, &entry.config.source.topic);
            let counters = board.of(&entry.tenant, &entry.id, entry.incarnation);
            for at in partitions(entry, &topic, counts).filter(|at| slots.contains(&Slot::of_source(at))) {
                counters.note_moving(Stage::Router, at.partition);
            }
        }
    }

    async fn known<'v>(
        &self,
        view: &'v View,
        counts: &Counts,
        departure: &Departure,
        shutdown: &CancellationToken,
    ) -> Result<Option<Known<'v>>> {
        let Departure { tenant, since, .. } = departure;
        let names = &self.shared.context.topics;
        let topic = |entry: &SubscriptionEntry| names.of_tenant(&entry.tenant, &entry.config.source.topic);
        let leaves = |entry: &&Arc<SubscriptionEntry>| entry.tenant == *tenant && entry.since() == *since;
        let entries: Vec<_> = view.subscriptions.values().filter(leaves).collect();
        let mut sources: BTreeSet<TopicPartition> =
            entries.iter().flat_map(|entry| partitions(entry, &topic(entry), counts).collect::<Vec<_>>()).collect();
        for slot in self.owned.keys() {
            let rows = self.shared.tables.scan(*slot, &format!("{}{tenant}/", rows::SCAN));
            sources.extend(rows.iter().filter_map(|(key, _)| Some(rows::split_partition(key)?.1)));
        }
        sources.retain(|at| self.owned.contains_key(&Slot::of_source(at)));
        let at: Vec<_> = sources.into_iter().collect();
        let (log, group) = (&self.shared.context.log, &self.shared.group);
        let positions = patiently(shutdown, || log.positions(group, &at)).await;
        let Some(positions) = asked(positions.map_err(StateError::from), shutdown)? else { return Ok(None) };
        let positions = at.into_iter().zip(positions).filter_map(|(at, position)| Some((at, position?))).collect();
        let stay = view.subscriptions.values().filter(|entry| entry.pool == self.pool);
        Ok(Some(Known { view, entries, positions, topics: stay.map(|entry| topic(entry)).collect() }))
    }

    /// What a slot has of a tenant, and the keys of rows that nobody needs any more. `None` where something is lost:
    /// its subscriptions stand still, and stay where they are.
    fn parcel(
        &self,
        slot: Slot,
        known: &Known<'_>,
        departure: &Departure,
        counts: &Counts,
    ) -> Result<Option<(Parcel, Vec<String>)>> {
        let tables = &self.shared.tables;
        if let Some((entry, at)) = self.lost(slot, known, counts) {
            let key = format!("{}/{}/{}", entry.tenant, entry.id, entry.incarnation);
            self.note_lost(entry, &at, &row_lost(&key, &at));
            return Ok(None);
        }
        let (mut parcel, mut others) = (Parcel::default(), Vec::new());
        for (key, value) in tables.scan(slot, &format!("{}{}/", rows::SCAN, departure.tenant)) {
            if sweep::is_orphan(&key, known.view).unwrap_or(false) {
                others.push(key);
                continue;
            }
            let mut row: ScanRow = rows::decode(&key, &value)?;
            let at = rows::split_partition(&key).map(|(_, at)| at);
            if let Some(at) = at.filter(|_| row.in_scan) {
                let Some(position) = known.positions.get(&at) else {
                    let lost = format!("positionLost: the position on {at} was committed and is not there any more");
                    known.entries.iter().for_each(|entry| self.note_lost(entry, &at, &lost));
                    return Ok(None);
                };
                row = ScanRow { position: row.position.max(position.offset), in_scan: false };
            }
            parcel.rows.push((key, rows::encode(&row)?));
        }
        for (key, value) in tables.scan(slot, &format!("{}{}/", rows::REPLAY, departure.tenant)) {
            if sweep::is_orphan(&key, known.view).unwrap_or(false) {
                others.push(key);
            } else {
                parcel.rows.push((key, value));
            }
        }
        for (key, _) in tables.scan(slot, rows::STARTED) {
            // Nobody minds any more whether there is a position.
            let read = rows::split_partition(&key).is_none_or(|(_, at)| known.topics.contains(&*at.topic));
            others.extend((!read).then_some(key));
        }
        Ok(Some((parcel, others)))
    }

    /// A subscription that must have a row in this slot and has none: elsewhere it would begin again.
    fn lost<'v>(
        &self,
        slot: Slot,
        known: &Known<'v>,
        counts: &Counts,
    ) -> Option<(&'v SubscriptionEntry, TopicPartition)> {
        let names = &self.shared.context.topics;
        for entry in &known.entries {
            let there = entry.came.as_ref().map_or(entry.incarnation.0, |came| came.there);
            let topic = names.of_tenant(&entry.tenant, &entry.config.source.topic);
            for at in partitions(entry, &topic, counts).filter(|at| Slot::of_source(at) == slot) {
                let Some(position) = known.positions.get(&at) else { continue };
                let mark = rows::decode::<Mark>("a position's metadata", &position.metadata).ok();
                // Before it moved it may have come from elsewhere.
                let had = mark.is_some_and(|mark| mark.has_row(entry, there));
                if had && self.shared.tables.get_bytes(slot, &rows::scan_key(entry, &at)).is_none() {
                    return Some((entry, at));
                }
            }
        }
        None
    }

    fn note_lost(&self, entry: &SubscriptionEntry, at: &TopicPartition, why: &str) {
        error!(tenant = %entry.tenant, subscription = %entry.id, why, "a tenant cannot leave a slot");
        let counters = self.shared.context.board.of(&entry.tenant, &entry.id, entry.incarnation);
        counters.note_stopped(Stage::Router, at.partition, why);
    }

    /// What was found is ours from here on, and its scans and lanes begin.
    pub(crate) async fn take(
        &mut self,
        found: fpaas_state::Result<Vec<(Slot, Found)>>,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let Some(found) = asked(found, shutdown)? else { return Ok(()) };
        let view = Arc::clone(&self.view);
        let lives = |key: &str| !sweep::is_orphan(key, &view).unwrap_or(false);
        let (mut steps, mut step) = (Vec::new(), Slots::default());
        for (slot, found) in &found {
            let Some(lease) = self.owned.get(slot) else { continue };
            let (tables, moves) = (&self.shared.tables, &self.moving.moves);
            moves.take((tables, &view), &mut step, lease, found, (lives, &Bytes::new()))?;
            if step.is_full() {
                steps.push(std::mem::take(&mut step));
            }
        }
        let mut taken = 0;
        for step in steps.into_iter().chain([step]) {
            let slots = step.transaction.leases.len();
            crashpoint::hit(Point::MoveTaking);
            if self.commit_slots(step, shutdown).await? {
                taken += slots;
            }
        }
        if taken == 0 {
            // Not known here yet, or not taken by the log now.
            let _slept = shutdown.run_until_cancelled(tokio::time::sleep(SOON)).await;
            return Ok(());
        }
        crashpoint::hit(Point::MoveTaken);
        info!(pool = %self.pool, slots = taken, "took what was handed over");
        let roster = Arc::clone(&self.roster.borrow());
        self.roster.send_replace(roster);
        Ok(())
    }

    async fn tidy(&mut self, view: &View, shutdown: &CancellationToken) -> Result<()> {
        let untidy = self.moving.moves.untidy(&self.shared.tables, self.owned.values(), view)?;
        if untidy.is_empty() {
            return Ok(());
        }
        let tidied = self.moving.moves.tidy(&self.shared.tables, &untidy, view).await;
        if let Some(step) = asked(tidied, shutdown)? {
            self.commit_slots(step, shutdown).await?;
        }
        Ok(())
    }

    /// False where nothing came of it: it is tried again.
    async fn commit_slots(&mut self, step: Slots, shutdown: &CancellationToken) -> Result<bool> {
        let Slots { transaction, mutations } = step;
        if transaction.is_empty() {
            return Ok(false);
        }
        match self.shared.commit(Step { transaction, mutations }, shutdown).await? {
            Outcome::Committed => return Ok(true),
            Outcome::Refused(refused) => warn!(at = %refused.at, refusal = %refused.refusal, "a move is put off"),
            Outcome::Ended(Ended::Unknown) => self.unsure = true,
            // A slot is another's: we are told which.
            Outcome::Ended(ended) => info!(?ended, "a move is put off"),
        }
        Ok(false)
    }
}

/// The partitions of a subscription's source, as far as they are known.
fn partitions<'e>(
    entry: &'e SubscriptionEntry,
    topic: &str,
    counts: &Counts,
) -> impl Iterator<Item = TopicPartition> + use<'e> {
    let (topic, most) = (Arc::<str>::from(topic), u32::try_from(entry.starts.len()).unwrap_or(u32::MAX));
    let found = counts.get(&*topic).copied().unwrap_or(0);
    (0..most.max(found)).map(move |partition| TopicPartition::new(Arc::clone(&topic), partition))
}

/// `None` where the log is away as we stop, or refuses it: that is said, and it is tried again.
fn asked<T>(answer: fpaas_state::Result<T>, shutdown: &CancellationToken) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(StateError::Log(LogError::Retry(_))) if shutdown.is_cancelled() => Ok(None),
        Err(StateError::Log(LogError::Refused(why))) => {
            warn!(why, "a move is put off");
            Ok(None)
        }
        Err(error) => Err(Error::State(error)),
    }
}
