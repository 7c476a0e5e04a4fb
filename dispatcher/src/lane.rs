//! One lane: collect, freeze, call until done, commit. Nothing else.
//!
//! Owns the position of one partition of a subscription's deliveries and its frozen batch. Does not own which lanes run
//! ([`crate::lanes`]). One batch is in flight at a time, so the lane waits for it (`ordering: partition`).
//! Invariants: frozen-batch, offsets-with-effects, key-order.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{Backoff, Error as LogError, Lease, Transaction, Writer, patiently};
use fpaas_state::rows::{self, StartedRow};
use fpaas_state::{Context, Counters, Mutations, SubscriptionEntry, Tables};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::client::Client;
use crate::deliveries::Deliveries;
use crate::error::{Error, Halt, Step};
use crate::freeze::Freezing;
use crate::trim::Trimmer;
use crate::unsure::Unsure;

/// How often a lane tries again what the log refuses: an operator has to do something about it.
const REFUSED_AGAIN: Duration = Duration::from_secs(15);

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
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: Lease,
    /// The partition of the deliveries that it is.
    pub(crate) at: TopicPartition,
    /// The current revision of its subscription.
    pub(crate) entry: watch::Receiver<Arc<SubscriptionEntry>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
    pub(crate) deliveries: Deliveries,
    pub(crate) trimmer: Trimmer,
    /// The last call came to an answer: a connection may have been kept, and may be stale by now.
    pub(crate) warm: bool,
}

