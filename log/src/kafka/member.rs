//! A member of a group: the thread that owns its consumer, and what the group does to it, as messages.
//!
//! A rebalance is a callback of librdkafka on that thread. It becomes a message there, and the callback waits (bounded)
//! until the stage has let go. Owns the consumer; what is held is in `leases`. Invariant: one-owner.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use fpaas_core::limits;
use fpaas_core::partition::Slot;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::admin::Admin;
use super::bootstrap::Bootstrap;
use super::config::KafkaConfig;
use super::context::{self, Trouble};
use super::error::Failure;
use super::ffi::GroupMetadata;
use super::ghost::Place;
use super::leases::{Leases, WRITERS};
use super::unheld::Unheld;
use super::{fence, ffi};
use crate::{Ack, Error, Lease, LeaveGuard, Membership, MembershipEvent, Result};

/// How long the thread waits for the group at a time.
const POLL: Duration = Duration::from_millis(100);
/// How long leaving may take: the others notice at the latest when the session is over.
const LEAVE_WAIT: Duration = Duration::from_secs(3);

/// So much after its slots are given back the group knows.
const LEFT_AFTER: Duration = Duration::from_millis(200);

/// What a member's thread, its writers and its seat share.
pub(super) struct Member {
    pub(super) group: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) leases: Leases,
    stop: AtomicBool,
    /// What is held is not ours any more, and nobody else will say so: the thread gives the membership up.
    renounced: AtomicBool,
    consumer: Mutex<Weak<BaseConsumer<Rebalances>>>,
    writers: Mutex<Vec<String>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("group", &self.group).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Dropping it leaves the group.
#[derive(Debug)]
pub(super) struct Seat(pub(super) Arc<Member>);

impl LeaveGuard for Seat {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// What joining takes.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) admin: Arc<Admin>,
    pub(super) config: KafkaConfig,
    pub(super) trouble: Trouble,
    /// The next number of a lease: never the same twice, also over restarts.
    pub(super) next: Arc<AtomicU64>,
    /// What this member calls itself, and no other (`ghost`).
    pub(super) client_id: Arc<str>,
}

/// Where a member's stage hears of its slots, for as long as it listens.
type Voice = Arc<Mutex<Option<mpsc::Sender<MembershipEvent>>>>;

impl Member {
    pub(super) fn new(group: &str, name: &str) -> Arc<Self> {
        let group: Arc<str> = group.into();
        Arc::new(Self {
            leases: Leases::new(Arc::clone(&group)),
            group,
            name: name.into(),
            stop: AtomicBool::new(false),
            renounced: AtomicBool::new(false),
            consumer: Mutex::default(),
            writers: Mutex::default(),
            thread: Mutex::default(),
        })
    }

    /// Nothing more is committed from here on; the thread leaves the group and ends.
    pub(super) fn leave(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.leases.close();
    }

    /// Waits until it has left, but not for ever.
    pub(super) fn has_left(&self) {
        self.wait_until_left(Instant::now() + 2 * LEAVE_WAIT);
    }

    /// Waits until it has left, at most until `deadline`.
    fn wait_until_left(&self, deadline: Instant) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// True of one that is leaving, or has left.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Who the group says we are, as of now. `None` while we are no member.
    pub(super) fn metadata(&self) -> Option<GroupMetadata> {
        let consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner).upgrade()?;
        GroupMetadata::of(consumer.client())
    }

    /// A transaction under one of these leases was refused in the name of the group. Where the lease is held all the
    /// same, the group will not take it back: the membership is given up, and its stage told.
    pub(super) fn renounce<'l>(&self, mut refused: impl Iterator<Item = &'l Lease>) {
        let held = self.leases.read();
        if refused.any(|lease| held.holds(&self.group, lease)) {
            // Under the lock: none of these leases outlives its being heeded.
            self.renounced.store(true, Ordering::SeqCst);
        }
    }

    fn has_renounced(&self) -> bool {
        self.renounced.load(Ordering::SeqCst)
    }

    /// The number of the writer of this id: the first is the live one. `None` where there are too many.
    pub(super) fn seat_writer(&self, id: &str) -> Option<usize> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = writers.iter().position(|known| known == id) {
            return Some(number);
        }
        (writers.len() < WRITERS).then(|| {
            writers.push(id.to_owned());
            writers.len() - 1
        })
    }

    fn writers(&self) -> Vec<String> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Joins: slots come as messages.
pub(super) fn join(member: &Arc<Member>, joining: Joining) -> Result<Membership> {
    let (sender, events) = mpsc::channel(limits::MEMBER_EVENTS_MAX);
    let voice = Arc::new(Mutex::new(Some(sender)));
    let consumer = subscribe(member, &joining, &voice).map_err(|failed| failed.of_cluster())?;
    let (group, of) = (Arc::clone(&member.group), Arc::clone(member));
    let serve = move || {
        serve(&of, &joining, &voice, consumer);
        of.leave();
        hush(&voice);
    };
    let spawned = thread::Builder::new().name("kafka-member".to_owned()).spawn(serve);
    let thread = spawned.map_err(|error| Error::Fatal(format!("no thread for the group {group}: {error}")))?;
    *member.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(Membership::new(group, Arc::clone(&member.name), events, Box::new(Seat(Arc::clone(member)))))
}

