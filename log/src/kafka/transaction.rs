//! One transaction on one producer: begin, produce, send offsets, wait until nothing is in flight, commit.
//!
//! Answers what became of it in a way that says what to do. Does not decide what is redone (`writer`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::{Offset, TopicPartition};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::config::{KafkaConfig, TRANSACTION_TIMEOUT};
use super::context::Quiet;
use super::error::Failure;
use super::ffi::{self, Delivered, GroupMetadata, NotTaken};
use super::offsets::{Offsets, Stuck};
use super::pace::{Batches, Pace};
use super::record;
use crate::{Append, Position};

/// How long what comes to the producer is waited for at a time; it is served as it comes. The crate's own commit serves
/// it in steps of 100 ms, and every transaction then takes as long.
const SERVE: Duration = Duration::from_millis(10);

/// How long the reports of an aborted transaction are waited for.
const BLAME: Duration = Duration::from_secs(1);

/// What became of a transaction that is not committed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undone {
    /// Rolled back: this record could not be appended.
    Record(usize, Code),
    /// Rolled back: the group has another generation or another member of our name by now.
    Stale(Code),
    /// Rolled back, and may go well later.
    Later(Failure),
    /// The producer was fenced by another one of its id.
    Fenced,
    /// Rolled back or never begun, and will not go well by itself.
    Never(Failure),
    /// Committed or rolled back: the producer is to be thrown away. These are the offsets, should it be committed.
    Unknown(Failure, Vec<Offset>),
    /// It is known now that it was rolled back: the same again.
    Redo,
}

impl Undone {
    /// Some partition has not taken a record in time.
    pub(super) fn is_late(&self) -> bool {
        match self {
            Self::Record(_, code) => *code == Code::MessageTimedOut,
            Self::Later(failed) => failed.code == Code::MessageTimedOut,
            _ => false,
        }
    }

    /// librdkafka gave the transaction up, and it may have done so for one topic of it.
    pub(super) fn is_given_up(&self) -> bool {
        let Self::Later(failed) = self else { return false };
        matches!(failed.code, Code::PurgeQueue | Code::PurgeInflight | Code::State | Code::TopicAuthorizationFailed)
    }

    /// A position could not be taken in, and may never be: its topic may be gone.
    pub(super) fn is_of_position(&self) -> bool {
        let Self::Later(failed) = self else { return false };
        matches!(failed.code, Code::UnknownTopicOrPartition | Code::OperationTimedOut)
    }
}

/// A producer that was initialised.
pub(super) struct Transactional {
    producer: Arc<BaseProducer<Reports>>,
    offsets: Offsets,
    /// Something did not end as it should have: another one is to be made, which ends what this one left.
    broken: AtomicBool,
}

impl std::fmt::Debug for Transactional {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactional").finish_non_exhaustive()
    }
}

type Step<T> = Result<T, Undone>;
/// Where positions are to be, and in whose name.
pub(super) type Moves = (Vec<(TopicPartition, Position)>, GroupMetadata);

impl Transactional {
    /// Initialises `id`: whatever its predecessor left open is ended, and the predecessor is fenced.
    pub(super) fn open(config: &KafkaConfig, id: &str, context: Quiet, stuck: &Stuck) -> Result<Self, Failure> {
        let producer: BaseProducer<Reports> = config.writer(id).create_with_context(Reports::new(context))?;
        ffi::serve_tokens(producer.client());
        producer.init_transactions(config.request_wait)?;
        let producer = Arc::new(producer);
        let offsets = Offsets::of(&producer, &config.brokers, stuck)?;
        Ok(Self { offsets, producer, broken: AtomicBool::new(false) })
    }

    /// Commits these records and offsets; the offsets of the records.
    pub(super) fn commit(&self, appends: &[&Append], positions: Option<Moves>, batches: &Batches) -> Step<Vec<Offset>> {
        if let Err(error) = self.producer.begin_transaction() {
            self.broken.store(true, Ordering::SeqCst);
            return Err(begun(&error));
        }
        let deadline = Instant::now() + TRANSACTION_TIMEOUT;
        let done = self.fill(appends, positions, Pace::of(appends, batches), deadline);
        match done {
            Ok(offsets) => match self.end(deadline) {
                Ok(()) => {
                    crashpoint::hit(Point::TransactionEnded);
                    Ok(offsets)
                }
                Err(failed) => Err(Undone::Unknown(failed, offsets)),
            },
            Err(undone) => {
                let undone = self.blame(self.abort(undone));
                // librdkafka counts on from what was refused: the next record to that partition would be out of order.
                if matches!(undone, Undone::Record(..)) {
                    self.broken.store(true, Ordering::SeqCst);
                }
                Err(undone)
            }
        }
    }

