//! One partition on both sides: what is there is compared record by record, and the rest is copied.
//!
//! Nothing is noted about how far a copy has come: the target's own records say it. So a copy that was cut off anywhere
//! goes on exactly where its last transaction ended, and a copy that is complete is proven to be by reading it back.
//! Owns no decision about which partitions there are. Invariant: offsets-with-effects.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::{Offset, TopicPartition, limits};
use fpaas_log::{Error as LogError, FetchBounds, Log, Record, Rejected, Stored, Transaction, Writer};
use tokio::time::Instant;
use tracing::{info, warn};

use super::translation::Translation;
use crate::exit::Failure;

/// What one transaction of a copy carries: after the record that reaches it, the next one begins.
const BYTES: usize = 4 * 1024 * 1024;
/// The same in records.
const RECORDS: usize = 2_000;
/// How often records that are appended and not readable yet are looked for.
const PAUSE: Duration = Duration::from_millis(10);
/// How often a long copy says how far it has come.
const SAID: Duration = Duration::from_secs(5);
/// The writer's id on the target: a run that is started anew ends what the last one left open.
const WRITER: &str = "migrate";

/// What a record becomes; it stays what it is in all but the topics that hold offsets.
pub(super) type Change<'a> = &'a (dyn Fn(Stored) -> Result<Record, Failure> + Sync);

/// A partition, and what it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) source: TopicPartition,
    pub(super) target: TopicPartition,
}

/// How much that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// From one log to another.
#[derive(Debug)]
pub(super) struct Copier {
    pub(super) from: Arc<dyn Log>,
    pub(super) to: Arc<dyn Log>,
    writer: Arc<dyn Writer>,
    said: Instant,
}

/// What became of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Committed {
    Yes,
    /// Nobody knows: the records tell.
    Unknown,
}

impl Tally {
    pub(super) const fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }

    fn count(&mut self, record: &Record) {
        self.add(Self { records: 1, bytes: record.bytes() as u64 });
    }
}

impl Copier {
    pub(super) async fn new(from: Arc<dyn Log>, to: Arc<dyn Log>) -> Result<Self, Failure> {
        let writer = to.writer(WRITER, None).await?;
        Ok(Self { from, to, writer, said: Instant::now() })
    }

    /// Copies what is missing; how much that was.
    pub(super) async fn copy(&mut self, pair: &Pair, change: Change<'_>) -> Result<Tally, Failure> {
        let mut copied = Tally::default();
        while self.attempt(pair, change, &mut copied).await? == Committed::Unknown {
            // Another writer of the same id decides what was open.
            self.writer = self.to.writer(WRITER, None).await?;
        }
        Ok(copied)
    }

    async fn attempt(&mut self, pair: &Pair, change: Change<'_>, copied: &mut Tally) -> Result<Committed, Failure> {
        let from = Arc::clone(&self.from);
        let mut source = Reader::open(&*from, &pair.source).await?;
        self.compare(&mut source, pair, change).await?;
        let (mut transaction, mut tally) = (Transaction::new(), Tally::default());
        while let Some(stored) = source.next().await? {
            let record = change(stored)?;
            tally.count(&record);
            transaction.append(pair.target.clone(), record);
            if transaction.bytes() < BYTES && transaction.appends.len() < RECORDS {
                continue;
            }
            if self.commit(std::mem::take(&mut transaction)).await? == Committed::Unknown {
                return Ok(Committed::Unknown);
            }
            copied.add(std::mem::take(&mut tally));
            self.say(&source, copied);
        }
        let last = self.commit(transaction).await?;
        copied.add(tally);
        Ok(last)
    }

    /// Now and then, how far it has come.
    fn say(&mut self, source: &Reader<'_>, copied: &Tally) {
        if self.said.elapsed() >= SAID {
            let Tally { records, bytes } = copied;
            info!(from = %source.at, at = %source.next, end = %source.end, records, bytes, "copying");
            self.said = Instant::now();
        }
    }

    /// All of it is there and nothing else: how much, and where it stands now.
    pub(super) async fn verify(&self, pair: &Pair, change: Change<'_>) -> Result<(Tally, Translation), Failure> {
        let mut source = Reader::open(&*self.from, &pair.source).await?;
        let found = self.compare(&mut source, pair, change).await?;
        match source.next().await? {
            None => Ok(found),
            Some(missing) => Err(differs(pair, missing.offset, "it is not there")),
        }
    }

