//! Follows the control topic: applies commands in order, makes the topics they need, publishes the view, and answers
//! whoever asked.
//!
//! Subscribers of the view may count on it: every topic that a published view names exists, but for those of what it
//! names as unmade. Does not own what a command means ([`crate::view`]) or who may give one (the API).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::topics::Topics;
use fpaas_core::{KeyId, Offset, Timestamp, TopicPartition, limits};
use fpaas_log::{FetchBounds, Log, Record, TopicSpec, Transaction, Writer};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::command::{Change, Command, Outcome};
use crate::machine::Machine;
use crate::once::Begun;
use crate::view::{Redrive, Replay, SubscriptionEntry, View};
use crate::{Error, Result};

mod provision;
mod snapshot;

use provision::Provisioner;

/// How often topics of deleted subscriptions are looked at again until nobody uses them.
const SWEEP: Duration = Duration::from_secs(1);
/// How often one who waits for the view looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// What a command came to, as whoever asked for it is told.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The result.
    pub outcome: Outcome,
    /// The subscription that it was about, as it was right after it; later changes are not in it.
    pub subscription: Option<Arc<SubscriptionEntry>>,
    /// True where it was asked for before, and is not done again.
    pub repeated: bool,
    /// The key that was made then.
    pub made: Option<KeyId>,
    /// The replay that it has begun, or did then.
    pub began: Option<Replay>,
    /// The redrive, the same.
    pub redrive: Option<Redrive>,
    /// The revision that the command has made.
    pub revision: u64,
}

/// A snapshot is written after so many commands, or as many as there are resources, by whoever gave the last of them.
const SNAPSHOT_EVERY: u64 = 1000;
/// How long writing one may take.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(60);

/// The control topic and the view that follows it.
#[derive(Debug)]
pub struct Control {
    log: Arc<dyn Log>,
    at: TopicPartition,
    /// None where the log does not let us make them.
    snapshots: Option<TopicPartition>,
    node: String,
    writer: Arc<dyn Writer>,
    views: watch::Sender<Arc<View>>,
    waiting: Mutex<HashMap<String, Vec<oneshot::Sender<Applied>>>>,
    names: Topics,
    /// Below it, everything is in the published view.
    next: AtomicU64,
    /// Who asks what the state is.
    asking: Mutex<Vec<oneshot::Sender<Digested>>>,
}

/// All that commands have come to, as two nodes compare it: equal where their states are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// Of how many commands.
    pub revision: u64,
    /// 64 hex digits.
    pub digest: String,
}

impl Control {
    /// Opens the control topic, making it where it is missing. The view is empty until [`Control::restore`] has run.
    pub async fn open(log: Arc<dyn Log>, names: Topics, node: &str) -> Result<Arc<Self>> {
        let topic = names.control();
        log.create_topic(&topic, &TopicSpec::kept(1)).await?;
        let writer = log.writer(&format!("{node}.control"), None).await?;
        let (views, _) = watch::channel(Arc::default());
        let at = TopicPartition::new(topic, 0);
        let snapshots = snapshots(&*log, &names).await?;
        let node = node.to_owned();
        Ok(Arc::new(Self {
            log,
            at,
            snapshots,
            node,
            writer,
            views,
            waiting: Mutex::default(),
            names,
            next: AtomicU64::default(),
            asking: Mutex::default(),
        }))
    }

    /// True once the view is that of every command there was when this was asked; false where that takes too long.
    pub(crate) async fn is_current(&self, within: Duration) -> fpaas_log::Result<bool> {
        let end = self.log.watermarks(&self.at).await?.end;
        // Not of those that come meanwhile: there may always be another one.
        let current = async {
            while Offset(self.next.load(Ordering::Acquire)) < end {
                tokio::time::sleep(LOOK).await;
            }
        };
        Ok(tokio::time::timeout(within, current).await.is_ok())
    }

    /// The state as it stands, looked at between two commands: that may take a second.
    pub async fn digest(&self) -> Result<Digested> {
        let (answer, digested) = oneshot::channel();
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        match tokio::time::timeout(limits::API_APPLY_WAIT, digested).await {
            Ok(Ok(digested)) => Ok(digested),
            Ok(Err(_)) | Err(_) => Err(Error::NotApplied),
        }
    }

