//! An owned source partition: what its scan and its lanes share, and the rows they keep.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::partition::Slot;
use fpaas_core::{Offset, TenantId, Timestamp, TopicPartition, limits};
use fpaas_log::{Error as LogError, FetchBounds, Fetched, Lease, Log, Position, Writer, patiently};
use fpaas_state::rows::{self, ScanRow, StartedRow};
use fpaas_state::{Context, Tables, moves};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::commit::Step;
use crate::roster::{Member, Source};
use crate::{Config, Result};

/// What everything of one pool on this node shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) config: Config,
    pub(crate) group: String,
    pub(crate) tables: Arc<Tables>,
    pub(crate) writer: Arc<dyn Writer>,
    /// Turns of catch-up lanes.
    pub(crate) turns: Arc<Semaphore>,
    /// The same of lanes that replay: they keep nobody from catching up.
    pub(crate) replays: Arc<Semaphore>,
}

/// One source partition and the right to work for it.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: Lease,
    pub(crate) source: TopicPartition,
}

impl Own {
    pub(crate) fn log(&self) -> &dyn Log {
        &*self.shared.context.log
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.shared.tables
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.context.clock.now()
    }

    /// An empty step under this lease.
    pub(crate) fn step(&self) -> Step {
        Step::under(&self.lease)
    }

    /// Reads from `from` on, again and again while the log is not available; `None` when asked to stop.
    pub(crate) async fn fetch(
        &self,
        from: Offset,
        wait: Duration,
        stop: &CancellationToken,
    ) -> Result<Option<Fetched>, LogError> {
        let (records, bytes) = (self.shared.config.step_records, limits::ROUTE_FETCH_BYTES_MAX);
        let bounds = FetchBounds { records, bytes, wait, guest: false };
        match asked(stop, || self.log().fetch(&self.source, from, bounds)).await {
            None | Some(Err(LogError::Retry(_))) => Ok(None),
            Some(fetched) => fetched.map(|fetched| Some(self.warned(fetched))),
        }
    }

    fn warned(&self, fetched: Fetched) -> Fetched {
        if let Some(until) = fetched.lost_until {
            warn!(source = %self.source, %until, "records were removed before they were read");
        }
        fetched
    }

    pub(crate) fn row(&self, member: &Member) -> Result<Option<ScanRow>> {
        Ok(self.tables().get(self.slot(), &rows::scan_key(&member.entry, &self.source))?)
    }

    pub(crate) fn replay_row(&self, key: &str) -> Result<Option<ScanRow>> {
        Ok(self.tables().get(self.slot(), key)?)
    }

    pub(crate) fn is_started(&self) -> Result<bool> {
        let row: Option<StartedRow> = self.tables().get(self.slot(), &rows::started_key(&self.source))?;
        Ok(row.is_some())
    }

    /// The source without those who are still on their way here, and whose they are.
    pub(crate) fn arrived(&self, source: Arc<Source>) -> Result<(Arc<Source>, BTreeSet<TenantId>)> {
        let mut awaited = BTreeSet::new();
        for member in source.members() {
            if !has_come(self.tables(), self.slot(), member)? {
                awaited.insert(member.entry.tenant.clone());
            }
        }
        if awaited.is_empty() {
            return Ok((source, awaited));
        }
        let here = |member: &&Arc<Member>| member.awaits.is_none() || !awaited.contains(&member.entry.tenant);
        let members = source.members().iter().filter(here).cloned().collect();
        Ok((Arc::new(Source::new(members)), awaited))
    }

    /// Writes or removes a row in `step`.
    pub(crate) fn put_row(&self, step: &mut Step, key: String, row: Option<&ScanRow>) -> Result<()> {
        let value = row.map(rows::encode).transpose()?;
        let Step { transaction, mutations } = step;
        self.tables().put_bytes(transaction, mutations, self.slot(), key, value, self.now());
        Ok(())
    }

    pub(crate) fn put_started(&self, step: &mut Step) -> Result<()> {
        let Step { transaction, mutations } = step;
        let key = rows::started_key(&self.source);
        Ok(self.tables().put(transaction, mutations, self.slot(), key, &StartedRow {}, self.now())?)
    }

    /// No position has to be there from then on.
    pub(crate) fn remove_started(&self, step: &mut Step) {
        let Step { transaction, mutations } = step;
        self.tables().remove(transaction, mutations, self.slot(), rows::started_key(&self.source), self.now());
    }

    /// The pool's committed position, as soon as the log says it; `None` when asked to stop.
    pub(crate) async fn position(&self, stop: &CancellationToken) -> Result<Option<Option<Position>>> {
        let at = std::slice::from_ref(&self.source);
        match asked(stop, || self.log().positions(&self.shared.group, at)).await {
            None | Some(Err(LogError::Retry(_))) => Ok(None),
            Some(positions) => Ok(Some(positions?.into_iter().next().flatten())),
        }
    }

    const fn slot(&self) -> Slot {
        self.lease.slot
    }
}

/// True of who is on no move, or has come to this slot.
pub(crate) fn has_come(tables: &Tables, slot: Slot, member: &Member) -> Result<bool> {
    match member.awaits {
        None => Ok(true),
        Some(since) => Ok(moves::has_come(tables, slot, &member.entry.tenant, since)?),
    }
}

/// Asks patiently; `None` as soon as it is to stop: a slot is let go of whatever its partition's brokers do.
async fn asked<T, F>(stop: &CancellationToken, ask: impl FnMut() -> F) -> Option<Result<T, LogError>>
where
    F: Future<Output = Result<T, LogError>>,
{
    stop.run_until_cancelled(patiently(stop, ask)).await
}
