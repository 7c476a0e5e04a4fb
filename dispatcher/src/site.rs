//! Where a lane works, and how it asks the log: what its steps, its calls and its restoring share. Nothing here changes
//! while a lane runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fpaas_core::{Message, Offset, TopicPartition};
use fpaas_log::{Backoff, Error as LogError, Lease, Position, Transaction, Writer, patiently};
use fpaas_state::rows::{self, AlertedRow, StartedRow};
use fpaas_state::{
    Change, Command, Context, Counters, Expects, Happened, LastOutcome, Mutations, SubscriptionEntry, Tables,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::budget::Budget;
use crate::client::Client;
use crate::endpoint::Endpoints;
use crate::error::{Halt, Step};
use crate::making::Making;
use crate::reports::{self, Known};
use crate::response::{Failure, Reason};
use crate::unsure::Unsure;

const POSITION_LOST: &str = "positionLost: the log has no position of a lane that had one";

/// What all lanes of a pool share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) tables: Tables,
    pub(crate) writer: Arc<dyn Writer>,
    /// Noted beside each position: who committed it.
    pub(crate) writer_id: Bytes,
    pub(crate) group: Arc<str>,
    pub(crate) client: Client,
    /// Of the program.
    pub(crate) version: String,
    /// What is frozen is finished, and nothing more is frozen.
    pub(crate) draining: bool,
    pub(crate) unsure: Unsure,
    pub(crate) endpoints: Endpoints,
    /// What batches hold beyond one a lane.
    pub(crate) in_flight: Budget,
    /// What is parked.
    pub(crate) parked: Budget,
    /// Where reports go.
    pub(crate) known: Known,
    pub(crate) making: Making,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: Lease,
    /// The partition of the deliveries that the lane is.
    pub(crate) at: TopicPartition,
    /// The current revision of its subscription.
    pub(crate) entry: watch::Receiver<Arc<SubscriptionEntry>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
    /// The log takes no parked events.
    pub(crate) unparkable: AtomicBool,
    pub(crate) making: Making,
}

impl Site {
    /// The subscription as it is now. Held for a step, never over a wait for the next one: its topics stay for as long.
    pub(crate) fn current(&self) -> Arc<SubscriptionEntry> {
        Arc::clone(&self.entry.borrow())
    }

    /// From here on failed events stay where they are.
    pub(crate) fn note_unparkable(&self) {
        self.unparkable.store(true, Ordering::Relaxed);
    }

    /// Counts a call that did not acknowledge, for `/status`.
    pub(crate) fn note_failure(&self, failure: &Failure, attempt: u32) {
        self.counters.failures.add(1);
        if failure.reason == Reason::BadResponse {
            self.counters.bad_responses.add(1);
        }
        self.note_outcome(failure.status, failure.reason.as_str(), failure.message.clone(), attempt);
    }

    /// How the last call ended.
    pub(crate) fn note_outcome(&self, status: Option<u16>, outcome: &str, message: Message, attempt: u32) {
        let time = self.shared.context.clock.now();
        self.counters.note(LastOutcome { time, status, outcome: outcome.to_owned(), message, attempt });
    }

    /// Asks for the subscription to be disabled, in the revision that was called.
    pub(crate) async fn disable(&self, entry: &SubscriptionEntry, why: Message) {
        let Context { control, clock, .. } = &self.shared.context;
        let (id, of) = (entry.id.clone(), entry.incarnation);
        let name =
            format!("disable-{}-{id}-{}-{:016x}", entry.tenant, entry.revision, getrandom::u64().unwrap_or_default());
        let made = control.view().tenants.get(&entry.tenant).map(|tenant| tenant.incarnation);
        let change = Change::DisableSubscription { id, of, why };
        let command = Command::new(name, clock.now(), entry.tenant.clone(), change)
            .of(made)
            .expecting(Expects::OneOf(vec![entry.revision]));
        if let Err(error) = control.submit(command).await {
            warn!(lane = %self.at, %error, "that an endpoint is to be disabled is not heard now");
        }
    }

    /// The key of a row of `table` at `offset`.
    pub(crate) fn key(&self, table: &str, offset: Offset) -> String {
        rows::lane_key(table, &self.at, offset)
    }

    /// The rows of `table` of this lane.
    pub(crate) fn rows(&self, table: &str) -> Vec<(String, Bytes)> {
        self.shared.tables.scan(self.lease.slot, &rows::lane_prefix(table, &self.at))
    }

    /// Where it stands. A position that should be there and is not is lost, and no default takes its place.
    pub(crate) async fn position(&self) -> Step<Offset> {
        if let Some(position) = self.committed().await? {
            return Ok(position.offset);
        }
        let started = rows::started_key(&self.at);
        if self.shared.tables.get::<StartedRow>(self.lease.slot, &started)?.is_some() {
            self.tell_lost().await?;
            return Err(Halt::Stuck(POSITION_LOST.into()));
        }
        self.start(started).await
    }

