//! A tenant moves from one pool to another while both run, slot by slot: what both stages do alike.
//!
//! ```text
//!  old pool, slot s                                                  new pool, slot s
//!  rows gone, `left` ══ one transaction ══▶ [moves, s] ══ one transaction ══▶ rows, positions, `came`
//! ```
//!
//! A slot hands over whatever it has, and says so where it has nothing: so who takes it knows that nothing had begun.
//! Handed over twice, by an owner that does not know of the first time, it is taken once. Does not own what a tenant
//! has ([`Parcel`] is the stage's to fill), nor when a move is over. Invariants: offsets-with-effects, one-owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::partition::{SLOTS, Slot};
use fpaas_core::topics::Stage;
use fpaas_core::{PoolId, TenantId, TopicPartition, limits};
use fpaas_log::{Error as LogError, Lease, Record, TopicSpec, Transaction};
use futures_util::stream::{self, StreamExt as _};
use tracing::warn;

use crate::rows::{self, MovesRow};
use crate::{Context, Mutations, Result, SubscriptionEntry, Tables, View};

mod looking;
mod parcel;

pub use looking::{Found, Looking};
pub use parcel::{Arrived, Parcel, Reading, key};

/// The positions that one transaction moves, and those of one more slot: a broker takes a megabyte, some 8,000.
const POSITIONS: usize = 1000;

/// A tenant that leaves a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// It.
    pub tenant: TenantId,
    /// The revision that began it.
    pub since: u64,
    /// The pool that it is in from then on.
    pub to: PoolId,
}

impl View {
    /// Who leaves `pool`.
    pub fn departures(&self, pool: &PoolId) -> Vec<Departure> {
        let left = self.moving().filter(|(_, moving)| moving.from == *pool);
        left.map(|(of, moving)| Departure { tenant: of.id.clone(), since: moving.since, to: of.pool.clone() }).collect()
    }

    /// Who comes into `pool`, and since which revision.
    pub fn arrivals(&self, pool: &PoolId) -> BTreeMap<TenantId, u64> {
        let came = self.moving().filter(|(of, _)| of.pool == *pool);
        came.map(|(of, moving)| (of.id.clone(), moving.since)).collect()
    }
}

/// The moves into and out of one pool, of one of its stages.
#[derive(Clone, Debug)]
pub struct Moves {
    context: Context,
    pool: PoolId,
    stage: Stage,
}

/// Work for several slots, committed together, each under its lease.
#[derive(Debug, Default)]
pub struct Slots {
    /// What is written.
    pub transaction: Transaction,
    /// What the tables follow with.
    pub mutations: Mutations,
}

impl Slots {
    fn under(&mut self, lease: &Lease) {
        self.transaction.leases.push(lease.clone());
    }

    /// True where it is large enough for one transaction. Kafka keeps all positions of one in one record.
    pub const fn is_full(&self) -> bool {
        self.transaction.bytes() > limits::TRANSACTION_BYTES_MAX / 4 || self.transaction.positions.len() >= POSITIONS
    }

    /// Which these are of.
    pub fn slots(&self) -> BTreeSet<Slot> {
        self.transaction.leases.iter().map(|lease| lease.slot).collect()
    }
}

impl Moves {
    /// Of one stage of `pool`.
    pub const fn new(context: Context, pool: PoolId, stage: Stage) -> Self {
        Self { context, pool, stage }
    }

    /// Where the parts of those who move into `pool` are handed over.
    fn at(&self, pool: &PoolId, slot: Slot) -> TopicPartition {
        TopicPartition::new(self.context.topics.moves(pool, self.stage), slot.0)
    }

    /// Makes the topic of moves into `pool`. It is there only where a tenant moves: few pools ever need it.
    pub async fn make_topic(&self, pool: &PoolId) -> Result<()> {
        let topic = self.context.topics.moves(pool, self.stage);
        self.context.log.create_topic(&topic, &TopicSpec::kept(SLOTS)).await?;
        Ok(())
    }

    /// What these slots still have to hand over.
    pub fn departing(
        &self,
        tables: &Tables,
        slots: impl Iterator<Item = Slot>,
        view: &View,
    ) -> Result<Vec<(Slot, Departure)>> {
        let (departures, mut departing) = (view.departures(&self.pool), Vec::new());
        if departures.is_empty() {
            return Ok(departing);
        }
        for slot in slots {
            let row = row(tables, slot)?;
            let left = |of: &&Departure| row.left.get(&of.tenant) != Some(&of.since);
            departing.extend(departures.iter().filter(left).map(|of| (slot, of.clone())));
        }
        Ok(departing)
    }

    /// Which of these slots wait for something that is handed over to them.
    pub fn awaiting(&self, tables: &Tables, slots: impl Iterator<Item = Slot>, view: &View) -> Result<Vec<Slot>> {
        let (arrivals, mut awaiting) = (view.arrivals(&self.pool), Vec::new());
        if arrivals.is_empty() {
            return Ok(awaiting);
        }
        for slot in slots {
            let row = row(tables, slot)?;
            if arrivals.iter().any(|(tenant, since)| row.came.get(tenant) != Some(since)) {
                awaiting.push(slot);
            }
        }
        Ok(awaiting)
    }

