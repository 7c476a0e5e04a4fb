//! Tenants that leave the dispatcher's pool, and those that come into it, slot by slot.
//!
//! A slot lets go of a tenant once none of its lanes is at work there: a call in flight is finished or dropped, and
//! what is frozen stays frozen, byte for byte. Who comes gets its lanes in a slot once the slot has what was handed
//! over. Does not own how that is written ([`fpaas_state::moves`]). Invariants: frozen-batch, offsets-with-effects,
//! one-owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, Partition, PoolId, TopicPartition, limits};
use fpaas_log::{Error as LogError, Lease};
use fpaas_state::moves::{self, Departure, Found, Looking, Moves, Parcel, Slots};
use fpaas_state::{Context, Error as StateError, View, rows};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::error::{Error, Halt, Result, Step};
use crate::service::Service;
use crate::site::ask;
use crate::sweep::{TABLES, deleted};

/// How long after it failed something is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon what is not known yet is looked at again.
const SOON: Duration = Duration::from_millis(50);

/// What a service remembers of moves.
#[derive(Debug)]
pub(crate) struct Moving {
    moves: Moves,
    pub(crate) looking: Looking,
    /// The topics of moves that are there.
    made: BTreeSet<PoolId>,
    pool: PoolId,
    /// When what could not be done is tried again.
    again: Option<Instant>,
    /// When positions on what was handed over are committed again.
    renew: Option<Instant>,
}

impl Moving {
    pub(crate) fn new(context: &Context, pool: &PoolId) -> Self {
        let moves = Moves::new(context.clone(), pool.clone(), Stage::Dispatcher);
        let looking = moves.looking();
        Self { moves, looking, made: BTreeSet::new(), pool: pool.clone(), again: None, renew: None }
    }

    /// When something is to be tried again, or is due.
    pub(crate) fn again(&self) -> Option<Instant> {
        self.again.into_iter().chain(self.renew).min()
    }

    fn is_early(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() < again)
    }
}

impl Service {
    /// False when asked to stop before the view is as new as what the slots say.
    pub(crate) async fn knows_enough(&self, leases: &[Lease]) -> Result<bool> {
        let known = moves::known(&self.shared.tables, leases.iter().map(|lease| lease.slot))?;
        let mut views = self.shared.context.control.views();
        let waited = self.shutdown.run_until_cancelled(views.wait_for(|view| view.revision >= known)).await;
        Ok(matches!(waited, Some(Ok(_))))
    }

    /// After the lanes have followed the view.
    pub(crate) async fn follow_moves(&mut self, view: &View) -> Result<()> {
        if !self.moving.is_early() {
            self.moving.again = None;
            let (tables, slots) = (&self.shared.tables, self.leases.keys().copied());
            let mut departing = self.moving.moves.departing(tables, slots, view)?;
            let unsure = &self.shared.unsure;
            departing.retain(|(slot, of)| !self.lanes.work_for(&of.tenant, *slot) && !unsure.contains(*slot));
            let mut departures: BTreeMap<u64, (Departure, Vec<Slot>)> = BTreeMap::new();
            for (slot, of) in departing {
                departures.entry(of.since).or_insert_with(|| (of, Vec::new())).1.push(slot);
            }
            for (departure, slots) in departures.values() {
                if self.hand_over(view, departure, slots).await? || slots.len() == 1 {
                    continue;
                }
                // What keeps one slot from it need not keep the others.
                let (tables, ours) = (&self.shared.tables, self.leases.keys().copied());
                let left = self.moving.moves.departing(tables, ours, view)?;
                for slot in slots {
                    let stays = left.iter().any(|(of, leaves)| of == slot && leaves == departure);
                    if stays && !self.shared.unsure.contains(*slot) {
                        self.hand_over(view, departure, &[*slot]).await?;
                    }
                }
            }
        }
        self.renew_moves(view).await?;
        let (tables, slots) = (&self.shared.tables, self.leases.keys().copied());
        let awaiting = self.moving.moves.awaiting(tables, slots, view)?;
        if !awaiting.is_empty() && !self.make(&self.moving.pool.clone()).await? {
            return Ok(());
        }
        self.moving.looking.at(&awaiting);
        self.tidy(view).await
    }

    /// The topic of moves into `pool` is there.
    async fn make(&mut self, pool: &PoolId) -> Result<bool> {
        if self.moving.made.contains(pool) {
            return Ok(true);
        }
        let made = self.moving.moves.make_topic(pool).await;
        let made = self.asked(made.map_err(Halt::from))?.is_some();
        if made {
            self.moving.made.insert(pool.clone());
        }
        Ok(made)
    }

