//! Writing: transactions as data, and what commits them.

use async_trait::async_trait;
use bytes::Bytes;
use fpaas_core::{Offset, TopicPartition};

use crate::{Error, Lease, Record};

/// Commits transactions. Shared by the tasks of a stage: concurrent commits may ride in one transaction of the
/// backend (group commit), each still as a whole or not at all, and in the order in which they were given.
#[async_trait]
pub trait Writer: Send + Sync + std::fmt::Debug {
    /// Makes everything in `transaction` durable and visible at once, or nothing of it. Resolves when that is decided.
    ///
    /// What was rejected comes back, so that the caller can redo it without the culprit. A caller that stops waiting
    /// does not take the transaction back: it may still be committed.
    async fn commit(&self, transaction: Transaction) -> Result<Receipt, Rejected>;
}

/// What one step of a stage does to the log: records of many topics, and the positions that they account for.
///
/// Invariant: offsets-with-effects: a position is advanced here, beside its effects, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The leases it works under; each is checked at the commit, and so is the membership of its writer, if that has
    /// one: who is no member any more commits nothing, under a lease or not. Invariant: one-owner.
    pub leases: Vec<Lease>,
    /// What is appended, in order.
    pub appends: Vec<Append>,
    /// Positions of the writer's group.
    pub positions: Vec<(TopicPartition, Position)>,
    bytes: usize,
}

/// One record and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Topic and partition.
    pub at: TopicPartition,
    /// The record.
    pub record: Record,
}

/// The offset up to which all effects are committed (last processed + 1), and what its owner noted beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub offset: Offset,
    /// At most a few hundred bytes, opaque to the log.
    pub metadata: Bytes,
}

impl Transaction {
    /// Fenced by nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fenced by `lease`.
    pub fn under(lease: &Lease) -> Self {
        Self { leases: vec![lease.clone()], ..Self::default() }
    }

    /// Adds a record.
    pub fn append(&mut self, at: TopicPartition, record: Record) {
        self.bytes += record.bytes();
        self.appends.push(Append { at, record });
    }

    /// Moves the group's position on a partition. The last one given for a partition counts.
    ///
    /// It moves under the lease of the slot it belongs to, which is the same each time. Without any lease it is
    /// refused as [`crate::Refusal::NotAuthorised`]; under other slots than those it moved under before it is
    /// [`crate::Culprit::Fenced`], as far as this process has seen them.
    pub fn advance(&mut self, at: TopicPartition, offset: Offset, metadata: Bytes) {
        self.positions.push((at, Position { offset, metadata }));
    }

    /// The bytes of all records in it.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when committing it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.positions.is_empty()
    }
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The offsets of the appended records, in their order.
    pub offsets: Vec<Offset>,
}

/// A transaction that was not committed, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    /// What to do about it.
    #[source]
    pub error: Error,
    /// As it was given.
    pub transaction: Box<Transaction>,
}