    /// True where what a slot has of one who leaves is in its rows and changes no more.
    pub fn is_aside(&self, tables: &Tables, slot: Slot, departure: &Departure) -> Result<bool> {
        Ok(row(tables, slot)?.aside.get(&departure.tenant) == Some(&departure.since))
    }

    /// Adds to `step` that these rows are all there is to say of a tenant in `lease`'s slot. Where not `whole`,
    /// something is missing: then it cannot leave the slot.
    pub fn set_aside(
        &self,
        (tables, view): (&Tables, &View),
        step: &mut Slots,
        lease: &Lease,
        departure: &Departure,
        (rows, whole): (Vec<(String, Bytes)>, bool),
    ) -> Result<()> {
        let (slot, now) = (lease.slot, self.context.clock.now());
        step.under(lease);
        let Slots { transaction, mutations } = step;
        for (key, value) in rows {
            tables.put_bytes(transaction, mutations, slot, key, Some(value), now);
        }
        let mut row = self.current(row(tables, slot)?, view);
        if whole {
            row.aside.insert(departure.tenant.clone(), departure.since);
        }
        row.revision = row.revision.max(departure.since);
        tables.put(transaction, mutations, slot, rows::MOVES.to_owned(), &row, now)
    }

    /// Adds to `step` that `lease`'s slot lets go of a tenant: its rows, and others of it that nobody needs, are gone,
    /// and `parcel` is on its way.
    pub fn hand_over(
        &self,
        (tables, view): (&Tables, &View),
        step: &mut Slots,
        lease: &Lease,
        departure: &Departure,
        (parcel, others): (&Parcel, Vec<String>),
    ) -> Result<()> {
        let (slot, now) = (lease.slot, self.context.clock.now());
        step.under(lease);
        let Slots { transaction, mutations } = step;
        for key in parcel.rows.iter().map(|(key, _)| key.clone()).chain(others) {
            tables.remove(transaction, mutations, slot, key, now);
        }
        let mut row = self.current(row(tables, slot)?, view);
        row.aside.remove(&departure.tenant);
        row.left.insert(departure.tenant.clone(), departure.since);
        row.revision = row.revision.max(departure.since);
        tables.put(transaction, mutations, slot, rows::MOVES.to_owned(), &row, now)?;
        let at = self.at(&departure.to, slot);
        for value in parcel.encode(&departure.tenant, departure.since)? {
            let key = Some(key(&departure.tenant, departure.since).into());
            transaction.append(at.clone(), Record { key, value: Some(value), timestamp: now, ..Record::default() });
        }
        Ok(())
    }

    /// Adds to `step` that `lease`'s slot takes what was found for it, and has passed it. Rows and positions of what
    /// does not live any more are left out. False where that changes nothing.
    pub fn take(
        &self,
        (tables, view): (&Tables, &View),
        step: &mut Slots,
        lease: &Lease,
        found: &Found,
        (lives, metadata): (impl Fn(&str) -> bool, &Bytes),
    ) -> Result<bool> {
        let (slot, now, arrivals) = (lease.slot, self.context.clock.now(), view.arrivals(&self.pool));
        let mut row = self.current(row(tables, slot)?, view);
        let (mut next, mut wanted) = (found.next, Vec::new());
        for arrived in &found.arrived {
            let Arrived { tenant, since, first, .. } = arrived;
            if *since > view.revision {
                // Our view is behind: it is read again once it is not.
                next = next.min(*first);
            } else if arrivals.get(tenant) == Some(since) && row.came.get(tenant) != Some(since) {
                row.came.insert(tenant.clone(), *since);
                row.revision = row.revision.max(*since);
                wanted.push(&arrived.parcel);
            }
        }
        if wanted.is_empty() && next <= found.from {
            return Ok(false);
        }
        step.under(lease);
        let Slots { transaction, mutations } = step;
        for (key, value) in wanted.iter().flat_map(|parcel| &parcel.rows).filter(|(key, _)| lives(key)) {
            tables.put_bytes(transaction, mutations, slot, key.clone(), Some(value.clone()), now);
        }
        let positions = wanted.iter().flat_map(|parcel| &parcel.positions);
        for (at, offset) in positions.filter(|(at, _)| lives(&rows::started_key(at))) {
            transaction.advance(at.clone(), *offset, metadata.clone());
        }
        tables.put(transaction, mutations, slot, rows::MOVES.to_owned(), &row, now)?;
        transaction.advance(self.at(&self.pool, slot), next, metadata.clone());
        Ok(true)
    }

