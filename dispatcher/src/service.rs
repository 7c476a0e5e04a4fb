//! One pool's dispatcher: joins its group, restores the tables of the slots it is given, keeps the right lanes running.
//!
//! A loop over messages: slots that come and go, views that change, lanes that end. Does not own any lane's work.
//! Invariant: one-owner.

use std::collections::BTreeSet;
use std::sync::Arc;

use fpaas_core::PoolId;
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_log::{Error as LogError, Lease, Membership, MembershipEvent};
use fpaas_state::{Context, Tables, View};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::Config;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::lane::Shared;
use crate::lanes::{Lanes, Leases};
use crate::sweep::sweep;

/// Serves the webhooks of `pool` until `shutdown`, or until something is wrong that only a restart mends.
///
/// The control view must be restored before. At `shutdown`, calls in flight may still end, for half of
/// `limits::DRAIN`; what is not committed by then is found and done again at the next start.
pub async fn run(context: Context, pool: PoolId, config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let client = Client::new(&config)?;
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
    };
    let shared = Arc::new(shared);
    let lanes = Lanes::new(Arc::clone(&shared), pool);
    Service { shared, lanes, leases: Leases::new(), views, shutdown }.serve(membership).await
}

struct Service {
    shared: Arc<Shared>,
    lanes: Lanes,
    leases: Leases,
    views: watch::Receiver<Arc<View>>,
    shutdown: CancellationToken,
}

impl Service {
    async fn serve(mut self, mut membership: Membership) -> Result<()> {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                event = membership.next() => self.member(event.ok_or(Error::Fenced)?).await?,
                // The other side lives in our context.
                _ = self.views.changed() => {}
                slot = self.lanes.over() => self.sweep(slot?).await?,
            }
            let view = Arc::clone(&self.views.borrow_and_update());
            for slot in self.lanes.follow(&view, &self.leases) {
                self.sweep(slot).await?;
            }
        }
        self.lanes.stop(&Slot::all().collect()).await
    }

    async fn member(&mut self, event: MembershipEvent) -> Result<()> {
        match event {
            MembershipEvent::Assigned(leases) => {
                info!(slots = leases.len(), group = %self.shared.group, "slots are ours");
                for lease in leases {
                    self.take(lease).await?;
                }
            }
            MembershipEvent::Revoked(leases, ack) => {
                self.release(&leases).await?;
                ack.acknowledge();
            }
            MembershipEvent::Lost(leases) => self.release(&leases).await?,
        }
        Ok(())
    }

    async fn take(&mut self, lease: Lease) -> Result<()> {
        let slot = lease.slot;
        let (tables, log) = (&self.shared.tables, &self.shared.context.log);
        let restored = self.shutdown.run_until_cancelled(tables.restore(&**log, slot)).await;
        match restored {
            // Nothing of the slot runs, and whoever has it next restores it.
            None => return Ok(()),
            Some(Err(fpaas_state::Error::Log(LogError::Retry(_)))) if self.shutdown.is_cancelled() => return Ok(()),
            Some(restored) => restored?,
        }
        self.leases.insert(slot, lease);
        self.sweep(slot).await
    }

    async fn release(&mut self, leases: &[Lease]) -> Result<()> {
        let slots: BTreeSet<Slot> = leases.iter().map(|lease| lease.slot).collect();
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
