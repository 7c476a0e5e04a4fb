//! What the claims are written with.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::partition::{SLOTS, Slot};
use fpaas_core::{Offset, Timestamp, TopicPartition};

use super::{Backend, RetentionLevers};
use crate::{
    Error, FetchBounds, Fetched, Lease, Log, Membership, MembershipEvent, Position, Record, Stored, TopicSpec,
    Transaction, Writer,
};

/// What takes longer than this will never happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must happen.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

/// A new topic's name, made as `spec` says.
pub async fn make(backend: &dyn Backend, spec: &TopicSpec) -> String {
    let name = backend.fresh("topic");
    backend.log().create_topic(&name, spec).await.unwrap();
    name
}

/// The only partition of a new topic.
pub async fn partition(backend: &dyn Backend) -> TopicPartition {
    TopicPartition::new(make(backend, &TopicSpec::kept(1)).await, 0)
}

/// A writer that only appends.
pub async fn appender(backend: &dyn Backend) -> Arc<dyn Writer> {
    backend.log().writer(&backend.fresh("writer"), None).await.unwrap()
}

/// A record that holds a text.
pub fn text(value: impl Into<String>) -> Record {
    Record { value: Some(Bytes::from(value.into())), ..Record::default() }
}

/// The same with a key.
pub fn keyed(key: &str, value: &str) -> Record {
    Record { key: Some(Bytes::copy_from_slice(key.as_bytes())), ..text(value) }
}

/// The same at a time.
pub fn at(time: Timestamp, record: Record) -> Record {
    Record { timestamp: time, ..record }
}

/// Milliseconds since the epoch.
pub fn millis(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A transaction that appends these to one partition.
pub fn appending(at: &TopicPartition, records: impl IntoIterator<Item = Record>) -> Transaction {
    let mut transaction = Transaction::new();
    records.into_iter().for_each(|record| transaction.append(at.clone(), record));
    transaction
}

/// Commits these to one partition: their offsets.
pub async fn append(
    writer: &dyn Writer,
    at: &TopicPartition,
    records: impl IntoIterator<Item = Record>,
) -> Vec<Offset> {
    writer.commit(appending(at, records)).await.unwrap().offsets
}

/// Commits numbered texts, one transaction each.
pub async fn append_numbers(writer: &dyn Writer, at: &TopicPartition, numbers: std::ops::Range<u32>) -> Vec<Offset> {
    let mut offsets = Vec::new();
    for number in numbers {
        offsets.extend(append(writer, at, [text(number.to_string())]).await);
    }
    offsets
}

/// One fetch that does not wait.
pub async fn fetch(log: &dyn Log, at: &TopicPartition, from: Offset) -> Fetched {
    log.fetch(at, from, FetchBounds::now()).await.unwrap()
}

/// Everything readable from `from` on.
pub async fn read_from(log: &dyn Log, at: &TopicPartition, mut from: Offset) -> Vec<Stored> {
    let mut records = Vec::new();
    loop {
        let fetched = fetch(log, at, from).await;
        records.extend(fetched.records);
        if fetched.next >= fetched.end {
            return records;
        }
        assert!(fetched.next > from, "a fetch before the end gets on");
        from = fetched.next;
    }
}

/// Everything readable.
pub async fn read(log: &dyn Log, at: &TopicPartition) -> Vec<Stored> {
    read_from(log, at, Offset::ZERO).await
}

/// A record's value as text.
pub fn value(stored: &Stored) -> String {
    String::from_utf8(stored.record.value.clone().unwrap_or_default().to_vec()).unwrap()
}

/// All values of a partition as text.
pub async fn values(log: &dyn Log, at: &TopicPartition) -> Vec<String> {
    read(log, at).await.iter().map(value).collect()
}

/// Numbers as texts.
pub fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// One position of a group.
pub async fn position(log: &dyn Log, group: &str, at: &TopicPartition) -> Option<Position> {
    log.positions(group, std::slice::from_ref(at)).await.unwrap().remove(0)
}

/// A member with its leases and its writer.
#[derive(Debug)]
pub struct Member {
    /// As it joined.
    pub membership: Membership,
    /// What it was assigned so far.
    pub leases: Vec<Lease>,
    /// Its writer.
    pub writer: Arc<dyn Writer>,
}

impl Member {
    /// Joins and waits for its first slots.
    pub async fn join(backend: &dyn Backend, group: &str, name: &str) -> Self {
        let log = backend.log();
        let mut membership = log.join(group, name).await.unwrap();
        let writer = log.writer(&backend.fresh("writer"), Some(&membership)).await.unwrap();
        let leases = assigned(&mut membership).await;
        Self { membership, leases, writer }
    }

    /// The only member of a new group, with all slots.
    pub async fn alone(backend: &dyn Backend) -> Self {
        let member = Self::join(backend, &backend.fresh("group"), "alone").await;
        assert_eq!(member.leases.len(), SLOTS as usize);
        member
    }

    /// Its lease of a slot.
    pub fn lease(&self, slot: Slot) -> &Lease {
        self.leases.iter().find(|lease| lease.slot == slot).unwrap()
    }

    /// A transaction under its first lease.
    pub fn begin(&self) -> Transaction {
        Transaction::under(&self.leases[0])
    }

    /// Commits a position under its first lease.
    pub async fn advance(&self, at: &TopicPartition, offset: Offset, metadata: &'static str) {
        let mut transaction = self.begin();
        transaction.advance(at.clone(), offset, Bytes::from_static(metadata.as_bytes()));
        self.writer.commit(transaction).await.unwrap();
    }
}

/// The next slots that are assigned, acknowledging what is revoked before.
pub async fn assigned(membership: &mut Membership) -> Vec<Lease> {
    loop {
        match soon(membership.next()).await.unwrap() {
            MembershipEvent::Assigned(leases) if !leases.is_empty() => return leases,
            MembershipEvent::Revoked(_, ack) => ack.acknowledge(),
            _ => {}
        }
    }
}

/// Why a transaction was not committed.
pub async fn refused(writer: &dyn Writer, transaction: Transaction) -> Error {
    writer.commit(transaction).await.unwrap_err().error
}

/// The levers of retention, or a loud skip.
pub fn levers(backend: &dyn Backend) -> Option<&dyn RetentionLevers> {
    let levers = backend.retention();
    if levers.is_none() {
        skip("retention is not this backend's own");
    }
    levers
}

/// Says that a test was not run, where a test that passes is heard too: what goes through `eprintln!` is swallowed.
#[expect(clippy::explicit_write, reason = "a test's own output is not shown where it passes")]
pub fn skip(why: &str) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "SKIPPED {name}: {why}").unwrap();
}

/// A future that counts how often it was woken to look.
#[derive(Debug)]
pub struct Counted<F> {
    future: Pin<Box<F>>,
    /// How often it was polled.
    pub polls: usize,
}

impl<F: Future> Counted<F> {
    /// Polled for the first time, when it has to wait.
    pub async fn waiting(future: F) -> Self {
        let mut counted = Self { future: Box::pin(future), polls: 0 };
        let pending = poll_fn(|context| Poll::Ready(Pin::new(&mut counted).poll(context).is_pending())).await;
        assert!(pending, "there was nothing to wait for");
        counted
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.polls += 1;
        self.future.as_mut().poll(context)
    }
}