    /// The view as it stands.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// The view and every later one.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    /// Appends a command and waits until it is applied: then it is durable and what it needs is there.
    pub async fn submit(&self, command: Command) -> Result<Applied> {
        let applied = self.wait_for(&command.id);
        let record = Record {
            key: Some(command.path().into()),
            value: Some(command.encode()?),
            timestamp: command.time,
            ..Record::default()
        };
        let mut transaction = Transaction::new();
        transaction.append(self.at.clone(), record);
        match self.writer.commit(transaction).await.map_err(|rejected| rejected.error) {
            // Where nobody knows, its application tells.
            Ok(_) | Err(fpaas_log::Error::Unknown) => {}
            Err(error) => return Err(error.into()),
        }
        crashpoint::hit(Point::ControlAppended);
        match tokio::time::timeout(limits::API_APPLY_WAIT, applied).await {
            Ok(Ok(applied)) => Ok(applied),
            Ok(Err(_)) | Err(_) => Err(Error::NotApplied),
        }
    }

    /// Brings the view up to what the log holds now and makes the topics it names. Run before the stages start.
    pub async fn restore(&self) -> Result<Follower<'_>> {
        let found = match &self.snapshots {
            Some(snapshots) => snapshot::read(&*self.log, snapshots).await?,
            None => None,
        };
        let (machine, next) = found.unwrap_or_default();
        let end = self.log.watermarks(&self.at).await?.end;
        if next > end {
            let why = format!("it follows offset {next} of {}, which ends at {end}: that topic is another", self.at);
            return Err(Error::Corrupt { what: "a snapshot of the control topic".to_owned(), why });
        }
        let mut follower = Follower {
            control: self,
            next,
            snapshot: machine.view.revision,
            writing: JoinSet::new(),
            time: Timestamp::default(),
            machine,
            provisioner: Provisioner::new(Arc::clone(&self.log), self.names.clone()),
        };
        let mut answers = Vec::new();
        while follower.next < end {
            follower.step(Duration::ZERO, &mut answers).await?;
        }
        follower.provisioner.remove_orphans(&follower.machine.view).await?;
        follower.publish(answers).await?;
        follower.keep();
        Ok(follower)
    }

    fn wait_for(&self, id: &str) -> oneshot::Receiver<Applied> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, senders| senders.iter().any(|sender| !sender.is_closed()));
        waiting.entry(id.to_owned()).or_default().push(sender);
        receiver
    }

    fn waits_for(&self, id: &str) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    fn answer(&self, id: &str, applied: &Applied) {
        let senders = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        for sender in senders.into_iter().flatten() {
            // Whoever asked may have gone away; the change holds all the same.
            drop(sender.send(applied.clone()));
        }
    }
}

/// A view that is up to date and goes on following.
#[derive(Debug)]
pub struct Follower<'a> {
    control: &'a Control,
    next: Offset,
    machine: Machine,
    /// The revision of the last snapshot that was read or written here.
    snapshot: u64,
    /// One at most. Commands do not wait for it.
    writing: JoinSet<()>,
    /// Of the last command.
    time: Timestamp,
    provisioner: Provisioner,
}

