//! A log that fails a stage's commits where a test says so: the process dies before or after one, the log is away for a
//! moment, or the outcome stays unknown. For the tests of the stages.

#![expect(clippy::unwrap_used, reason = "what does not hold ends its test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::{
    Append, Created, Culprit, Error, FetchBounds, Fetched, Hold, Log, Membership, Position, Receipt, Refusal, Rejected,
    Result, Retention, TopicSpec, Transaction, Watermarks, Writer,
};
use async_trait::async_trait;
use fpaas_core::{Offset, Timestamp, TopicPartition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What happens at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before it.
    CrashBefore,
    /// The process dies after it.
    CrashAfter,
    /// The log is away.
    Retry,
    /// As `Retry`, from this commit on.
    Away,
    /// Committed, and nobody is told.
    UnknownDone,
    /// Not committed, and nobody is told.
    UnknownNotDone,
    /// Refused when the transaction appends to this topic, from this commit on.
    Refuse(String),
    /// The same, since the topic has no leader.
    Leaderless(String),
    /// Refused when the transaction appends a record of more bytes to this topic, from this commit on.
    TooLarge(String, usize),
}

/// Faults by the number of the stage's commit, from 1.
#[derive(Debug, Default)]
pub struct Faults {
    planned: Mutex<Vec<(usize, Fault)>>,
    commits: AtomicUsize,
    /// How many have fired.
    pub fired: watch::Sender<usize>,
    /// The highest offset that was asked for, by partition number of the source: who asks has passed everything below.
    pub asked: watch::Sender<BTreeMap<u32, Offset>>,
    /// The process is dead: nothing of it moves any more.
    pub crashed: CancellationToken,
}

impl Faults {
    /// Those that are planned from the start.
    pub fn new(planned: Vec<(usize, Fault)>) -> Arc<Self> {
        Arc::new(Self { planned: Mutex::new(planned), ..Self::default() })
    }

    /// None any more.
    pub fn heal(&self) {
        self.planned.lock().unwrap().clear();
    }

    /// At this commit.
    pub fn plan_at(&self, number: usize, fault: Fault) {
        self.planned.lock().unwrap().push((number, fault));
    }

    /// From the next commit on.
    pub fn plan(&self, fault: Fault) {
        let next = self.commits.load(Ordering::SeqCst) + 1;
        self.planned.lock().unwrap().push((next, fault));
    }

    /// Waits until one has fired.
    pub async fn fires(&self) {
        self.fired.subscribe().wait_for(|fired| *fired > 0).await.unwrap();
    }

    fn next(&self, transaction: &Transaction) -> Option<Fault> {
        let number = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        let planned = self.planned.lock().unwrap();
        let fault = planned.iter().find(|(at, fault)| match fault {
            Fault::Refuse(topic) | Fault::Leaderless(topic) => {
                number >= *at && transaction.appends.iter().any(|append| *append.at.topic == **topic)
            }
            Fault::TooLarge(topic, most) => number >= *at && larger(transaction, topic, *most).is_some(),
            Fault::Away => number >= *at,
            _ => number == *at,
        });
        let fault = fault.map(|(_, fault)| fault.clone());
        self.fired.send_modify(|fired| *fired += usize::from(fault.is_some()));
        fault
    }
}

fn culprit(transaction: &Transaction, topic: &str, refusal: Refusal) -> Culprit {
    let found = transaction.appends.iter().find(|append| *append.at.topic == *topic);
    Culprit::Append { at: found.unwrap().at.clone(), refusal }
}

fn larger<'t>(transaction: &'t Transaction, topic: &str, most: usize) -> Option<&'t TopicPartition> {
    let larger = |append: &&Append| *append.at.topic == *topic && append.record.bytes() > most;
    transaction.appends.iter().find(larger).map(|append| &append.at)
}

/// See the module's head.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Log>,
    /// What the ids of the writers end with whose commits fail.
    stage: &'static str,
    faults: Arc<Faults>,
}

