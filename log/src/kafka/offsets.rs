//! Positions that a transaction takes in, on a thread of their own: librdkafka asks the group's coordinator without a
//! deadline (`rd_kafka_send_offsets_to_transaction`, 2.12), and whoever commits holds leases meanwhile.
//!
//! A call that does not come back keeps its producer, which can do nothing else any more, until it does: at the latest
//! when the coordinator answers that another producer of its id has come since. How many of a writer may is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::warn;

use super::bootstrap::Bootstrap;
use super::error::Failure;
use super::ffi::{self, GroupMetadata, NotTaken};
use super::transaction::Reports;

/// How many calls of one writer may not have come back; it gets no producer until there are fewer.
const STUCK_MAX: isize = 4;
/// What librdkafka is given to answer by itself, within what we wait.
const MARGIN: Duration = Duration::from_millis(200);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(2);
/// How often it is looked whether who asks knows anybody to ask.
const LOOK: Duration = Duration::from_secs(1);

/// Calls of a writer that nobody waits for any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Stuck(Arc<AtomicIsize>);

/// The thread that makes the calls of one producer; it ends with it.
pub(super) struct Offsets {
    producer: Arc<BaseProducer<Reports>>,
    brokers: String,
    calls: SyncSender<Call>,
    stuck: Stuck,
}

struct Call {
    offsets: TopicPartitionList,
    group: GroupMetadata,
    deadline: Instant,
    answer: SyncSender<Result<(), NotTaken>>,
    /// Set by whichever side is done with it first.
    over: Arc<AtomicBool>,
}

impl Offsets {
    pub(super) fn of(producer: &Arc<BaseProducer<Reports>>, brokers: &str, stuck: &Stuck) -> Result<Self, Failure> {
        if stuck.0.load(Ordering::SeqCst) >= STUCK_MAX {
            return Err(Failure::of(Code::InProgress).saying("the group's coordinator answers nothing"));
        }
        let (calls, received) = sync_channel(1);
        let (serving, counted) = (Arc::clone(producer), stuck.clone());
        let serve = move || serve(&serving, &received, &counted);
        let spawned = thread::Builder::new().name("kafka-offsets".to_owned()).spawn(serve);
        spawned.map_err(|error| Failure::of(Code::Fail).saying(format!("no thread for positions: {error}")))?;
        Ok(Self { producer: Arc::clone(producer), brokers: brokers.to_owned(), calls, stuck: stuck.clone() })
    }

    /// `None` where it is not known at `deadline`: then nothing more can be done with the producer.
    pub(super) fn send(
        &self,
        offsets: TopicPartitionList,
        group: GroupMetadata,
        deadline: Instant,
    ) -> Option<Result<(), NotTaken>> {
        let (answer, answered) = sync_channel(1);
        let over = Arc::new(AtomicBool::new(false));
        self.calls.send(Call { offsets, group, deadline, answer, over: Arc::clone(&over) }).ok()?;
        let mut bootstrap = Bootstrap::new(&self.brokers);
        let sent = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match answered.recv_timeout(left.min(LOOK)) {
                Ok(sent) => break Some(sent),
                Err(RecvTimeoutError::Timeout) if left > LOOK => bootstrap.look(self.producer.client()),
                Err(_) => break None,
            }
        };
        if !over.swap(true, Ordering::SeqCst) {
            let stuck = self.stuck.0.fetch_add(1, Ordering::SeqCst) + 1;
            warn!(stuck, "the group's coordinator has not answered in time: going on with another producer");
            self.look_after(answered, bootstrap);
        }
        sent
    }

    /// Until the call comes back: a producer that knows nobody asks nobody.
    fn look_after(&self, answered: Receiver<Result<(), NotTaken>>, mut bootstrap: Bootstrap) {
        let producer = Arc::clone(&self.producer);
        let looked = thread::Builder::new().name("kafka-stuck".to_owned()).spawn(move || {
            while matches!(answered.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
                bootstrap.look(producer.client());
            }
        });
        if let Err(error) = looked {
            warn!(%error, "no thread to look after a producer");
        }
    }
}

impl std::fmt::Debug for Offsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offsets").field("stuck", &self.stuck).finish_non_exhaustive()
    }
}

fn serve(producer: &BaseProducer<Reports>, received: &Receiver<Call>, stuck: &Stuck) {
    while let Ok(Call { offsets, group, deadline, answer, over }) = received.recv() {
        let sent = loop {
            let wait = deadline.saturating_duration_since(Instant::now()).saturating_sub(MARGIN);
            let sent = ffi::send_offsets(producer.client(), &offsets, &group, wait);
            let again = matches!(&sent, Err(failed) if failed.retriable && !failed.fatal);
            if !again || wait.is_zero() {
                break sent;
            }
            thread::sleep(PAUSE);
        };
        if over.swap(true, Ordering::SeqCst) {
            stuck.0.fetch_sub(1, Ordering::SeqCst);
        }
        // Whoever has given up on it may have gone away.
        drop(answer.send(sent));
    }
}
