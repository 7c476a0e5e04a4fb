//! One pool's dispatcher: joins its group, restores the tables of the slots it is given, keeps the right lanes running.
//!
//! A loop over messages: slots that come and go, views that change, lanes that end. Does not own any lane's work.
//! The same loop drains: its lanes then finish what is frozen and freeze nothing more. Invariant: one-owner.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use fpaas_core::partition::{SLOTS, Slot};
use fpaas_core::topics::Stage;
use fpaas_core::{PoolId, TopicPartition, limits};
use fpaas_log::{Error as LogError, Lease, Membership, MembershipEvent};
use fpaas_state::{Context, Tables, View, rows};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Config;
use crate::budget::Budget;
use crate::client::Client;
use crate::endpoint::Endpoints;
use crate::error::{Error, Result};
use crate::lane::until;
use crate::lanes::{Lanes, Leases};
use crate::making::Making;
use crate::moving::Moving;
use crate::reports::Known;
use crate::site::Shared;
use crate::sweep::sweep;
use crate::unsure::Unsure;

/// Serves the webhooks of `pool` until `shutdown`, or until something is wrong that only a restart mends.
///
/// The control view must be restored before. At `shutdown`, calls in flight may still end, for half of
/// `limits::DRAIN`; what is not committed by then is found and done again at the next start.
pub async fn run(context: Context, pool: PoolId, config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let (service, membership) = Service::open(context, pool, config, shutdown, false).await?;
    service.serve(membership).await
}

/// Finishes the batches of `pool` that are frozen and freezes no more, on a log of which it is the only user. Returns
/// once there is none left, or at `shutdown`: the lanes that still have one, by the partitions of their deliveries.
///
/// An endpoint whose address `config` does not permit keeps its batch: it is not given up on here.
pub async fn drain(
    context: Context,
    pool: PoolId,
    config: Config,
    shutdown: CancellationToken,
) -> Result<Vec<TopicPartition>, Error> {
    let (service, membership) = Service::open(context, pool, config, shutdown, true).await?;
    service.drain(membership).await
}

pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lanes: Lanes,
    pub(crate) leases: Leases,
    pub(crate) moving: Moving,
    views: watch::Receiver<Arc<View>>,
    pub(crate) shutdown: CancellationToken,
    assigned: Arc<Notify>,
}

impl Service {
    async fn open(
        context: Context,
        pool: PoolId,
        config: Config,
        shutdown: CancellationToken,
        draining: bool,
    ) -> Result<(Self, Membership)> {
        let (client, assigned) = (Client::new(&config)?, Arc::clone(&config.assigned));
        let group = context.topics.group(&pool, Stage::Dispatcher);
        let tables = Tables::open(&*context.log, &context.topics.tables(&pool, Stage::Dispatcher)).await?;
        let membership = context.log.join(&group, &context.node).await?;
        let writer_id = format!("{}.{pool}.dispatcher", context.node);
        let writer = context.log.writer(&writer_id, Some(&membership)).await?;
        let views = context.control.views();
        let shared = Shared {
            context,
            tables,
            writer,
            writer_id: writer_id.into(),
            group: group.into(),
            client,
            version: config.version,
            draining,
            unsure: Unsure::default(),
            endpoints: Endpoints::default(),
            in_flight: Budget::new(limits::IN_FLIGHT_BYTES_MAX),
            parked: Budget::new(limits::PARKED_BYTES_OF_ALL_MAX),
            known: Known::default(),
            making: Making::new(),
        };
        let shared = Arc::new(shared);
        let moving = Moving::new(&shared.context, &pool);
        let lanes = Lanes::new(Arc::clone(&shared), pool);
        Ok((Self { shared, lanes, leases: Leases::new(), moving, views, shutdown, assigned }, membership))
    }

    async fn serve(mut self, mut membership: Membership) -> Result<()> {
        while self.step(&mut membership).await?.is_continue() {}
        self.lanes.stop(&Slot::all().collect()).await
    }

