//! What follows from how a call ended: its batch is settled, event by event, or called again. Pure: time and jitter are
//! arguments (design §7).
//!
//! Does not own what an answer says ([`crate::response`]), how long a wait is ([`crate::retry`]) or what is written
//! ([`crate::plan`]).

use std::collections::BTreeMap;
use std::time::Duration;

use fpaas_core::subscription::{OnExhausted, OnFailure, Ordering, Retry};
use fpaas_core::{Message, Timestamp, limits};

use crate::response::{Action, Failure, OutputRecord, Reason, RefusedRecord, Results};
use crate::retry::{self, Next};
use crate::set::Retries;

/// About what a record takes beside its key, value and headers.
const RECORD_BYTES: usize = 128;
/// About what a dead letter's own headers take, but for the message.
const ERROR_BYTES: usize = 512;

/// What becomes of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// Results to write.
    pub(crate) records: Vec<OutputRecord>,
    /// Results that go nowhere: they are kept as dead letters.
    pub(crate) refused: Vec<RefusedRecord>,
    /// Events that are kept as dead letters.
    pub(crate) letters: Vec<(Vec<usize>, GivenUp)>,
    /// Events that are dropped, counted.
    pub(crate) dropped: Vec<usize>,
    /// How many results go nowhere and are not kept.
    pub(crate) dropped_results: usize,
    /// Events that are called with again, frozen anew.
    pub(crate) left: Vec<Left>,
    /// Which attempt it was.
    pub(crate) attempts: u32,
}

/// Events of a batch that make another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Their indices, in order.
    pub(crate) events: Vec<usize>,
    /// Not called before so long.
    pub(crate) wait: Duration,
    pub(crate) retries: Retries,
}

/// Why events were given up on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) failure: Failure,
    pub(crate) attempts: u32,
    pub(crate) first_failed: Timestamp,
    pub(crate) last_failed: Timestamp,
    /// Dead letters are not larger than this.
    pub(crate) bytes_max: usize,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This is written.
    Settled(Settlement),
    /// The same batch is called again after so long.
    Again(Duration, Retries),
}

/// The batch that was called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    /// How many events it has.
    pub(crate) events: usize,
    /// For each of them the first that has its key; empty where keys do not matter.
    pub(crate) keys: &'a [usize],
    /// With the attempt that is judged.
    pub(crate) retries: Retries,
    pub(crate) policy: &'a Retry,
    pub(crate) ordering: Ordering,
    /// Since it was frozen, or its subscription went on.
    pub(crate) elapsed: Duration,
    pub(crate) now: Timestamp,
    /// Uniform in 0..1.
    pub(crate) jitter: f64,
}

impl Settlement {
    /// The indices of the events that are done, of so many.
    pub(crate) fn done(&self, events: usize) -> Vec<usize> {
        let mut left: Vec<_> = self.left.iter().flat_map(|left| &left.events).copied().collect();
        left.sort_unstable();
        (0..events).filter(|index| left.binary_search(index).is_err()).collect()
    }

    /// About what of it is written beside its events themselves: results, and why events are dead letters.
    pub(crate) fn written_bytes(&self) -> usize {
        let fields = |headers: &[(String, String)]| {
            headers.iter().map(|(name, value)| name.len() + value.len() + RECORD_BYTES / 8).sum::<usize>()
        };
        let record = |key: Option<&String>, value: usize, headers: &[(String, String)]| {
            RECORD_BYTES + key.map_or(0, String::len) + value + fields(headers)
        };
        let records = self.records.iter().map(|of| record(of.key.as_ref(), of.value.len(), &of.headers));
        let refused = self
            .refused
            .iter()
            .map(|of| record(of.key.as_ref(), of.value.len(), &of.headers) + limits::DEAD_LETTER_HEADERS_BYTES_MAX);
        let letters = self
            .letters
            .iter()
            .map(|(events, given_up)| events.len() * (2 * RECORD_BYTES + ERROR_BYTES + given_up.failure.message.len()));
        records.chain(refused).chain(letters).sum()
    }