/// All of them leave, side by side; waits until they have, within a bound.
pub(super) fn leave_all(members: &[Arc<Member>]) {
    members.iter().for_each(|member| member.leave());
    let deadline = Instant::now() + 2 * LEAVE_WAIT;
    members.iter().for_each(|member| member.wait_until_left(deadline));
}

/// A consumer that takes the member's place in its group.
fn subscribe(member: &Arc<Member>, joining: &Joining, voice: &Voice) -> Result<Arc<BaseConsumer<Rebalances>>, Failure> {
    let config = joining.config.member(&member.group, &member.name, &joining.client_id);
    let (member, voice) = (Arc::clone(member), Arc::clone(voice));
    let context =
        Rebalances { member, joining: joining.clone(), voice, over: AtomicBool::new(false), given: Mutex::default() };
    let consumer: BaseConsumer<Rebalances> = config.create_with_context(context)?;
    ffi::serve_tokens(consumer.client());
    consumer.subscribe(&[&joining.config.slots])?;
    Ok(Arc::new(consumer))
}

/// Why a consumer is not listened to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The member is to leave.
    Leaving,
    /// Its place is another's.
    Fenced,
    /// What it holds is of a membership that is over, and the group does not know it.
    Renounced,
}

/// Serves the group until the member leaves, or another process has its place.
fn serve(member: &Arc<Member>, joining: &Joining, voice: &Voice, mut consumer: Arc<BaseConsumer<Rebalances>>) {
    let mut unheld = Unheld::new(&joining.client_id);
    loop {
        *member.consumer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&consumer);
        let over = listen(member, &consumer, joining, &mut unheld);
        if over == Over::Leaving {
            member.leave();
            hush(voice);
            leave(&consumer);
            return close(consumer);
        }
        // Nothing is granted any more, nor said: what the group still gives to this one is the next one's.
        consumer.context().over.store(true, Ordering::SeqCst);
        *member.consumer.lock().unwrap_or_else(PoisonError::into_inner) = Weak::new();
        consumer.context().lose_all();
        if over == Over::Renounced {
            // Else what was to move to others would be nobody's: the next one is given the place as it was.
            leave(&consumer);
        }
        close(consumer);
        member.renounced.store(false, Ordering::SeqCst);
        let (group, name) = (&member.group, &member.name);
        info!(%group, member = %name, ?over, "this member's place may be another's: asking whose it is");
        // Also whoever was replaced in this process.
        let given_up = || member.stopped() || !member.leases.is_open();
        let place = Place { group, name, client_id: &joining.client_id, session: joining.config.session() };
        if given_up() || !place.is_ours(&joining.admin, given_up) {
            return info!(%group, member = %name, "another member of this name took its place");
        }
        match subscribe(member, joining, voice) {
            Ok(anew) => consumer = anew,
            Err(failed) => return warn!(%group, %failed, "the group cannot be joined again"),
        }
    }
}

/// Listens to the group for as long as there is something to hear.
fn listen(member: &Member, consumer: &BaseConsumer<Rebalances>, joining: &Joining, unheld: &mut Unheld) -> Over {
    let mut bootstrap = Bootstrap::new(&joining.config.brokers);
    while !member.stopped() {
        bootstrap.look(consumer.client());
        if let Some(Err(error)) = consumer.poll(POLL) {
            debug!(group = %member.group, %error, "a group says");
            if is_final(&error) {
                return Over::Fenced;
            }
        }
        if let Some(given) = consumer.context().rebalanced() {
            unheld.rebalanced(given);
        }
        let is_stuck = unheld.is_stuck(&joining.admin, &member.group, || member.leases.all().len());
        if is_stuck || member.has_renounced() || outlives(member, consumer) {
            return Over::Renounced;
        }
    }
    Over::Leaving
}

/// True where the consumer joined again by itself, under another id, and kept what it had: librdkafka revokes nothing
/// when it is told that it is unknown while it waits for something else (`rd_kafka_cgrp_revoke_all_rejoin_maybe`).
fn outlives(member: &Member, consumer: &BaseConsumer<Rebalances>) -> bool {
    let held = member.leases.read();
    !held.is_empty() && GroupMetadata::of(consumer.client()).is_some_and(|now| held.outlives(now.member_id()))
}