    /// Positions of these slots on what was handed over to them while somebody still comes, committed as they are: a
    /// move may take longer than a broker remembers them.
    pub async fn renew(
        &self,
        tables: &Tables,
        leases: impl Iterator<Item = &Lease>,
        view: &View,
        metadata: &Bytes,
    ) -> Result<Slots> {
        let (arrivals, mut came) = (view.arrivals(&self.pool), Vec::new());
        for lease in leases {
            let row = row(tables, lease.slot)?;
            if arrivals.iter().any(|(tenant, since)| row.came.get(tenant) == Some(since)) {
                came.push((lease, self.at(&self.pool, lease.slot)));
            }
        }
        let at: Vec<_> = came.iter().map(|(_, at)| at.clone()).collect();
        let positions = match at.is_empty() {
            true => Vec::new(),
            false => self.context.log.positions(&self.context.topics.group(&self.pool, self.stage), &at).await?,
        };
        let mut step = Slots::default();
        for ((lease, at), position) in came.into_iter().zip(positions) {
            if let Some(position) = position {
                step.under(lease);
                step.transaction.advance(at, position.offset, metadata.clone());
            }
        }
        Ok(step)
    }

    /// Which of these slots remember moves that are over, where none is under way.
    pub fn untidy<'l>(
        &self,
        tables: &Tables,
        leases: impl Iterator<Item = &'l Lease>,
        view: &View,
    ) -> Result<Vec<Lease>> {
        let mut untidy = Vec::new();
        if view.moving().any(|(of, moving)| of.pool == self.pool || moving.from == self.pool) {
            return Ok(untidy);
        }
        for lease in leases {
            let row = row(tables, lease.slot)?;
            if row != self.current(row.clone(), view) {
                untidy.push(lease.clone());
            }
        }
        Ok(untidy)
    }

    /// Removes what was handed over to these slots and taken, and forgets that: nobody asks any more. What it cannot
    /// remove takes room, and nothing else.
    pub async fn tidy(&self, tables: &Tables, leases: &[Lease], view: &View) -> Result<Slots> {
        let (mut step, now, mut came) = (Slots::default(), self.context.clock.now(), Vec::new());
        for lease in leases {
            let row = row(tables, lease.slot)?;
            if !row.came.is_empty() {
                came.push(self.at(&self.pool, lease.slot));
            }
            step.under(lease);
            let row = self.current(row, view);
            let Slots { transaction, mutations } = &mut step;
            tables.put(transaction, mutations, lease.slot, rows::MOVES.to_owned(), &row, now)?;
        }
        let group = self.context.topics.group(&self.pool, self.stage);
        let positions = match came.is_empty() {
            true => Vec::new(),
            false => self.context.log.positions(&group, &came).await?,
        };
        let trims = came.iter().zip(positions).filter_map(|(at, position)| Some((at, position?.offset)));
        let log = &self.context.log;
        let mut trimmed =
            stream::iter(trims.map(|(at, before)| async move { (at, log.trim(at, before).await) }).collect::<Vec<_>>())
                .buffer_unordered(limits::RESTORES_MAX);
        while let Some((at, trimmed)) = trimmed.next().await {
            match trimmed {
                Ok(()) => {}
                Err(LogError::Refused(why)) => warn!(%at, why, "what was handed over and taken stays"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(step)
    }

    /// Looks for what is handed over to this pool's slots.
    pub fn looking(&self) -> Looking {
        let group: Arc<str> = self.context.topics.group(&self.pool, self.stage).into();
        let topic: Arc<str> = self.context.topics.moves(&self.pool, self.stage).into();
        Looking::new(Arc::clone(&self.context.log), group, topic)
    }

    /// Without those that are over: whoever owns the slot next has to know that they are. One that is younger than the
    /// view is not.
    fn current(&self, mut row: MovesRow, view: &View) -> MovesRow {
        let over = |tenant: &TenantId, since: u64| {
            let moving = view.tenants.get(tenant).and_then(|of| of.moving.as_ref());
            since <= view.revision && moving.is_none_or(|moving| moving.since != since)
        };
        let before = row.left.len() + row.came.len() + row.aside.len();
        row.left.retain(|tenant, since| !over(tenant, *since));
        row.came.retain(|tenant, since| !over(tenant, *since));
        row.aside.retain(|tenant, since| !over(tenant, *since));
        if row.left.len() + row.came.len() + row.aside.len() < before {
            row.revision = row.revision.max(view.revision);
        }
        row
    }
}

/// What a slot has done.
fn row(tables: &Tables, slot: Slot) -> Result<MovesRow> {
    Ok(tables.get(slot, rows::MOVES)?.unwrap_or_default())
}

/// Whoever owns these slots has to know at least this revision.
pub fn known(tables: &Tables, slots: impl Iterator<Item = Slot>) -> Result<u64> {
    let mut known = 0;
    for slot in slots {
        known = known.max(row(tables, slot)?.revision);
    }
    Ok(known)
}

/// True where a slot has what was handed over of the tenant that moved into its pool at `since`.
pub fn has_come(tables: &Tables, slot: Slot, tenant: &TenantId, since: u64) -> Result<bool> {
    Ok(row(tables, slot)?.came.get(tenant) == Some(&since))
}

/// True where a slot may work for `entry`: it is on no move, or has come.
pub fn may_begin(tables: &Tables, slot: Slot, view: &View, entry: &SubscriptionEntry) -> Result<bool> {
    match view.on_the_move(entry) {
        None => Ok(true),
        Some(moving) => has_come(tables, slot, &entry.tenant, moving.since),
    }
}