    /// What its tenant was told of it.
    pub(crate) fn alerted(&self) -> Step<AlertedRow> {
        let key = self.key(rows::ALERTED, Offset::ZERO);
        Ok(self.shared.tables.get(self.lease.slot, &key)?.unwrap_or_default())
    }

    /// Tells its tenant that its position is lost, unless it was told.
    async fn tell_lost(&self) -> Step<()> {
        let (entry, alerted) = (self.current(), self.alerted()?);
        let Some(system) = reports::system_of(self, &entry).filter(|_| !alerted.position_lost) else { return Ok(()) };
        let (mut transaction, mut mutations) = (Transaction::under(&self.lease), Mutations::default());
        let event = reports::event(self, Happened::PositionLost {}, POSITION_LOST);
        let (tables, key) = (&self.shared.tables, self.key(rows::ALERTED, Offset::ZERO));
        let row = AlertedRow { position_lost: true, ..alerted };
        tables.put(&mut transaction, &mut mutations, self.lease.slot, key, &row, event.time)?;
        transaction.append(system.clone(), event.record());
        match self.commit_repeatable(transaction, mutations).await {
            Err(Halt::Refused(why)) => {
                self.shared.known.refused(&system, &why);
                Ok(())
            }
            told => told,
        }
    }

    /// The group's position, where there is one.
    pub(crate) async fn committed(&self) -> Step<Option<Position>> {
        let Shared { context, group, .. } = &*self.shared;
        let at = std::slice::from_ref(&self.at);
        let positions = ask(&self.stop, || context.log.positions(group, at)).await?;
        Ok(positions.into_iter().flatten().next())
    }

    async fn start(&self, key: String) -> Step<Offset> {
        let (mut transaction, mut mutations) = (Transaction::under(&self.lease), Mutations::default());
        let now = self.shared.context.clock.now();
        let tables = &self.shared.tables;
        tables.put(&mut transaction, &mut mutations, self.lease.slot, key, &StartedRow {}, now)?;
        transaction.advance(self.at.clone(), Offset::ZERO, self.shared.writer_id.clone());
        self.commit_repeatable(transaction, mutations).await?;
        Ok(Offset::ZERO)
    }

    /// Commits the position of a lane that stands still, so that it is not forgotten.
    pub(crate) async fn renew(&self, position: Offset) -> Step<()> {
        let mut transaction = Transaction::under(&self.lease);
        transaction.advance(self.at.clone(), position, self.shared.writer_id.clone());
        self.commit_repeatable(transaction, Mutations::default()).await
    }

    /// Commits what may be committed twice without harm: rows that are the same each time.
    async fn commit_repeatable(&self, transaction: Transaction, mutations: Mutations) -> Step<()> {
        commit_repeatable(&self.shared, &self.stop, transaction, mutations).await
    }
}

/// See [`Site::commit_repeatable`].
pub(crate) async fn commit_repeatable(
    shared: &Shared,
    stop: &CancellationToken,
    transaction: Transaction,
    mutations: Mutations,
) -> Step<()> {
    let slots: Vec<_> = transaction.leases.iter().map(|lease| lease.slot).collect();
    let mut unknown = false;
    let committed = commit_until_known(shared, stop, (transaction, mutations), &mut unknown).await;
    if unknown && committed.is_err() {
        shared.unsure.note(slots);
    }
    committed
}

/// `unknown` where one of the attempts may have been committed.
async fn commit_until_known(
    shared: &Shared,
    stop: &CancellationToken,
    (mut transaction, mutations): (Transaction, Mutations),
    unknown: &mut bool,
) -> Step<()> {
    let mut backoff = Backoff::default();
    loop {
        // Not given up when asked to stop: it may be committed all the same, and then the rows must follow.
        let Err(rejected) = shared.writer.commit(transaction).await else {
            shared.tables.apply(mutations);
            return Ok(());
        };
        *unknown |= rejected.error == LogError::Unknown;
        if !rejected.error.may_pass() && rejected.error != LogError::Unknown {
            return Err(rejected.error.into());
        }
        transaction = *rejected.transaction;
        wait_for_log(stop, &mut backoff, &rejected.error).await?;
    }
}

/// Asks the log until it answers. Only for what is dropped without harm when asked to stop.
pub(crate) async fn ask<T, F>(stop: &CancellationToken, question: impl FnMut() -> F) -> Step<T>
where
    F: Future<Output = fpaas_log::Result<T>>,
{
    let answer = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Halt::Stopped),
        answer = patiently(stop, question) => answer,
    };
    match answer {
        Err(LogError::Retry(_)) => Err(Halt::Stopped),
        answer => Ok(answer?),
    }
}

/// Before the log is asked again.
pub(crate) async fn wait_for_log(stop: &CancellationToken, backoff: &mut Backoff, why: &LogError) -> Step<()> {
    let waited = backoff.wait(&why.to_string(), stop).await;
    if waited.is_continue() { Ok(()) } else { Err(Halt::Stopped) }
}