    /// A transaction that failed as a whole may have failed for one record.
    fn blame(&self, undone: Undone) -> Undone {
        if !matches!(undone, Undone::Later(_)) {
            return undone;
        }
        let deadline = Instant::now() + BLAME;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.serve(&mut Pace::default());
        }
        self.reports().culprit().map_or(undone, |(index, code)| Undone::Record(index, code))
    }

    fn fill(
        &self,
        appends: &[&Append],
        positions: Option<Moves>,
        mut pace: Pace,
        deadline: Instant,
    ) -> Step<Vec<Offset>> {
        let epoch = self.reports().begin(appends.len());
        self.hand_over(epoch, appends, &mut pace, deadline)?;
        if let Some((positions, group)) = positions.filter(|(positions, _)| !positions.is_empty()) {
            self.send_offsets(&positions, group, deadline)?;
        }
        // What has failed fails all of it: no further batch is begun then.
        while self.producer.in_flight_count() > 0 {
            self.serve(&mut pace);
            if Instant::now() > deadline {
                return Err(Undone::Later(Failure::of(Code::MessageTimedOut)));
            }
            if !self.reports().is_failed() {
                self.hand_over(epoch, appends, &mut pace, deadline)?;
            }
        }
        self.reports().take()
    }

    /// To each partition its next batch, where nothing is on its way there.
    fn hand_over(&self, epoch: u32, appends: &[&Append], pace: &mut Pace, deadline: Instant) -> Step<()> {
        while let Some(batch) = pace.next() {
            for index in batch.into_iter().map(|number| number as usize) {
                let Some(append) = appends.get(index) else { continue };
                self.produce(epoch, index, append, deadline, pace)?;
            }
        }
        Ok(())
    }

    /// Takes what came, or waits a moment for it.
    fn serve(&self, pace: &mut Pace) {
        ffi::deliveries(self.producer.client(), SERVE, |delivered| {
            if let Some(index) = self.reports().note(delivered) {
                pace.arrived(index);
            }
        });
    }

    fn reports(&self) -> &Reports {
        self.producer.client().context()
    }

    fn produce(&self, epoch: u32, index: usize, append: &Append, deadline: Instant, pace: &mut Pace) -> Step<()> {
        let Append { at, record } = append;
        let mut given = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&at.topic, opaque(epoch, index));
        given = given.partition(i32::try_from(at.partition.0).unwrap_or(i32::MAX));
        given.key = record.key.as_deref();
        given.payload = record.value.as_deref();
        given.timestamp = Some(record.timestamp.as_millis());
        given.headers = record::headers(record);
        loop {
            match self.producer.send(given) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), again)) if Instant::now() < deadline => {
                    self.serve(pace);
                    given = again;
                }
                Err((error, _)) => return Err(refused(index, &error)),
            }
        }
    }

    fn send_offsets(
        &self,
        positions: &[(TopicPartition, Position)],
        group: GroupMetadata,
        deadline: Instant,
    ) -> Step<()> {
        let list = offsets(positions).map_err(|error| Undone::Never(error.into()))?;
        let Some(sent) = self.offsets.send(list, group, deadline) else {
            self.broken.store(true, Ordering::SeqCst);
            return Err(Undone::Later(Failure::of(Code::OperationTimedOut)));
        };
        let broken = matches!(&sent, Err(failed) if !failed.is_answer());
        // They may still be on their way, and must not come into the next transaction: it has another epoch, if the
        // next one to initialise the id ends this one.
        self.broken.fetch_or(broken, Ordering::SeqCst);
        sent.map_err(|NotTaken { failure, fatal, .. }| match failure.code {
            code @ (Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::RebalanceInProgress
            | Code::FencedInstanceId) => Undone::Stale(code),
            _ if fatal => self::fatal(failure),
            code if lasting(code) => Undone::Never(failure),
            _ => Undone::Later(failure),
        })
    }

    /// From here on the outcome is the broker's: whatever is no success is not known.
    fn end(&self, deadline: Instant) -> Result<(), Failure> {
        crashpoint::hit(Point::TransactionOpen);
        loop {
            let wait = deadline.saturating_duration_since(Instant::now()).max(SERVE);
            let Err(error) = self.producer.commit_transaction(wait) else { return Ok(()) };
            let retriable = matches!(&error, KafkaError::Transaction(failed) if failed.is_retriable());
            if !retriable || Instant::now() >= deadline {
                return Err(error.into());
            }
        }
    }

    /// Rolls back. Where that fails the next one to initialise the id does it.
    fn abort(&self, undone: Undone) -> Undone {
        if matches!(undone, Undone::Fenced) || self.is_broken() {
            return undone;
        }
        // Its end is written to every partition of it, and one of them may have nobody to write it: the broker goes on
        // by itself, and we with another producer.
        let wait = if undone.is_late() { BLAME } else { TRANSACTION_TIMEOUT };
        let deadline = Instant::now() + wait;
        // What is in flight comes to an end only if it is served: this goes on where it was.
        let error = loop {
            match self.producer.abort_transaction(SERVE) {
                Ok(()) => return undone,
                Err(KafkaError::Transaction(failed)) if failed.is_retriable() && Instant::now() < deadline => {
                    self.serve(&mut Pace::default());
                }
                Err(error) => break error,
            }
        };
        // It would answer that this is still going on, for ever.
        self.broken.store(true, Ordering::SeqCst);
        match error {
            KafkaError::Transaction(failed) if failed.is_fatal() && is_fenced(failed.code()) => Undone::Fenced,
            _ => undone,
        }
    }

    /// True once nothing more can be done with it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst) || self.producer.client().fatal_error().is_some()
    }
}

