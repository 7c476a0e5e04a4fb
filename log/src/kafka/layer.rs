//! One consumer that is given partitions, and the thread that empties it into their streams.
//!
//! A consumer reads a partition at one place; readers at two places of one partition take two layers. Owns the
//! consumer; does not own who reads what (`fetcher`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fpaas_core::{Offset, Partition, TopicPartition, limits};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset as At, TopicPartitionList};
use tracing::{debug, warn};

use super::bootstrap::Bootstrap;
use super::config::KafkaConfig;
use super::context::{Quiet, Trouble};
use super::error::Failure;
use super::ffi::{self, Arrival, Inbox, Waker, What};
use super::record::Run;
use super::stream::{Ended, Flow, Stream};
use crate::{Error, Result};

/// How long the thread sleeps where nothing comes; it is woken by records and commands.
const SLEEP: Duration = Duration::from_millis(500);
/// How often streams that nobody reads are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// After so long without a reader a partition is let go of.
const IDLE: Duration = Duration::from_secs(20);

/// What one piece of memory holds of records that came one after the other, unless a single one is larger.
const RUN_BYTES: usize = 64 * 1024;

static LAYERS: AtomicU64 = AtomicU64::new(0);

type Streams = HashMap<TopicPartition, Arc<Stream>>;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Layer {
    id: u64,
    streams: Arc<Mutex<Streams>>,
    commands: Sender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Command {
    Read(Arc<Stream>),
    Leave(TopicPartition),
    Resume(TopicPartition),
    Stop,
}

impl Layer {
    pub(super) fn open(config: &KafkaConfig, trouble: &Trouble, name: &str) -> Result<Self> {
        let consumer: BaseConsumer<Quiet> = config
            .fetcher()
            .create_with_context(Quiet(trouble.clone()))
            .map_err(|error| Failure::from(error).of_cluster())?;
        ffi::serve_tokens(consumer.client());
        let inbox =
            Inbox::of(Arc::new(consumer)).ok_or_else(|| Error::Fatal("librdkafka gives no queue".to_owned()))?;
        let waker = inbox.waker().ok_or_else(|| Error::Fatal("librdkafka gives no queue".to_owned()))?;
        let (commands, received) = channel();
        let streams = Arc::<Mutex<Streams>>::default();
        let (bootstrap, assigned) = (Bootstrap::new(&config.brokers), HashMap::new());
        let work = Work { inbox, bootstrap, streams: Arc::clone(&streams), commands: received, assigned };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || work.run());
        let thread = spawned.map_err(|error| Error::Fatal(format!("no thread for reading: {error}")))?;
        let id = LAYERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, streams, commands, waker, thread: Some(thread) })
    }

    /// No other layer of this process has it.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// What it reads now.
    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.streams().values().cloned().collect()
    }

    /// Its readers look for another one. Always false: there is no more use for it.
    pub(super) fn abandon(&self) -> bool {
        self.streams().drain().for_each(|(_, stream)| stream.end(Ended::Moved));
        false
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream that it reads of this partition.
    pub(super) fn stream(&self, at: &TopicPartition) -> Option<Arc<Stream>> {
        self.streams().get(at).cloned()
    }

    /// True of a stream that it reads now.
    pub(super) fn has(&self, stream: &Stream) -> bool {
        self.streams().get(stream.at()).is_some_and(|ours| std::ptr::eq(&raw const **ours, stream))
    }

    /// Reads this partition from `from` on from now on, whatever it read of it before.
    pub(super) fn read(&self, at: &TopicPartition, from: Offset, end: Offset) -> Arc<Stream> {
        let stream = Arc::new(Stream::new(at.clone(), from, end));
        if let Some(before) = self.streams().insert(at.clone(), Arc::clone(&stream)) {
            before.end(Ended::Moved);
        }
        self.command(Command::Read(Arc::clone(&stream)));
        stream
    }

    /// Reads it no longer.
    pub(super) fn leave(&self, at: &TopicPartition, why: Ended) {
        if let Some(stream) = self.streams().remove(at) {
            stream.end(why);
            self.command(Command::Leave(at.clone()));
        }
    }

    /// A partition that was paused goes on, where it stopped.
    pub(super) fn resume(&self, at: &TopicPartition) {
        self.command(Command::Resume(at.clone()));
    }

    /// Leaves every partition of a topic.
    pub(super) fn leave_topic(&self, topic: &str) {
        let of: Vec<_> = self.streams().keys().filter(|at| &*at.topic == topic).cloned().collect();
        for at in of {
            let why = Ended::Failed(super::error::no_such(&at));
            self.leave(&at, why);
        }
    }

    fn command(&self, command: Command) {
        // The thread is gone only when the layer is.
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.command(Command::Stop);
        // Closing the consumer ends within its own deadlines; whoever drops the log does not wait for it.
        drop(self.thread.take());
    }
}

struct Work {
    inbox: Inbox<Quiet>,
    bootstrap: Bootstrap,
    streams: Arc<Mutex<Streams>>,
    commands: Receiver<Command>,
    /// What the consumer was given, by topic: found by a name that is not ours yet.
    assigned: HashMap<Arc<str>, HashMap<i32, Arc<Stream>>>,
}