impl Lane {
    /// Runs until it is asked to stop, or its slot is another's. What it was doing is found again by whoever runs it
    /// next.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        loop {
            let halt = match self.work().await {
                Ok(never) => match never {},
                Err(halt) => halt,
            };
            match self.stand_still(halt).await {
                Ok(()) => {}
                Err(Halt::Failed(error)) => return Err(error),
                Err(_stopped_or_fenced) => return Ok(()),
            }
        }
    }

    /// Returns when something may have removed what keeps it from going on: a change of its subscription, or time.
    /// Says meanwhile why it stands still, and keeps its position from being forgotten.
    pub(crate) async fn stand_still(&mut self, halt: Halt) -> Step<()> {
        let (why, wait) = match halt {
            Halt::Stopped | Halt::Fenced | Halt::Failed(_) => return Err(halt),
            Halt::Paused if self.shared.draining => (Cow::Borrowed("its subscription is paused: resume it"), None),
            Halt::Paused => return self.stand_by(None).await,
            // Usually its subscription was deleted, and nobody reads this.
            Halt::Gone => (Cow::Borrowed("its topics are gone"), None),
            Halt::Stuck(why) => (why, None),
            Halt::Refused(why) => (why, Some(REFUSED_AGAIN)),
        };
        warn!(lane = %self.at, %why, "a lane stands still");
        self.counters.note_stopped(Stage::Dispatcher, self.at.partition, &*why);
        self.stand_by(wait).await?;
        self.counters.note_moving(Stage::Dispatcher, self.at.partition);
        Ok(())
    }

    /// Waits for a change of its subscription, or so long.
    async fn stand_by(&mut self, wait: Option<Duration>) -> Step<()> {
        if self.shared.unsure.contains(self.lease.slot) {
            // Begun again once the slot's rows are read again.
            return Err(Halt::Stopped);
        }
        if self.shared.draining {
            // What is frozen stays so, and is said to be left.
            return Err(Halt::Stopped);
        }
        let again = wait.map(|wait| Instant::now() + wait);
        loop {
            let due = self.deliveries.renewable_in().map(|due| Instant::now() + due);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Halt::Stopped),
                // Its other side goes with the stage.
                changed = self.entry.changed() => match changed {
                    Ok(()) => return Ok(()),
                    Err(_) => return Err(Halt::Stopped),
                },
                () = until(again) => return Ok(()),
                () = until(due) => {}
            }
            self.renew_if_old().await?;
        }
    }

    /// A position that cannot be renewed now is not tried again at once.
    async fn renew_if_old(&mut self) -> Step<()> {
        let Some(position) = self.deliveries.renewable() else { return Ok(()) };
        match self.renew(position).await {
            Err(Halt::Gone | Halt::Refused(_) | Halt::Stuck(_)) => self.deliveries.committed(position),
            renewed => renewed?,
        }
        Ok(())
    }

    async fn work(&mut self) -> Step<std::convert::Infallible> {
        let mut frozen = self.restore().await?;
        loop {
            // A frozen batch may stay frozen: whoever runs the lane next finds it.
            if self.stop.is_cancelled() {
                return Err(Halt::Stopped);
            }
            self.refuse_paused()?;
            let batch = match frozen.take() {
                Some(batch) => batch,
                None if self.shared.draining => return Err(Halt::Stopped),
                None => {
                    let entry = self.entry.clone();
                    let events = self.deliveries.collect(entry).await?;
                    if events.is_empty() {
                        self.renew(self.deliveries.passed()).await?;
                        continue;
                    }
                    self.freeze(events).await?
                }
            };
            let finish = self.deliver(&batch).await?;
            let mut ahead = self.ahead()?;
            let position = self.commit(&batch, finish, &mut ahead).await?;
            frozen = ahead.map(|ahead| self.frozen(ahead));
            self.deliveries.committed(position);
            self.trimmer.passed(position).await?;
        }
    }

    /// The next batch, where a full one is here already: it is frozen with the transaction that finishes this one.
    fn ahead(&mut self) -> Step<Option<Freezing>> {
        let (collector, paused) = {
            let entry = self.entry.borrow();
            (entry.config.collector, entry.config.is_paused())
        };
        if paused || self.shared.draining || self.stop.is_cancelled() {
            return Ok(None);
        }
        self.deliveries.full(collector).map(|events| self.freezing(events)).transpose()
    }

    /// Commits the position of a lane that finishes no batch: past control records, and so that it is not forgotten.
    pub(crate) async fn renew(&mut self, position: Offset) -> Step<()> {
        let mut transaction = Transaction::under(&self.lease);
        transaction.advance(self.at.clone(), position, self.shared.writer_id.clone());
        self.commit_repeatable(transaction, Mutations::default()).await?;
        self.deliveries.committed(position);
        Ok(())
    }

    /// Where it stands. A position that should be there and is not is lost, and no default takes its place.
    pub(crate) async fn position(&self) -> Step<Offset> {
        if let Some(position) = self.committed().await? {
            return Ok(position);
        }
        let started = rows::started_key(&self.at);
        if self.shared.tables.get::<StartedRow>(self.lease.slot, &started)?.is_some() {
            return Err(Halt::Stuck("positionLost: the log has no position of a lane that had one".into()));
        }
        self.start(started).await
    }

    /// The group's position, where there is one.
    pub(crate) async fn committed(&self) -> Step<Option<Offset>> {
        let Shared { context, group, .. } = &*self.shared;
        let at = std::slice::from_ref(&self.at);
        let positions = ask(&self.stop, || context.log.positions(group, at)).await?;
        Ok(positions.into_iter().flatten().next().map(|position| position.offset))
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

    /// Commits what may be committed twice without harm: rows that are the same each time.
    pub(crate) async fn commit_repeatable(&self, transaction: Transaction, mutations: Mutations) -> Step<()> {
        commit_repeatable(&self.shared, &self.stop, transaction, mutations).await
    }

    /// The subscription as it is now. Held for a step, never over a wait for the next one: its topics stay for as long.
    pub(crate) fn current(&self) -> Arc<SubscriptionEntry> {
        Arc::clone(&self.entry.borrow())
    }

    /// Waits before the next attempt, or stops, or is paused.
    pub(crate) async fn wait(&mut self, wait: Duration) -> Step<()> {
        let due = Instant::now() + wait;
        loop {
            self.refuse_paused()?;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Halt::Stopped),
                Ok(()) = self.entry.changed() => {}
                () = tokio::time::sleep_until(due) => return Ok(()),
            }
        }
    }

    /// A paused subscription's endpoint is not called; what is frozen stays so.
    pub(crate) fn refuse_paused(&mut self) -> Step<()> {
        if self.entry.borrow_and_update().config.is_paused() { Err(Halt::Paused) } else { Ok(()) }
    }

    /// Before the log is asked again.
    pub(crate) async fn wait_for_log(&self, backoff: &mut Backoff, why: &LogError) -> Step<()> {
        wait_for_log(&self.stop, backoff, why).await
    }
}

/// See [`Lane::commit_repeatable`].
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

async fn wait_for_log(stop: &CancellationToken, backoff: &mut Backoff, why: &LogError) -> Step<()> {
    let waited = backoff.wait(&why.to_string(), stop).await;
    if waited.is_continue() { Ok(()) } else { Err(Halt::Stopped) }
}

/// Waits for ever where there is no such time.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