fn begun(error: &KafkaError) -> Undone {
    match error {
        KafkaError::Transaction(failed) if failed.is_fatal() => fatal(error.clone().into()),
        _ => Undone::Later(error.clone().into()),
    }
}

fn fatal(failed: Failure) -> Undone {
    match failed.code {
        code if is_fenced(code) => Undone::Fenced,
        code if lasting(code) => Undone::Never(failed),
        _ => Undone::Later(failed),
    }
}

const fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

const fn lasting(code: Code) -> bool {
    matches!(
        code,
        Code::GroupAuthorizationFailed | Code::TransactionalIdAuthorizationFailed | Code::OffsetMetadataTooLarge
    )
}

fn refused(index: usize, error: &KafkaError) -> Undone {
    match error {
        KafkaError::MessageProduction(code) if is_fenced(*code) => Undone::Fenced,
        KafkaError::MessageProduction(code) if super::error::refusal(*code).is_some() => Undone::Record(index, *code),
        _ => Undone::Later(error.clone().into()),
    }
}

fn offsets(positions: &[(TopicPartition, Position)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (at, position) in positions {
        let mut element = list.add_partition(&at.topic, i32::try_from(at.partition.0).unwrap_or(i32::MAX));
        element.set_offset(rdkafka::Offset::Offset(i64::try_from(position.offset.0).unwrap_or(i64::MAX)))?;
        // Checked before: UTF-8.
        element.set_metadata(std::str::from_utf8(&position.metadata).unwrap_or_default());
    }
    Ok(list)
}

/// What the brokers said of each record of the transaction under way; reports of an aborted one come late and count
/// for nothing.
#[derive(Debug)]
pub(super) struct Reports {
    quiet: Quiet,
    of: Mutex<Of>,
}

#[derive(Debug, Default)]
struct Of {
    epoch: u32,
    reports: Vec<Option<Report>>,
    failed: bool,
}

/// The offset of a record, or why it has none.
type Report = Result<i64, Code>;

fn opaque(epoch: u32, index: usize) -> usize {
    ((epoch as usize) << 32) | index
}

impl Reports {
    pub(super) fn new(quiet: Quiet) -> Self {
        Self { quiet, of: Mutex::default() }
    }

    fn begin(&self, records: usize) -> u32 {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        *of = Of { epoch: of.epoch.wrapping_add(1), reports: vec![None; records], failed: false };
        of.epoch
    }

    /// Which record it is of; none of this transaction where `None`.
    fn note(&self, (opaque, report): Delivered) -> Option<usize> {
        let (epoch, index) = ((opaque >> 32) as u32, opaque & 0xffff_ffff);
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.epoch != epoch {
            return None;
        }
        of.failed |= report.is_err();
        *of.reports.get_mut(index)? = Some(report);
        Some(index)
    }

    fn is_failed(&self) -> bool {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).failed
    }

    /// The first record that could not be appended. One that was purged because another one failed is not it; one that
    /// waited in vain while others were taken is: its partition is not well, and theirs are.
    fn culprit(&self) -> Option<(usize, Code)> {
        let of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let others_were_taken = of.reports.iter().any(|report| matches!(report, Some(Ok(_))));
        of.reports.iter().enumerate().find_map(|(index, report)| match report {
            Some(Err(Code::MessageTimedOut)) => others_were_taken.then_some((index, Code::MessageTimedOut)),
            Some(Err(code)) => super::error::refusal(*code).map(|_| (index, *code)),
            _ => None,
        })
    }

    /// The offset of each record, or the first that failed.
    fn take(&self) -> Step<Vec<Offset>> {
        if let Some((index, code)) = self.culprit() {
            return Err(Undone::Record(index, code));
        }
        let reports = std::mem::take(&mut self.of.lock().unwrap_or_else(PoisonError::into_inner).reports);
        // What was not handed over any more, since another one had failed, has no report.
        let failed = reports.iter().find_map(|report| report.as_ref()?.as_ref().err().copied());
        match failed {
            Some(code) if is_fenced(code) => return Err(Undone::Fenced),
            Some(code) => return Err(Undone::Later(Failure::of(code))),
            None => {}
        }
        let mut offsets = Vec::with_capacity(reports.len());
        for report in reports {
            let Some(Ok(offset)) = report else { return Err(Undone::Later(Failure::of(Code::Partial))) };
            offsets.push(Offset(u64::try_from(offset).unwrap_or(0)));
        }
        Ok(offsets)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.quiet.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.quiet.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    /// Of a producer that is given back: nobody asks any more.
    fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
}