    /// One tenant leaves these slots, where none of its lanes is at work. False where the log does not take all of it.
    async fn hand_over(&mut self, view: &View, departure: &Departure, slots: &[Slot]) -> Result<bool> {
        if !self.make(&departure.to).await? {
            return Ok(true);
        }
        let lanes = self.lanes_of(view, departure, slots);
        let at: Vec<_> = lanes.iter().map(|(_, at)| at.clone()).collect();
        let (log, group) = (&self.shared.context.log, &self.shared.group);
        let positions = ask(&self.shutdown, || log.positions(group, &at)).await;
        let Some(positions) = self.asked(positions)? else { return Ok(true) };
        let found = at.into_iter().zip(positions).filter_map(|(at, position)| Some((at, position?.offset)));
        let positions: BTreeMap<TopicPartition, Offset> = found.collect();
        let (mut steps, mut step) = (Vec::new(), Slots::default());
        for slot in slots {
            let Some(lease) = self.leases.get(slot) else { continue };
            let Some((parcel, others)) = self.parcel(*slot, view, departure, &lanes, &positions) else {
                self.moving.again = Some(Instant::now() + AGAIN);
                continue;
            };
            let (tables, moves) = (&self.shared.tables, &self.moving.moves);
            moves.hand_over((tables, view), &mut step, lease, departure, (&parcel, others))?;
            if step.is_full() {
                steps.push(std::mem::take(&mut step));
            }
        }
        for step in steps.into_iter().chain([step]) {
            let slots = step.transaction.leases.len();
            crashpoint::hit(Point::MoveHandingOver);
            if !self.commit_slots(step).await? {
                return Ok(false);
            }
            crashpoint::hit(Point::MoveHandedOver);
            info!(tenant = %departure.tenant, to = %departure.to, slots, "let go of a tenant that moves");
        }
        Ok(true)
    }

    /// The lanes of a tenant in these slots: those of its subscriptions, and those that have rows.
    fn lanes_of(&self, view: &View, departure: &Departure, slots: &[Slot]) -> BTreeSet<(Slot, TopicPartition)> {
        let (topics, mut lanes) = (&self.shared.context.topics, BTreeSet::new());
        let leaves = view.subscriptions.values();
        for entry in leaves.filter(|entry| entry.tenant == departure.tenant && entry.since() == departure.since) {
            let deliveries: Arc<str> = topics.deliveries(&entry.tenant, &entry.id, entry.incarnation).into();
            for lane in (0..entry.config.lanes).map(Partition) {
                let slot = Slot::of_lane(entry.tenant.as_str(), entry.id.as_str(), lane);
                if slots.contains(&slot) {
                    lanes.insert((slot, TopicPartition { topic: Arc::clone(&deliveries), partition: lane }));
                }
            }
        }
        lanes
    }

    /// What a slot has of a tenant, and the keys of rows that nobody needs any more. `None` where a position is lost:
    /// its lane stands still, and stays where it is.
    fn parcel(
        &self,
        slot: Slot,
        view: &View,
        departure: &Departure,
        lanes: &BTreeSet<(Slot, TopicPartition)>,
        positions: &BTreeMap<TopicPartition, Offset>,
    ) -> Option<(Parcel, Vec<String>)> {
        let (tables, topics) = (&self.shared.tables, &self.shared.context.topics);
        let (mut parcel, mut others) = (Parcel::default(), Vec::new());
        let theirs = format!("{}.{}.d.", topics.prefix(), departure.tenant);
        for table in TABLES {
            for (key, value) in tables.scan(slot, &format!("{table}{theirs}")) {
                match deleted(topics, &key, view) {
                    Some(_) => others.push(key),
                    None => parcel.rows.push((key, value)),
                }
            }
        }
        for (_, at) in lanes.iter().filter(|(of, _)| *of == slot) {
            let started = rows::started_key(at);
            match positions.get(at) {
                Some(offset) => parcel.positions.push((at.clone(), *offset)),
                None if parcel.rows.iter().any(|(key, _)| *key == started) => {
                    let why = "positionLost: the log has no position of a lane that had one";
                    error!(lane = %at, why, "a tenant cannot leave a slot");
                    let entries = view.subscriptions.values();
                    let entry = entries
                        .into_iter()
                        .find(|entry| topics.deliveries(&entry.tenant, &entry.id, entry.incarnation) == *at.topic)?;
                    let counters = self.shared.context.board.of(&entry.tenant, &entry.id, entry.incarnation);
                    counters.note_stopped(Stage::Dispatcher, at.partition, why);
                    return None;
                }
                None => {}
            }
        }
        Some((parcel, others))
    }