/// A writer may be asking it who we are, and must not be the one to close it.
fn close(consumer: Arc<BaseConsumer<Rebalances>>) {
    let began = Instant::now();
    while Arc::strong_count(&consumer) > 1 && began.elapsed() < LEAVE_WAIT {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Nothing more is told: the other side learns that this is the end.
fn hush(voice: &Voice) {
    *voice.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Leaves at once: a static member that only closes keeps its slots until its session is over (KIP-345), so it
/// unsubscribes first, and is polled until its slots are given back.
fn leave(consumer: &BaseConsumer<Rebalances>) {
    consumer.unsubscribe();
    let began = Instant::now();
    while began.elapsed() < LEAVE_WAIT {
        consumer.poll(Duration::from_millis(20));
        if consumer.assignment().is_ok_and(|left| left.count() == 0) {
            break;
        }
    }
    // The group is told only once the partitions have stopped, a little after they are given back.
    let given_back = Instant::now();
    while given_back.elapsed() < LEFT_AFTER {
        consumer.poll(Duration::from_millis(20));
    }
}

const fn is_final(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageConsumptionFatal(_) | KafkaError::MessageConsumption(Code::FencedInstanceId | Code::Fatal)
    )
}

/// The group's callbacks, on the member's thread.
pub(super) struct Rebalances {
    member: Arc<Member>,
    joining: Joining,
    voice: Voice,
    /// Another consumer comes in its place.
    over: AtomicBool,
    /// How many slots came with the last rebalance, where there was one.
    given: Mutex<Option<usize>>,
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        context::log(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::note(&self.joining.trouble, &error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let (slots, over) = (slots(list), self.over.load(Ordering::SeqCst));
        let done = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                // Before it is taken: from then on the consumer may join again, under another id.
                let given_to = if over { None } else { GroupMetadata::of(consumer.client()) };
                *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(slots.len());
                let assigned = consumer.incremental_assign(list);
                // Nothing is ever in them: fetching them would only keep the brokers busy.
                if let Err(error) = consumer.pause(list) {
                    debug!(%error, "slots could not be paused");
                }
                if !over {
                    self.assigned(&slots, given_to, consumer);
                }
                assigned
            }
            _ => {
                if !over {
                    self.revoked(&slots, consumer.assignment_lost() || outlives(&self.member, consumer));
                }
                consumer.incremental_unassign(list)
            }
        };
        if let Err(error) = done {
            warn!(group = %self.member.group, %error, "a rebalance could not be carried out");
        }
    }
}

impl Rebalances {
    /// How many slots came with a rebalance since this was asked last.
    fn rebalanced(&self) -> Option<usize> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn assigned(&self, slots: &[Slot], given_to: Option<GroupMetadata>, consumer: &BaseConsumer<Self>) {
        let Joining { admin, config, next, .. } = &self.joining;
        let member = &self.member;
        if slots.is_empty() {
            return;
        }
        let ours = member.writers();
        let given_up = || member.stopped() || consumer.assignment_lost();
        let counts = fence::settle(admin, config, &member.group, slots, &ours, given_up);
        let Some(counts) = counts.filter(|_| !given_up()) else { return };
        match (given_to, GroupMetadata::of(consumer.client())) {
            (Some(given_to), Some(now)) if given_to.member_id() == now.member_id() => {
                // Nobody holds what is given to us now.
                let before = member.leases.of(slots);
                if !before.is_empty() {
                    self.lose(before);
                }
                let leases = member.leases.grant(&counts, next, now.member_id());
                self.tell(MembershipEvent::Assigned(leases));
            }
            // Given to whom we are no more; librdkafka would keep it, and say nothing.
            _ => member.renounced.store(true, Ordering::SeqCst),
        }
    }

    fn revoked(&self, slots: &[Slot], lost: bool) {
        // Who has left lets go of nothing any more, and may be a writer's thread that holds the leases.
        if self.member.stopped() {
            return;
        }
        let leases = self.member.leases.of(slots);
        if leases.is_empty() {
            return;
        }
        if lost {
            return self.lose(leases);
        }
        let (ack, acknowledged) = Ack::new();
        self.tell(MembershipEvent::Revoked(leases.clone(), ack));
        if !waited(acknowledged, self.joining.config.revoke_wait, || self.member.stopped()) {
            warn!(group = %self.member.group, "revoked slots were not acknowledged in time: they are taken");
        }
        self.member.leases.revoke(&leases);
    }

    /// Everything that was held is another's.
    fn lose_all(&self) {
        let lost: Vec<Lease> = self.member.leases.all();
        if !lost.is_empty() {
            self.lose(lost);
        }
    }

    fn lose(&self, lost: Vec<Lease>) {
        self.member.leases.revoke(&lost);
        self.tell(MembershipEvent::Lost(lost));
    }

    /// A member that leaves so much unread is taken for one that does not listen: it is fenced.
    fn tell(&self, event: MembershipEvent) {
        let mut voice = self.voice.lock().unwrap_or_else(PoisonError::into_inner);
        let told = voice.as_ref().is_some_and(|events| events.try_send(event).is_ok());
        if !told {
            *voice = None;
            self.member.leave();
        }
    }
}

/// Waits on a thread of ours; false when it took too long.
fn waited(mut done: oneshot::Receiver<()>, wait: Duration, given_up: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < wait && !given_up() {
        match done.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => thread::sleep(Duration::from_millis(1)),
            Ok(()) | Err(oneshot::error::TryRecvError::Closed) => return true,
        }
    }
    given_up()
}

fn slots(list: &TopicPartitionList) -> Vec<Slot> {
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok().map(Slot)).collect()
}
