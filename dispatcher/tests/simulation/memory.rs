//! A log in memory, for one process: what is committed is there whatever happens to those who use it. It fails as it is
//! told to, by a seed: commits that are refused, that take their time, and whose outcome is not known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use fpaas_core::partition::Slot;
use fpaas_core::{Offset, Timestamp, TopicPartition, limits};
use fpaas_log::{
    Created, Culprit, Error, FetchBounds, Fetched, Hold, Lease, LeaveGuard, Log, Membership, MembershipEvent, Position,
    Receipt, Record, Refusal, Rejected, Result, Retention, Stored, TopicSpec, Transaction, Watermarks, Writer,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use crate::random::Random;

#[derive(Debug, Default)]
struct Partition {
    low: u64,
    next: u64,
    records: BTreeMap<u64, Record>,
}

#[derive(Debug)]
struct Topic {
    spec: TopicSpec,
    partitions: Vec<Partition>,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<String, Topic>,
    positions: BTreeMap<(String, TopicPartition), Position>,
    /// How often each group was joined: leases of an earlier time are none any more.
    joined: BTreeMap<String, u64>,
}

/// Cheap to clone: all of them are the same log.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    /// What goes wrong, while it may.
    faults: Mutex<Option<Random>>,
}

#[derive(Debug)]
struct Guard;

impl LeaveGuard for Guard {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[derive(Debug)]
struct InMemory {
    log: Memory,
    group: Option<String>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), changed: Notify::new(), faults: Mutex::new(None) }))
    }

    /// From here on commits go wrong now and then; never with `None`.
    pub(crate) fn fail(&self, random: Option<Random>) {
        *self.0.faults.lock().unwrap() = random;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// All records of a partition.
    pub(crate) fn records(&self, at: &TopicPartition) -> Vec<Stored> {
        let state = self.state();
        let Some(topic) = state.topics.get(&*at.topic) else { return Vec::new() };
        let records = topic.partitions[at.partition.0 as usize].records.iter();
        records.map(|(offset, record)| Stored { offset: Offset(*offset), record: record.clone() }).collect()
    }

    /// The end of a partition.
    pub(crate) fn end(&self, at: &TopicPartition) -> Offset {
        self.partition(at, |of| Offset(of.next)).unwrap()
    }

    /// Commits at once, whatever goes wrong otherwise.
    pub(crate) fn commit_now(&self, transaction: &Transaction) {
        self.apply(None, transaction).unwrap();
    }

    /// The names of all topics.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.state().topics.keys().cloned().collect()
    }

    pub(crate) fn position(&self, group: &str, at: &TopicPartition) -> Option<Position> {
        self.state().positions.get(&(group.to_owned(), at.clone())).cloned()
    }

    fn partition<T>(&self, at: &TopicPartition, read: impl FnOnce(&mut Partition) -> T) -> Result<T> {
        let mut state = self.state();
        let topic = state.topics.get_mut(&*at.topic);
        let partition = topic.and_then(|topic| topic.partitions.get_mut(at.partition.0 as usize));
        partition.map(read).ok_or_else(|| Error::NoSuchTopic(at.topic.to_string()))
    }

    /// Commits, or says why not.
    fn apply(&self, group: Option<&String>, transaction: &Transaction) -> Result<Receipt> {
        let mut state = self.state();
        for lease in &transaction.leases {
            if state.joined.get(&*lease.group) != Some(&lease.incarnation) {
                return Err(Error::Abort(Culprit::Fenced));
            }
        }
        for append in &transaction.appends {
            let topic = state.topics.get(&*append.at.topic);
            let there = topic.is_some_and(|topic| (append.at.partition.0 as usize) < topic.partitions.len());
            let refusal = match (there, append.record.bytes() > limits::RECORD_BYTES_MAX) {
                (true, false) => continue,
                (false, _) => Refusal::NoSuchTopic,
                (true, true) => Refusal::TooLarge,
            };
            return Err(Error::Abort(Culprit::Append { at: append.at.clone(), refusal }));
        }
        let mut offsets = Vec::new();
        for append in &transaction.appends {
            let topic = state.topics.get_mut(&*append.at.topic).unwrap();
            let compacted = topic.spec.compacted;
            let partition = &mut topic.partitions[append.at.partition.0 as usize];
            if compacted {
                partition.records.retain(|_, record| record.key != append.record.key);
            }
            partition.records.insert(partition.next, append.record.clone());
            offsets.push(Offset(partition.next));
            partition.next += 1;
        }
        if let Some(group) = group {
            for (at, position) in &transaction.positions {
                state.positions.insert((group.clone(), at.clone()), position.clone());
            }
        }
        drop(state);
        self.0.changed.notify_waiters();
        Ok(Receipt { offsets })
    }
}