    /// Results that go nowhere: they are kept as dead letters, or not, as the policy says.
    pub(crate) fn refuse(&mut self, records: Vec<RefusedRecord>, on_exhausted: OnExhausted) {
        match on_exhausted {
            OnExhausted::Drop => self.dropped_results += records.len(),
            OnExhausted::DeadLetter | OnExhausted::Block => self.refused.extend(records),
        }
    }

    /// Nothing of it is done: the whole batch waits.
    fn is_nothing(&self, events: usize) -> bool {
        self.records.is_empty()
            && self.refused.is_empty()
            && matches!(&*self.left, [left] if left.events.len() == events)
    }
}

/// The batch was acknowledged with `results`, whose actions name these of its events.
pub(crate) fn answered(case: Case<'_>, results: Results, actions: &[(usize, Action)]) -> Verdict {
    let mut settled = Settlement { records: results.records, attempts: case.retries.attempts, ..Settlement::default() };
    settled.refuse(results.refused, case.policy.on_exhausted);
    let (mut rejected, mut exhausted, mut again) = (Vec::new(), Vec::new(), BTreeMap::<Duration, Vec<usize>>::new());
    for (index, action) in actions {
        match action {
            Action::Ack => {}
            Action::Reject => rejected.push(*index),
            Action::Retry(delay) => match next(case, &asked(*delay)) {
                Next::Again(wait) => again.entry(wait).or_default().push(*index),
                Next::GiveUp => exhausted.push(*index),
            },
        }
    }
    let reject = Failure { retryable: false, ..Failure::new(Reason::Rejected, "the endpoint rejected the event") };
    give_up(&mut settled, case, rejected, reject);
    give_up(&mut settled, case, exhausted, asked(None));
    settled.left = left(case, again);
    match &*settled.left {
        // The same set is the same batch.
        [only] if settled.is_nothing(case.events) => Verdict::Again(only.wait, only.retries),
        _ => Verdict::Settled(settled),
    }
}

/// The call failed.
pub(crate) fn failed(case: Case<'_>, failure: Failure) -> Verdict {
    let halves = halves(case.policy, case.events, &failure);
    let next = if halves { bisected(case, &failure) } else { next(case, &failure) };
    match next {
        Next::Again(wait) if halves => {
            let mut all: Vec<_> = (0..case.events).collect();
            let second = all.split_off(case.events.div_ceil(2));
            let half = |events| Left { events, wait, retries: failing(case) };
            Verdict::Settled(Settlement {
                left: [all, second].map(half).into(),
                attempts: case.retries.attempts,
                ..Settlement::default()
            })
        }
        Next::Again(wait) => Verdict::Again(wait, failing(case)),
        Next::GiveUp => {
            let mut settled = Settlement { attempts: case.retries.attempts, ..Settlement::default() };
            give_up(&mut settled, case, (0..case.events).collect(), failure);
            Verdict::Settled(settled)
        }
    }
}

/// Nothing of the batch can be sent: see [`without`].
pub(crate) fn unsent(case: Case<'_>) -> Verdict {
    Verdict::Settled(Settlement { attempts: case.retries.attempts, ..Settlement::default() })
}

/// The events that the body does not have are given up on with whatever is settled, as what the subscription's
/// expression has made of them. Where the same batch is called again, they wait with it.
pub(crate) fn without(verdict: Verdict, case: Case<'_>, unsendable: &[(usize, Message)]) -> Verdict {
    let Verdict::Settled(mut settled) = verdict else { return verdict };
    let is_sent = |index: &usize| unsendable.binary_search_by_key(index, |(at, _)| *at).is_err();
    settled.letters.iter_mut().for_each(|(events, _)| events.retain(is_sent));
    settled.letters.retain(|(events, _)| !events.is_empty());
    settled.dropped.retain(is_sent);
    settled.left.iter_mut().for_each(|left| left.events.retain(is_sent));
    settled.left.retain(|left| !left.events.is_empty());
    let mut by_message = BTreeMap::<&str, Vec<usize>>::new();
    unsendable.iter().for_each(|(index, why)| by_message.entry(why).or_default().push(*index));
    for (why, events) in by_message {
        give_up(&mut settled, case, events, Failure { retryable: false, ..Failure::new(Reason::PayloadFailed, why) });
    }
    Verdict::Settled(settled)
}