    async fn drain(mut self, mut membership: Membership) -> Result<Vec<TopicPartition>> {
        // A lane that has nothing frozen, or not any more, ends by itself.
        while !(self.leases.len() == SLOTS as usize && self.lanes.are_over()) {
            if self.step(&mut membership).await?.is_break() {
                break;
            }
        }
        self.lanes.stop(&Slot::all().collect()).await?;
        let mut left = BTreeSet::new();
        for table in [rows::BATCH, rows::PARKED] {
            let frozen = self.leases.keys().flat_map(|slot| self.shared.tables.scan(*slot, table));
            left.extend(frozen.filter_map(|(key, _)| rows::lane_of(table, &key)));
        }
        Ok(left.into_iter().collect())
    }

    /// One message. Breaks at the shutdown.
    async fn step(&mut self, membership: &mut Membership) -> Result<ControlFlow<()>> {
        let again = self.moving.again();
        tokio::select! {
            () = self.shutdown.cancelled() => return Ok(ControlFlow::Break(())),
            event = membership.next() => self.member(event.ok_or(Error::Fenced)?).await?,
            // The other side lives in our context.
            _ = self.views.changed() => {}
            slot = self.lanes.over() => self.sweep(slot?).await?,
            found = self.moving.looking.found() => {
                let view = Arc::clone(&self.views.borrow());
                self.take_in(found, &view).await?;
            }
            () = self.shared.unsure.noted() => {}
            () = until(again) => {}
        }
        self.settle().await?;
        let view = Arc::clone(&self.views.borrow_and_update());
        for slot in self.lanes.follow(&view, &self.leases)? {
            self.sweep(slot).await?;
        }
        self.follow_moves(&view).await?;
        Ok(ControlFlow::Continue(()))
    }

    async fn member(&mut self, event: MembershipEvent) -> Result<()> {
        match event {
            MembershipEvent::Assigned(leases) => {
                info!(slots = leases.len(), group = %self.shared.group, "slots are ours");
                self.take(leases).await?;
            }
            MembershipEvent::Revoked(leases, ack) => {
                self.release(&leases).await?;
                ack.acknowledge();
            }
            MembershipEvent::Lost(leases) => self.release(&leases).await?,
        }
        Ok(())
    }

    async fn take(&mut self, leases: Vec<Lease>) -> Result<()> {
        let (tables, log) = (&self.shared.tables, &self.shared.context.log);
        let restore = tables.restore_all(&**log, leases.iter().map(|lease| lease.slot));
        match self.shutdown.run_until_cancelled(restore).await {
            // Nothing of the slots runs, and whoever has them next restores them.
            None => return Ok(()),
            Some(Err(fpaas_state::Error::Log(LogError::Retry(_)))) if self.shutdown.is_cancelled() => return Ok(()),
            Some(restored) => restored?,
        }
        if !self.knows_enough(&leases).await? {
            return Ok(());
        }
        for lease in leases {
            let slot = lease.slot;
            self.leases.insert(slot, lease);
            self.sweep(slot).await?;
        }
        self.assigned.notify_one();
        Ok(())
    }

    /// Where nobody knows what became of a transaction, rows are read again before anything else is done with them.
    async fn settle(&mut self) -> Result<()> {
        let mut slots = self.shared.unsure.take();
        slots.retain(|slot| self.leases.contains_key(slot));
        if slots.is_empty() {
            return Ok(());
        }
        warn!(?slots, group = %self.shared.group, "the outcome of a transaction is not known: rows are read again");
        let leases: Vec<Lease> = slots.iter().filter_map(|slot| self.leases.get(slot)).cloned().collect();
        self.release(&leases).await?;
        self.take(leases).await
    }

    async fn release(&mut self, leases: &[Lease]) -> Result<()> {
        let slots: BTreeSet<Slot> = leases.iter().map(|lease| lease.slot).collect();
        self.lanes.say_nothing_of(&slots);
        self.lanes.stop(&slots).await?;
        for slot in slots {
            self.leases.remove(&slot);
            self.shared.tables.release(slot);
        }
        Ok(())
    }

    /// After a lane of `slot` ended, and at its assignment: a subscription may be gone.
    async fn sweep(&self, slot: Slot) -> Result<()> {
        let Some(lease) = self.leases.get(&slot) else { return Ok(()) };
        let view = Arc::clone(&self.views.borrow());
        sweep(&self.shared, lease, &view, &self.shutdown).await
    }
}