impl Faulty {
    /// Over `inner`, for the stage `router` or `dispatcher`.
    pub const fn new(inner: Arc<dyn Log>, stage: &'static str, faults: Arc<Faults>) -> Self {
        Self { inner, stage, faults }
    }
}

#[derive(Debug)]
struct FaultyWriter {
    inner: Arc<dyn Writer>,
    faults: Arc<Faults>,
}

impl FaultyWriter {
    async fn die(&self) -> ! {
        self.faults.crashed.cancel();
        std::future::pending().await
    }
}

#[async_trait]
impl Writer for FaultyWriter {
    async fn commit(&self, transaction: Transaction) -> Result<Receipt, Rejected> {
        if self.faults.crashed.is_cancelled() {
            self.die().await;
        }
        let fault = self.faults.next(&transaction);
        let reject = |error, transaction: Transaction| Err(Rejected { error, transaction: Box::new(transaction) });
        match fault {
            None => self.inner.commit(transaction).await,
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::CrashAfter) => {
                drop(self.inner.commit(transaction).await);
                self.die().await
            }
            Some(Fault::Retry | Fault::Away) => reject(Error::Retry("a test says so".to_owned()), transaction),
            Some(Fault::UnknownNotDone) => reject(Error::Unknown, transaction),
            Some(Fault::UnknownDone) => {
                drop(self.inner.commit(transaction.clone()).await);
                reject(Error::Unknown, transaction)
            }
            Some(Fault::Refuse(topic)) => {
                let culprit = culprit(&transaction, &topic, Refusal::NotAuthorised);
                reject(Error::Abort(culprit), transaction)
            }
            Some(Fault::Leaderless(topic)) => {
                let culprit = culprit(&transaction, &topic, Refusal::Unavailable);
                reject(Error::Abort(culprit), transaction)
            }
            Some(Fault::TooLarge(topic, most)) => {
                let at = larger(&transaction, &topic, most).unwrap().clone();
                reject(Error::Abort(Culprit::Append { at, refusal: Refusal::TooLarge }), transaction)
            }
        }
    }
}

#[async_trait]
impl Log for Faulty {
    async fn writer(&self, id: &str, membership: Option<&Membership>) -> Result<Arc<dyn Writer>> {
        let inner = self.inner.writer(id, membership).await?;
        if !id.ends_with(self.stage) {
            return Ok(inner);
        }
        Ok(Arc::new(FaultyWriter { inner, faults: Arc::clone(&self.faults) }))
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn ends(&self, at: &[TopicPartition]) -> Vec<Result<Offset>> {
        self.inner.ends(at).await
    }

    async fn appended_end(&self, at: &TopicPartition) -> Result<Offset> {
        self.inner.appended_end(at).await
    }

    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<Created> {
        self.inner.create_topic(topic, spec).await
    }

    async fn alter_topic(&self, topic: &str, retention: &Retention) -> Result<()> {
        self.inner.alter_topic(topic, retention).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        self.inner.delete_topic(topic).await
    }

    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicSpec>> {
        self.inner.describe_topic(topic).await
    }

    async fn list_topics(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.list_topics(prefix).await
    }

    async fn watermarks(&self, at: &TopicPartition) -> Result<Watermarks> {
        self.inner.watermarks(at).await
    }

    async fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset> {
        self.inner.offset_at(at, time).await
    }

    async fn trim(&self, at: &TopicPartition, before: Offset) -> Result<()> {
        self.inner.trim(at, before).await
    }

    async fn fetch(&self, at: &TopicPartition, from: Offset, bounds: FetchBounds) -> Result<Fetched> {
        if *at.topic == *"fpaas.firehose" {
            self.faults.asked.send_modify(|asked| {
                let highest = asked.entry(at.partition.0).or_default();
                *highest = from.max(*highest);
            });
        }
        self.inner.fetch(at, from, bounds).await
    }

    fn hold(&self, at: &TopicPartition, from: Offset) -> Hold {
        self.inner.hold(at, from)
    }

    async fn positions(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>> {
        self.inner.positions(group, at).await
    }

    async fn join(&self, group: &str, member: &str) -> Result<Membership> {
        self.inner.join(group, member).await
    }
}
