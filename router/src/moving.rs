//! Tenants that leave the router's pool, and those that come into it, slot by slot.
//!
//! Who leaves is set aside first ([`crate::aside`]); what was set aside is handed over when the log takes it. Who comes
//! is in the roster at once, and in a slot's scans once the slot has what was handed over. Does not own how that is
//! written ([`fpaas_state::moves`]). Invariants: offsets-with-effects, one-owner, one-tenant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Incarnation, Offset, PoolId, SubscriptionId, TopicPartition, limits};
use fpaas_log::{Error as LogError, Hold, Lease};
use fpaas_state::moves::{self, Departure, Found, Looking, Moves, Parcel, Slots};
use fpaas_state::rows;
use fpaas_state::{Context, Error as StateError, SubscriptionEntry, View};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::commit::{Ended, Outcome, Step};
use crate::grown::Counts;
use crate::service::Service;
use crate::{Error, Result, sweep};

/// How long after it failed something is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon what is not known yet is looked at again.
const SOON: Duration = Duration::from_millis(50);

/// What a service remembers of moves.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) moves: Moves,
    pub(crate) looking: Looking,
    /// The topic of moves into this pool is there.
    made: bool,
    /// Slots that could not set aside everybody who leaves: nothing runs there, so that it stays known what they have.
    pub(crate) stuck: BTreeSet<Slot>,
    /// Where something of one who leaves a slot is lost, by the slot and the move: those scans do not go on.
    pub(crate) lost: BTreeMap<(Slot, u64), Lost>,
    /// Of scans that were stopped for a moment: what their subscriptions have not passed stays until they run again.
    pub(crate) between: Vec<Hold>,
    /// When what could not be done is tried again.
    again: Option<Instant>,
    /// When positions on what was handed over are committed again.
    renew: Option<Instant>,
    /// What may be needed of the sources of those who are on their way, from here or to here.
    holds: BTreeMap<TopicPartition, Hold>,
}

impl Moving {
    pub(crate) fn new(context: &Context, pool: &PoolId) -> Self {
        let moves = Moves::new(context.clone(), pool.clone(), Stage::Router);
        let looking = moves.looking();
        let (stuck, lost, between) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        Self { moves, looking, made: false, stuck, lost, between, again: None, renew: None, holds: BTreeMap::new() }
    }

    /// When something is to be tried again, or is due.
    pub(crate) fn again(&self) -> Option<Instant> {
        self.again.into_iter().chain(self.renew).min()
    }

    /// True of a source partition whose scan may not run.
    pub(crate) fn holds_up(&self, source: &TopicPartition) -> bool {
        self.lost.values().any(|lost| lost.at.contains(source)) || self.stuck.contains(&Slot::of_source(source))
    }

    pub(crate) fn is_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    pub(crate) fn put_off(&mut self) {
        self.again = Some(Instant::now() + AGAIN);
    }

    pub(crate) fn is_early(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() < again)
    }
}

/// What is lost of one who leaves a slot.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// The partitions of sources that it is lost on.
    pub(crate) at: BTreeSet<TopicPartition>,
    /// The subscriptions that leave: where one of them goes, it is looked again.
    pub(crate) of: Vec<(SubscriptionId, Incarnation)>,
}

/// Who leaves, and what they read.
pub(crate) struct Leaving<'v> {
    pub(crate) departure: &'v Departure,
    pub(crate) view: &'v View,
    pub(crate) entries: Vec<&'v Arc<SubscriptionEntry>>,
    /// The partitions of their sources, by slot.
    pub(crate) sources: BTreeMap<Slot, Vec<(&'v Arc<SubscriptionEntry>, TopicPartition)>>,
    /// What others of the pool read.
    topics: BTreeSet<String>,
}

impl Leaving<'_> {
    /// The subscriptions.
    pub(crate) fn names(&self) -> Vec<(SubscriptionId, Incarnation)> {
        self.entries.iter().map(|entry| (entry.id.clone(), entry.incarnation)).collect()
    }
}

impl Service {
    /// False when asked to stop before the view is as new as what the slots say.
    pub(crate) async fn knows_enough(&self, leases: &[Lease], shutdown: &CancellationToken) -> Result<bool> {
        let known = moves::known(&self.shared.tables, leases.iter().map(|lease| lease.slot))?;
        let mut views = self.shared.context.control.views();
        let waited = shutdown.run_until_cancelled(views.wait_for(|view| view.revision >= known)).await;
        Ok(matches!(waited, Some(Ok(_))))
    }

