//! Positions that a transaction takes in, on a thread of their own: librdkafka asks the group's coordinator without a
//! deadline (`rd_kafka_send_offsets_to_transaction`, 2.12), and whoever commits holds leases meanwhile.
//!
//! A call that does not come back keeps its producer, which can do nothing else any more, until it does: at the latest
//! when the coordinator answers that another producer of its id has come since. How many may is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::warn;

use super::error::Failure;
use super::ffi::{self, GroupMetadata, NotTaken};
use super::transaction::Reports;

/// How many calls of one process may not have come back; no producer is made until there are fewer.
const STUCK_MAX: isize = 16;
/// What librdkafka is given to answer by itself, within what we wait.
const MARGIN: Duration = Duration::from_millis(200);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(2);

/// Calls that nobody waits for any more.
static STUCK: AtomicIsize = AtomicIsize::new(0);

/// The thread that makes the calls of one producer; it ends with it.
#[derive(Debug)]
pub(super) struct Offsets {
    calls: SyncSender<Call>,
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
    pub(super) fn of(producer: &Arc<BaseProducer<Reports>>) -> Result<Self, Failure> {
        if STUCK.load(Ordering::SeqCst) >= STUCK_MAX {
            return Err(Failure::of(Code::InProgress).saying("the group's coordinator answers nothing"));
        }
        let (calls, received) = sync_channel(1);
        let producer = Arc::clone(producer);
        let spawned =
            thread::Builder::new().name("kafka-offsets".to_owned()).spawn(move || serve(&producer, &received));
        spawned.map_err(|error| Failure::of(Code::Fail).saying(format!("no thread for positions: {error}")))?;
        Ok(Self { calls })
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
        let sent = answered.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        if !over.swap(true, Ordering::SeqCst) {
            let stuck = STUCK.fetch_add(1, Ordering::SeqCst) + 1;
            warn!(stuck, "the group's coordinator has not answered in time: going on with another producer");
        }
        sent.ok()
    }
}

fn serve(producer: &BaseProducer<Reports>, received: &Receiver<Call>) {
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
            STUCK.fetch_sub(1, Ordering::SeqCst);
        }
        // Whoever has given up on it may have gone away.
        drop(answer.send(sent));
    }
}