    /// What was found is ours from here on: its lanes begin as the view is followed next.
    pub(crate) async fn take_in(&mut self, found: fpaas_state::Result<Vec<(Slot, Found)>>, view: &View) -> Result<()> {
        let Some(found) = self.asked(found.map_err(Halt::from))? else { return Ok(()) };
        let (mut taken, all) = self.take_some(&found, view).await?;
        for one in found.chunks(1).filter(|_| !all && found.len() > 1) {
            taken += self.take_some(one, view).await?.0;
        }
        if taken == 0 {
            // Not known here yet, or not taken by the log now.
            let _slept = self.shutdown.run_until_cancelled(tokio::time::sleep(SOON)).await;
            return Ok(());
        }
        crashpoint::hit(Point::MoveTaken);
        info!(pool = %self.moving.pool, slots = taken, "took what was handed over");
        Ok(())
    }

    /// How many slots took something, and whether the log took all there was.
    async fn take_some(&mut self, found: &[(Slot, Found)], view: &View) -> Result<(usize, bool)> {
        let topics = &self.shared.context.topics;
        let lives = |key: &str| deleted(topics, key, view).is_none();
        let (mut steps, mut step) = (Vec::new(), Slots::default());
        for (slot, found) in found.iter().filter(|(slot, _)| !self.shared.unsure.contains(*slot)) {
            let Some(lease) = self.leases.get(slot) else { continue };
            let (tables, moves) = (&self.shared.tables, &self.moving.moves);
            moves.take((tables, view), &mut step, lease, found, (lives, &self.shared.writer_id))?;
            if step.is_full() {
                steps.push(std::mem::take(&mut step));
            }
        }
        let mut taken = 0;
        for step in steps.into_iter().chain([step]) {
            let slots = step.transaction.leases.len();
            crashpoint::hit(Point::MoveTaking);
            if !self.commit_slots(step).await? {
                return Ok((taken, false));
            }
            taken += slots;
        }
        Ok((taken, true))
    }

    /// A move may take longer than brokers remember a position.
    async fn renew_moves(&mut self, view: &View) -> Result<()> {
        if view.arrivals(&self.moving.pool).is_empty() {
            self.moving.renew = None;
            return Ok(());
        }
        let now = Instant::now();
        let due = *self.moving.renew.get_or_insert(now + limits::POSITION_RENEW_FOUND);
        if now < due {
            return Ok(());
        }
        self.moving.renew = Some(now + limits::POSITION_RENEW);
        let (tables, metadata) = (&self.shared.tables, &self.shared.writer_id);
        let step = self.moving.moves.renew(tables, self.leases.values(), view, metadata).await;
        let renewed = match self.asked(step.map_err(Halt::from))? {
            Some(step) => self.commit_slots(step).await?,
            None => false,
        };
        if !renewed {
            self.moving.renew = Some(now + limits::POSITION_RENEW_FOUND);
        }
        Ok(())
    }

    async fn tidy(&mut self, view: &View) -> Result<()> {
        let untidy = self.moving.moves.untidy(&self.shared.tables, self.leases.values(), view)?;
        if untidy.is_empty() || self.moving.is_early() {
            return Ok(());
        }
        let tidied = self.moving.moves.tidy(&self.shared.tables, &untidy, view).await;
        if let Some(step) = self.asked(tidied.map_err(Halt::from))? {
            self.commit_slots(step).await?;
        }
        Ok(())
    }

    /// False where nothing came of it: it is tried again. Nothing is waited for: lanes of others are to be followed.
    async fn commit_slots(&mut self, step: Slots) -> Result<bool> {
        let slots = step.slots();
        let Slots { transaction, mutations } = step;
        if transaction.is_empty() {
            return Ok(true);
        }
        let Err(rejected) = self.shared.writer.commit(transaction).await else {
            self.shared.tables.apply(mutations);
            return Ok(true);
        };
        let error = rejected.error;
        if error == LogError::Unknown {
            self.shared.unsure.note(slots);
        }
        if error == LogError::Unknown || error.may_pass() {
            warn!(%error, "a move is put off");
            self.moving.again = Some(Instant::now() + AGAIN);
            return Ok(false);
        }
        Ok(self.asked::<()>(Err(error.into()))?.is_some())
    }

    /// `None` where the log refuses it, a slot is another's or we stop: it is tried again.
    fn asked<T>(&mut self, answer: Step<T>) -> Result<Option<T>> {
        match answer {
            Ok(answer) => return Ok(Some(answer)),
            Err(Halt::Failed(Error::State(StateError::Log(LogError::Retry(_))) | Error::Log(LogError::Retry(_))))
                if self.shutdown.is_cancelled() => {}
            Err(Halt::Failed(error)) => return Err(error),
            Err(halt) => warn!(?halt, "a move is put off"),
        }
        self.moving.again = Some(Instant::now() + AGAIN);
        Ok(None)
    }
}