    /// Follows the view: sets aside who leaves before any scan hears of it.
    pub(crate) async fn follow_view(
        &mut self,
        view: &Arc<View>,
        counts: &Counts,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        self.hold(view, counts);
        if !self.moving.is_early() {
            self.moving.again = None;
        }
        self.set_aside(view, counts, shutdown).await?;
        if self.unsure {
            return Ok(());
        }
        if !Arc::ptr_eq(view, &self.view) {
            self.renew(view);
        }
        self.let_go(view, counts, shutdown).await?;
        if self.unsure {
            return Ok(());
        }
        self.renew_moves(view, shutdown).await?;
        let slots = self.owned.keys().copied();
        let awaiting = self.moving.moves.awaiting(&self.shared.tables, slots, view)?;
        if !awaiting.is_empty() && !self.moving.made {
            match asked(self.moving.moves.make_topic(&self.pool).await, shutdown)? {
                Some(()) => self.moving.made = true,
                None => {
                    self.moving.put_off();
                    return Ok(());
                }
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

    /// What was set aside is handed over.
    async fn let_go(&mut self, view: &View, counts: &Counts, shutdown: &CancellationToken) -> Result<()> {
        if self.moving.is_early() {
            return Ok(());
        }
        let mut ready = Vec::new();
        for (slot, departure) in self.departing(view)? {
            if self.moving.moves.is_aside(&self.shared.tables, slot, &departure)? {
                ready.push((slot, departure));
            }
        }
        for (departure, slots) in by_departure(ready) {
            if asked(self.moving.moves.make_topic(&departure.to).await, shutdown)?.is_none() {
                self.moving.put_off();
                continue;
            }
            let leaving = self.leaving(view, counts, &departure);
            if self.hand_over(&leaving, &slots, counts, shutdown).await? {
                continue;
            }
            self.moving.put_off();
            let left: BTreeSet<(Slot, u64)> =
                self.departing(view)?.iter().map(|(slot, of)| (*slot, of.since)).collect();
            for slot in slots.iter().filter(|slot| slots.len() > 1 && left.contains(&(**slot, departure.since))) {
                if self.unsure {
                    return Ok(());
                }
                self.hand_over(&leaving, &[*slot], counts, shutdown).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn departing(&self, view: &View) -> Result<Vec<(Slot, Departure)>> {
        Ok(self.moving.moves.departing(&self.shared.tables, self.owned.keys().copied(), view)?)
    }

    /// One tenant leaves these slots. False where the log does not take all of it.
    async fn hand_over(
        &mut self,
        leaving: &Leaving<'_>,
        slots: &[Slot],
        counts: &Counts,
        shutdown: &CancellationToken,
    ) -> Result<bool> {
        let (mut steps, mut step, departure) = (Vec::new(), Slots::default(), leaving.departure);
        for slot in slots {
            let Some(lease) = self.owned.get(slot) else { continue };
            let (parcel, others) = self.parcel(*slot, leaving);
            let (tables, moves) = (&self.shared.tables, &self.moving.moves);
            moves.hand_over((tables, leaving.view), &mut step, lease, departure, (&parcel, others))?;
            if step.is_full() {
                steps.push(std::mem::take(&mut step));
            }
        }
        for step in steps.into_iter().chain([step]) {
            let left = step.slots();
            crashpoint::hit(Point::MoveHandingOver);
            if !self.commit_slots(step, shutdown).await? {
                return Ok(false);
            }
            crashpoint::hit(Point::MoveHandedOver);
            info!(tenant = %departure.tenant, to = %departure.to, slots = left.len(), "let go of a tenant that moves");
            self.forget_notes(leaving, &left, counts);
        }
        Ok(true)
    }

    /// What kept it from going on in these slots is said where it is now.
    fn forget_notes(&self, leaving: &Leaving<'_>, slots: &BTreeSet<Slot>, counts: &Counts) {
        let Context { topics, board, .. } = &self.shared.context;
        for entry in &leaving.entries {
            let topic = topics.of_tenant(&entry.tenant, &entry.config.source.topic);
            let counters = board.of(&entry.tenant, &entry.id, entry.incarnation);
            for at in partitions(entry, &topic, counts).filter(|at| slots.contains(&Slot::of_source(at))) {
                counters.note_moving(Stage::Router, at.partition);
            }
        }
    }

    pub(crate) fn leaving<'v>(&self, view: &'v View, counts: &Counts, departure: &'v Departure) -> Leaving<'v> {
        let names = &self.shared.context.topics;
        let topic = |entry: &SubscriptionEntry| names.of_tenant(&entry.tenant, &entry.config.source.topic);
        let leaves =
            |entry: &&Arc<SubscriptionEntry>| entry.tenant == departure.tenant && entry.since() == departure.since;
        let entries: Vec<_> = view.subscriptions.values().filter(leaves).collect();
        let mut sources = BTreeMap::<Slot, Vec<_>>::new();
        for entry in &entries {
            for at in partitions(entry, &topic(entry), counts) {
                sources.entry(Slot::of_source(&at)).or_default().push((*entry, at));
            }
        }
        let stay = view.subscriptions.values().filter(|entry| entry.pool == self.pool);
        let topics = stay.map(|entry| topic(entry)).collect();
        Leaving { departure, view, entries, sources, topics }
    }

    /// What a slot has of a tenant that is set aside there, and the keys of rows that nobody needs any more.
    fn parcel(&self, slot: Slot, leaving: &Leaving<'_>) -> (Parcel, Vec<String>) {
        let tables = &self.shared.tables;
        let (mut parcel, mut others) = (Parcel::default(), Vec::new());
        for table in [rows::SCAN, rows::REPLAY] {
            for (key, value) in tables.scan(slot, &format!("{table}{}/", leaving.departure.tenant)) {
                if sweep::is_orphan(&key, leaving.view).unwrap_or(false) {
                    others.push(key);
                } else {
                    parcel.rows.push((key, value));
                }
            }
        }
        for (key, _) in tables.scan(slot, rows::STARTED) {
            // Nobody minds any more whether there is a position.
            let read = rows::split_partition(&key).is_none_or(|(_, at)| leaving.topics.contains(&*at.topic));
            others.extend((!read).then_some(key));
        }
        (parcel, others)
    }

    /// What was found is ours from here on, and its scans and lanes begin.
    pub(crate) async fn take(
        &mut self,
        found: fpaas_state::Result<Vec<(Slot, Found)>>,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let Some(found) = asked(found, shutdown)? else { return Ok(()) };
        let (mut taken, all) = self.take_some(&found, shutdown).await?;
        for one in found.chunks(1).filter(|_| !all && found.len() > 1) {
            if self.unsure {
                return Ok(());
            }
            taken += self.take_some(one, shutdown).await?.0;
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

    /// How many slots took something, and whether the log took all there was.
    async fn take_some(&mut self, found: &[(Slot, Found)], shutdown: &CancellationToken) -> Result<(usize, bool)> {
        let view = Arc::clone(&self.view);
        let lives = |key: &str| !sweep::is_orphan(key, &view).unwrap_or(false);
        let (mut steps, mut step) = (Vec::new(), Slots::default());
        for (slot, found) in found {
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
            if !self.commit_slots(step, shutdown).await? {
                return Ok((taken, false));
            }
            taken += slots;
        }
        Ok((taken, true))
    }

    /// A move may take longer than brokers remember a position.
    async fn renew_moves(&mut self, view: &View, shutdown: &CancellationToken) -> Result<()> {
        if view.arrivals(&self.pool).is_empty() {
            self.moving.renew = None;
            return Ok(());
        }
        let now = Instant::now();
        let due = *self.moving.renew.get_or_insert(now + limits::POSITION_RENEW_FOUND);
        if now < due {
            return Ok(());
        }
        self.moving.renew = Some(now + limits::POSITION_RENEW);
        let tables = &self.shared.tables;
        let step = self.moving.moves.renew(tables, self.owned.values(), view, &Bytes::new()).await;
        let renewed = match asked(step, shutdown)? {
            Some(step) => self.commit_slots(step, shutdown).await?,
            None => false,
        };
        if !renewed {
            self.moving.renew = Some(now + limits::POSITION_RENEW_FOUND);
        }
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
    pub(crate) async fn commit_slots(&mut self, step: Slots, shutdown: &CancellationToken) -> Result<bool> {
        let Slots { transaction, mutations } = step;
        if transaction.is_empty() {
            return Ok(true);
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

/// The slots that each leaves, in the order in which they began to.
pub(crate) fn by_departure(leaving: Vec<(Slot, Departure)>) -> Vec<(Departure, Vec<Slot>)> {
    let mut departures: BTreeMap<u64, (Departure, Vec<Slot>)> = BTreeMap::new();
    for (slot, departure) in leaving {
        let since = departure.since;
        departures.entry(since).or_insert_with(|| (departure, Vec::new())).1.push(slot);
    }
    departures.into_values().collect()
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
pub(crate) fn asked<T>(answer: fpaas_state::Result<T>, shutdown: &CancellationToken) -> Result<Option<T>> {
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