    /// The target's records against the first ones of `source`, which stands behind them afterwards.
    async fn compare(
        &self,
        source: &mut Reader<'_>,
        pair: &Pair,
        change: Change<'_>,
    ) -> Result<(Tally, Translation), Failure> {
        let (mut tally, mut translation) = (Tally::default(), Translation::default());
        let mut target = Reader::open(&*self.to, &pair.target).await?;
        while let Some(found) = target.next().await? {
            let Some(stored) = source.next().await? else {
                return Err(differs(pair, found.offset, "there is more than was copied"));
            };
            let offset = stored.offset;
            let record = change(stored)?;
            if record != found.record {
                return Err(differs(pair, offset, "it is not the record that is there"));
            }
            tally.count(&record);
            translation.note(offset, found.offset);
        }
        translation.end_at(target.next);
        Ok((tally, translation))
    }

    /// Appends that are no copy of a partition, and the same each time.
    pub(super) async fn append(&mut self, transaction: Transaction) -> Result<(), Failure> {
        while self.commit(transaction.clone()).await? == Committed::Unknown {
            self.writer = self.to.writer(WRITER, None).await?;
        }
        Ok(())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Committed, Failure> {
        if transaction.is_empty() {
            return Ok(Committed::Yes);
        }
        let committed = commit(&*self.writer, transaction).await?;
        crashpoint::hit(Point::MigrationCopying);
        Ok(committed)
    }
}

/// Commits what may be committed again as long as nobody knows what became of it.
pub(super) async fn commit_same(writer: &dyn Writer, transaction: &Transaction) -> Result<(), Failure> {
    while commit(writer, transaction.clone()).await? == Committed::Unknown {}
    Ok(())
}

async fn commit(writer: &dyn Writer, mut transaction: Transaction) -> Result<Committed, Failure> {
    let mut wait = *limits::LOG_RETRY.start();
    loop {
        let Rejected { error, transaction: same } = match writer.commit(transaction).await {
            Ok(_) => return Ok(Committed::Yes),
            Err(rejected) => rejected,
        };
        match error {
            LogError::Retry(why) => warn!(why, "the cluster is not available, trying again"),
            LogError::Unknown => return Ok(Committed::Unknown),
            error => return Err(error.into()),
        }
        transaction = *same;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(*limits::LOG_RETRY.end());
    }
}

fn differs(pair: &Pair, offset: Offset, why: &str) -> Failure {
    let Pair { source, target } = pair;
    Failure::Failed(format!(
        "{target} is not a copy of {source}: at offset {offset}, {why}; something else has written or removed there: \
         give up with --abandon, and start again"
    ))
}

/// All records of a partition that are there now, in order.
pub(super) struct Reader<'a> {
    log: &'a dyn Log,
    at: &'a TopicPartition,
    /// Past every record that was read, and every gap behind it.
    next: Offset,
    end: Offset,
    waiting: VecDeque<Stored>,
}

impl<'a> Reader<'a> {
    pub(super) async fn open(log: &'a dyn Log, at: &'a TopicPartition) -> Result<Self, Failure> {
        let next = log.watermarks(at).await?.low;
        // What is appended is decided by now: nobody but us writes here, and our writer was initialised before.
        let end = log.appended_end(at).await?;
        Ok(Self { log, at, next, end, waiting: VecDeque::new() })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Stored>, Failure> {
        loop {
            if let Some(stored) = self.waiting.pop_front() {
                return Ok(Some(stored));
            }
            if self.next >= self.end {
                return Ok(None);
            }
            let fetched = self.log.fetch(self.at, self.next, FetchBounds::now()).await?;
            if let Some(until) = fetched.lost_until {
                return Err(Failure::Failed(format!("{} was trimmed up to {until} while it was read", self.at)));
            }
            if fetched.records.is_empty() && fetched.next == self.next {
                tokio::time::sleep(PAUSE).await;
            }
            self.next = fetched.next;
            self.waiting.extend(fetched.records);
        }
    }
}