impl Work {
    fn run(mut self) {
        let mut looked = Instant::now();
        loop {
            while let Ok(command) = self.commands.try_recv() {
                match command {
                    Command::Read(stream) => self.read(stream),
                    Command::Leave(at) => self.leave(&at),
                    Command::Resume(at) => self.resume(&at),
                    Command::Stop => return,
                }
            }
            self.take();
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.bootstrap.look(self.inbox.consumer().client());
                self.look();
            }
        }
    }

    /// Takes what there is. Records of one partition come one after the other, and are handed on so.
    fn take(&mut self) {
        let (assigned, inbox) = (&self.assigned, &mut self.inbox);
        let ahead_max = ahead_max(assigned.values().map(HashMap::len).sum());
        let (mut current, mut run, mut paused): (Option<Arc<Stream>>, Run, Vec<Arc<Stream>>) = Default::default();
        let mut hand_on = |stream: &Option<Arc<Stream>>, run: &mut Run| {
            if let Some(stream) = stream.as_ref().filter(|_| !run.is_empty())
                && stream.push(std::mem::take(run).into_records(), ahead_max) == Flow::Pause
            {
                paused.push(Arc::clone(stream));
            }
        };
        inbox.take(SLEEP, |Arrival { topic, partition, offset, what }| {
            let same = current.as_ref().is_some_and(|stream| is(stream, topic, partition));
            if !same {
                hand_on(&current, &mut run);
                current = assigned.get(topic).and_then(|of| of.get(&partition)).cloned();
            }
            let Some(stream) = &current else { return note(topic, partition, &what) };
            let offset = Offset(u64::try_from(offset).unwrap_or(0));
            match what {
                What::Record(raw) => {
                    run.push(offset, &raw);
                    // One record that is kept keeps the memory of its whole run.
                    if run.bytes() >= RUN_BYTES {
                        hand_on(&current, &mut run);
                    }
                }
                What::End => {
                    hand_on(&current, &mut run);
                    stream.reach_end(offset);
                }
                What::Failed(code) => {
                    hand_on(&current, &mut run);
                    fail(stream, code);
                }
            }
        });
        hand_on(&current, &mut run);
        paused.iter().for_each(|stream| self.pause(stream));
    }

    fn read(&mut self, stream: Arc<Stream>) {
        let at = stream.at().clone();
        self.leave(&at);
        let mut list = list(&at);
        let set = list.set_partition_offset(&at.topic, number(at.partition), raw(stream.next()));
        let given = set.and_then(|()| self.inbox.consumer().incremental_assign(&list));
        match given {
            Ok(()) => {
                self.assigned.entry(Arc::clone(&at.topic)).or_default().insert(number(at.partition), stream);
            }
            Err(error) => stream.end(Ended::Failed(Failure::from(error).on(&at.to_string()))),
        }
    }

    fn leave(&mut self, at: &TopicPartition) {
        let Some(of) = self.assigned.get_mut(&at.topic) else { return };
        let was = of.remove(&number(at.partition));
        if of.is_empty() {
            self.assigned.remove(&at.topic);
        }
        if was.is_some()
            && let Err(error) = self.inbox.consumer().incremental_unassign(&list(at))
        {
            warn!(%at, %error, "a partition could not be let go of");
        }
    }

    /// Lets go of the partition and keeps its stream. librdkafka's own pause goes on one record too far after an end of
    /// the partition (it counts that as a record), and stays with a partition that is let go of.
    fn pause(&mut self, stream: &Stream) {
        let ours = self.assigned.get(&stream.at().topic).and_then(|of| of.get(&number(stream.at().partition)));
        if ours.is_some_and(|ours| std::ptr::eq(&raw const **ours, stream)) {
            self.leave(&stream.at().clone());
        }
    }

    fn resume(&mut self, at: &TopicPartition) {
        let stream = self.streams.lock().unwrap_or_else(PoisonError::into_inner).get(at).cloned();
        let assigned = self.assigned.get(&at.topic).is_some_and(|of| of.contains_key(&number(at.partition)));
        if let Some(stream) = stream.filter(|_| !assigned) {
            self.read(stream);
        }
    }

    /// Lets go of what nobody reads.
    fn look(&mut self) {
        let mut idle = Vec::new();
        {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.retain(|at, stream| {
                stream.look();
                let keep = !stream.is_idle_for(IDLE);
                if !keep {
                    stream.end(Ended::Moved);
                    idle.push((at.clone(), Arc::clone(stream)));
                }
                keep
            });
        }
        for (at, stream) in idle {
            // A newer one may be on its way already.
            let ours = self.assigned.get(&at.topic).and_then(|of| of.get(&number(at.partition)));
            if ours.is_some_and(|ours| Arc::ptr_eq(ours, &stream)) {
                self.leave(&at);
            }
        }
    }
}

/// What may wait ahead of one stream's readers, where so many are read: all of them together are bounded.
fn ahead_max(streams: usize) -> usize {
    (limits::KAFKA_AHEAD_BYTES_MAX / streams.max(1)).clamp(limits::FETCH_BYTES_MAX / 4, 4 * limits::FETCH_BYTES_MAX)
}

fn is(stream: &Stream, topic: &str, partition: i32) -> bool {
    number(stream.at().partition) == partition && &*stream.at().topic == topic
}

fn fail(stream: &Stream, code: Code) {
    let at = stream.at();
    match code {
        // Below what is kept, or above what there is since an unclean election: look where it begins now. Gone, or not
        // known to a broker that has just come back: look whether it is there.
        Code::OffsetOutOfRange
        | Code::AutoOffsetReset
        | Code::NoOffset
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => stream.end(Ended::Moved),
        Code::TopicAuthorizationFailed => stream.end(Ended::Failed(Failure::of(code).on(&at.topic))),
        // librdkafka goes on trying.
        _ => debug!(%at, %code, "a partition cannot be read for a moment"),
    }
}

fn note(topic: &str, partition: i32, what: &What<'_>) {
    if let What::Failed(code) = what {
        debug!(topic, partition, %code, "Kafka");
    }
}

fn number(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

fn raw(offset: Offset) -> At {
    At::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX))
}

fn list(at: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&at.topic, number(at.partition));
    list
}