#[async_trait]
impl Writer for InMemory {
    async fn commit(&self, transaction: Transaction) -> Result<Receipt, Rejected> {
        let (fate, wait) = {
            let mut faults = self.log.0.faults.lock().unwrap();
            faults.as_mut().map_or((9, 0), |random| (random.below(40), random.below(30)))
        };
        sleep(Duration::from_millis(wait)).await;
        let rejected = |error| Rejected { error, transaction: Box::new(transaction.clone()) };
        match fate {
            0 => Err(rejected(Error::Retry("as it was told to".to_owned()))),
            1 => Err(rejected(Error::Unknown)),
            2 => match self.log.apply(self.group.as_ref(), &transaction) {
                Ok(_) => Err(rejected(Error::Unknown)),
                Err(error) => Err(rejected(error)),
            },
            _ => self.log.apply(self.group.as_ref(), &transaction).map_err(rejected),
        }
    }
}

#[async_trait]
impl Log for Memory {
    fn is_shared(&self) -> bool {
        false
    }

    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<Created> {
        let mut state = self.state();
        if state.topics.contains_key(topic) {
            return Ok(Created::Existed);
        }
        let partitions = (0..spec.partitions).map(|_| Partition::default()).collect();
        state.topics.insert(topic.to_owned(), Topic { spec: spec.clone(), partitions });
        Ok(Created::New)
    }

    async fn alter_topic(&self, _: &str, _: &Retention) -> Result<()> {
        Ok(())
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        let mut state = self.state();
        state.topics.remove(topic);
        state.positions.retain(|(_, at), _| *at.topic != *topic);
        Ok(())
    }

    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicSpec>> {
        Ok(self.state().topics.get(topic).map(|topic| topic.spec.clone()))
    }

    async fn list_topics(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.topics().into_iter().filter(|topic| topic.starts_with(prefix)).collect())
    }

    async fn watermarks(&self, at: &TopicPartition) -> Result<Watermarks> {
        self.partition(at, |of| Watermarks { low: Offset(of.low), end: Offset(of.next) })
    }

    async fn ends(&self, at: &[TopicPartition]) -> Vec<Result<Offset>> {
        at.iter().map(|at| self.partition(at, |of| Offset(of.next))).collect()
    }

    async fn appended_end(&self, at: &TopicPartition) -> Result<Offset> {
        self.partition(at, |of| Offset(of.next))
    }

    async fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset> {
        self.partition(at, |of| {
            let found = of.records.iter().find(|(_, record)| record.timestamp >= time);
            found.map_or(Offset(of.next), |(offset, _)| Offset(*offset))
        })
    }

    async fn trim(&self, at: &TopicPartition, before: Offset) -> Result<()> {
        self.partition(at, |of| {
            of.low = of.low.max(before.0);
            of.records.retain(|offset, _| *offset >= before.0);
        })
    }

    async fn fetch(&self, at: &TopicPartition, from: Offset, bounds: FetchBounds) -> Result<Fetched> {
        let look = || {
            self.partition(at, |of| {
                let start = from.0.max(of.low);
                let records = of.records.range(start..).take(bounds.records.min(7));
                let records: Vec<_> =
                    records.map(|(at, record)| Stored { offset: Offset(*at), record: record.clone() }).collect();
                let next = records.last().map_or(Offset(of.next), |last| last.offset.next());
                let lost_until = (start > from.0).then_some(Offset(start));
                Fetched { records, next, end: Offset(of.next), lost_until }
            })
        };
        let waiting = async {
            loop {
                let changed = self.0.changed.notified();
                let found = look()?;
                if !found.records.is_empty() {
                    return Ok(found);
                }
                changed.await;
            }
        };
        match timeout(bounds.wait, waiting).await {
            Ok(found) => found,
            Err(_) => look(),
        }
    }

    fn hold(&self, _: &TopicPartition, _: Offset) -> Hold {
        Hold::nothing()
    }

    async fn positions(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>> {
        Ok(at.iter().map(|at| self.position(group, at)).collect())
    }

    async fn join(&self, group: &str, member: &str) -> Result<Membership> {
        let incarnation = {
            let mut state = self.state();
            let joined = state.joined.entry(group.to_owned()).or_default();
            *joined += 1;
            *joined
        };
        let (sender, events) = mpsc::channel(4);
        let group: Arc<str> = group.into();
        let leases = Slot::all().map(|slot| Lease { group: Arc::clone(&group), slot, incarnation }).collect();
        sender.try_send(MembershipEvent::Assigned(leases)).unwrap();
        // A membership ends with its channel: it is kept as long as the log is.
        std::mem::forget(sender);
        Ok(Membership::new(group, member.into(), events, Box::new(Guard)))
    }

    async fn writer(&self, _: &str, membership: Option<&Membership>) -> Result<Arc<dyn Writer>> {
        let group = membership.map(|membership| membership.group().to_string());
        Ok(Arc::new(InMemory { log: self.clone(), group }))
    }
}