/// True where a batch that failed so is called again in halves.
pub(crate) fn halves(policy: &Retry, events: usize, failure: &Failure) -> bool {
    policy.on_failure == OnFailure::Bisect && events > 1 && blames_the_batch(failure)
}

/// True of failures that a smaller batch may not have: those of an endpoint that is away or overloaded say nothing of
/// what it was sent.
fn blames_the_batch(failure: &Failure) -> bool {
    match failure.reason {
        Reason::Status => !matches!(failure.status, Some(408 | 429 | 503)),
        Reason::BadResponse | Reason::Cut | Reason::Timeout => true,
        _ => false,
    }
}

/// A half of the batch may go through although the whole never will. It is tried after the first backoff, since the
/// batch is to blame and not the endpoint, and however old it is: halving ends by itself.
fn bisected(case: Case<'_>, failure: &Failure) -> Next {
    let failure = Failure { retryable: true, reason: Reason::Status, status: None, ..failure.clone() };
    retry::next(case.policy, &failure, 1, Duration::ZERO, case.jitter)
}

/// The endpoint wants to be called with an event again.
fn asked(delay: Option<Duration>) -> Failure {
    Failure { retry_after: delay, ..Failure::new(Reason::Retry, "the endpoint asked for the event once more") }
}

fn next(case: Case<'_>, failure: &Failure) -> Next {
    retry::next(case.policy, failure, case.retries.attempts, case.elapsed, case.jitter)
}

/// Its attempts, one of which has failed by now.
pub(crate) fn failing(case: Case<'_>) -> Retries {
    Retries { first_failed: case.retries.first_failed.or(Some(case.now)), ..case.retries }
}

/// What is left over, by when it is due: in no more batches than the limit says, and in one where the lane waits for
/// all of it anyway.
fn left(case: Case<'_>, again: BTreeMap<Duration, Vec<usize>>) -> Vec<Left> {
    let mut again = together(case.keys, again);
    let most = if case.ordering == Ordering::Partition { 1 } else { limits::LEFTOVER_BATCHES_MAX };
    while again.len() > most {
        // The two that are due last become one.
        let Some((wait, mut events)) = again.pop_last() else { break };
        // None waits shorter than it asked for.
        if let Some((_, others)) = again.pop_last() {
            events.extend(others);
            events.sort_unstable();
        }
        again.insert(wait, events);
    }
    again.into_iter().map(|(wait, events)| Left { events, wait, retries: failing(case) }).collect()
}

/// Events of a key are due together, when the last of them is: otherwise one would overtake another. Invariant:
/// key-order.
fn together(keys: &[usize], again: BTreeMap<Duration, Vec<usize>>) -> BTreeMap<Duration, Vec<usize>> {
    let key = |index: usize| keys.get(index).copied().unwrap_or(index);
    let mut due: BTreeMap<usize, Duration> = BTreeMap::new();
    for (wait, events) in &again {
        // In the order of their times: the last one counts.
        due.extend(events.iter().map(|index| (key(*index), *wait)));
    }
    let mut together: BTreeMap<Duration, Vec<usize>> = BTreeMap::new();
    for (wait, events) in again {
        for index in events {
            together.entry(due.get(&key(index)).copied().unwrap_or(wait)).or_default().push(index);
        }
    }
    together.values_mut().for_each(|events| events.sort_unstable());
    together
}

/// What the policy makes of them. `block` is for failures that may pass: what can only fail again is kept instead.
fn give_up(settled: &mut Settlement, case: Case<'_>, events: Vec<usize>, failure: Failure) {
    if events.is_empty() {
        return;
    }
    match case.policy.on_exhausted {
        OnExhausted::Drop => settled.dropped.extend(events),
        OnExhausted::DeadLetter | OnExhausted::Block => {
            settled.letters.push((events, GivenUp::now(case.retries, failure, case.now)));
        }
    }
}

impl GivenUp {
    /// At its last attempt, which failed now.
    pub(crate) fn now(retries: Retries, failure: Failure, now: Timestamp) -> Self {
        Self {
            failure,
            attempts: retries.attempts,
            first_failed: retries.first_failed.unwrap_or(now),
            last_failed: now,
            bytes_max: limits::RECORD_BYTES_MAX,
        }
    }
}

#[cfg(test)]
mod tests;