impl Follower<'_> {
    /// Follows until `shutdown`.
    pub async fn follow(mut self, shutdown: &CancellationToken) -> Result<()> {
        while !shutdown.is_cancelled() {
            match self.round(shutdown).await {
                // A log that is away is waited for until the stop, and that is no failure.
                Err(Error::Log(fpaas_log::Error::Retry(_))) if shutdown.is_cancelled() => {}
                done => done?,
            }
        }
        Ok(())
    }

    async fn round(&mut self, shutdown: &CancellationToken) -> Result<()> {
        let mut answers = Vec::new();
        let applied = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            stepped = self.step(SWEEP, &mut answers) => stepped?,
        };
        if applied {
            let ours = !answers.is_empty();
            self.publish(answers).await?;
            if ours {
                self.keep();
            }
        } else {
            self.settle();
        }
        if self.provisioner.is_due() {
            self.publish(Vec::new()).await?;
        }
        self.tell()?;
        self.provisioner.sweep()
    }

    /// Tells whoever asks what the state is.
    fn tell(&self) -> Result<()> {
        let asking = std::mem::take(&mut *self.control.asking.lock().unwrap_or_else(PoisonError::into_inner));
        if asking.is_empty() {
            return Ok(());
        }
        let digested = Digested { revision: self.machine.view.revision, digest: self.machine.digest()? };
        for asked in asking {
            // Whoever asked may have gone away.
            drop(asked.send(digested.clone()));
        }
        Ok(())
    }

    /// Applies what is there, waiting at most `wait` for it; true where that is anything. Whoever waits here is told
    /// once it is published. Cancel-safe: nothing is applied before the fetch is done.
    async fn step(&mut self, wait: Duration, answers: &mut Vec<(String, Applied)>) -> Result<bool> {
        let fetched = self.control.log.fetch(&self.control.at, self.next, FetchBounds::waiting(wait)).await?;
        for stored in &fetched.records {
            let command = Command::decode(stored.record.value.as_deref().unwrap_or_default())?;
            self.time = command.time;
            let outcome = self.machine.apply(&command);
            if self.control.waits_for(&command.id) {
                answers.push((command.id.clone(), self.applied(&command, outcome)));
            }
        }
        self.next = fetched.next;
        Ok(!fetched.records.is_empty())
    }

    fn applied(&self, command: &Command, outcome: Outcome) -> Applied {
        let view = &self.machine.view;
        let subscription = match &command.change {
            Change::PutSubscription { id, .. }
            | Change::SetState { id, .. }
            | Change::DisableSubscription { id, .. }
            | Change::RotateSecret { id, .. }
            | Change::StartReplay { id, .. }
            | Change::CancelReplay { id, .. }
            | Change::StartRedrive { id, .. }
            | Change::CancelRedrive { id, .. } => view.subscription(&command.tenant, id).cloned(),
            Change::DeleteSubscription { .. }
            | Change::PutTopic { .. }
            | Change::DeleteTopic { .. }
            | Change::FreeTopic { .. }
            | Change::PutTenant { .. }
            | Change::EndMove { .. }
            | Change::DeleteTenant {}
            | Change::PutKey { .. }
            | Change::DeleteKey { .. } => None,
        };
        let (outcome, repeated, made) = match outcome {
            Outcome::Repeated { outcome, made } => (*outcome, true, made),
            outcome => (outcome, false, None),
        };
        let begun = if repeated { self.machine.began(command) } else { self.machine.under_way(command) };
        let Begun { replay: began, redrive } = begun;
        Applied { outcome, subscription, repeated, made, began, redrive, revision: view.revision }
    }

    async fn publish(&mut self, answers: Vec<(String, Applied)>) -> Result<()> {
        crashpoint::hit(Point::TopicsMissing);
        self.machine.view.unmade = self.provisioner.make_topics(&self.machine.view).await?;
        self.control.views.send_replace(Arc::new(self.machine.view.clone()));
        self.settle();
        for (id, applied) in answers {
            self.control.answer(&id, &applied);
        }
        Ok(())
    }

    /// What the published view is of.
    fn settle(&self) {
        self.control.next.store(self.next.0, Ordering::Release);
    }

    /// Begins to write a snapshot where one is due. That it cannot be written costs the next start some time, and
    /// nothing else.
    fn keep(&mut self) {
        while self.writing.try_join_next().is_some() {}
        let Control { log, snapshots: Some(at), node, .. } = self.control else { return };
        let view = &self.machine.view;
        let resources = view.subscriptions.len() + view.topics.len() + view.tenants.len() + view.keys.len();
        let due = view.revision - self.snapshot >= SNAPSHOT_EVERY.max(resources as u64);
        if !due || !self.writing.is_empty() {
            return;
        }
        self.snapshot = view.revision;
        let (log, at, node) = (Arc::clone(log), at.clone(), node.clone());
        let (machine, next, time) = (self.machine.clone(), self.next, self.time);
        self.writing.spawn(async move {
            let written = snapshot::write(&*log, &node, &at, (machine, next, time));
            match tokio::time::timeout(SNAPSHOT_WITHIN, written).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "no snapshot of the control topic was written"),
                Err(_) => warn!("no snapshot of the control topic was written in time"),
            }
        });
    }
}

/// Where snapshots are kept, made where it is missing.
async fn snapshots(log: &dyn Log, names: &Topics) -> Result<Option<TopicPartition>> {
    let topic = names.control_snapshot();
    match log.create_topic(&topic, &TopicSpec::kept(1)).await {
        Ok(_) => Ok(Some(TopicPartition::new(topic, 0))),
        Err(fpaas_log::Error::Refused(why)) => {
            warn!(why, "there are no snapshots of the control topic: a start replays all of it");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
