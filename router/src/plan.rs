//! Decides what a run of records becomes. Pure: no I/O, no clock. Invariants: pure-decisions, key-order.

use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::invariant::{self, InvariantId};
use fpaas_core::{Offset, Timestamp, TopicPartition, limits};
use fpaas_expression::{Document, EvaluationError, Facts};
use fpaas_log::{Append, Stored};

use crate::delivery::Delivery;
use crate::undeliverable::{Instead, Undeliverable};
use crate::{Candidates, Index, Member};

/// Records of one source partition, in order, up to `next`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'r> {
    pub(crate) source: &'r TopicPartition,
    pub(crate) records: &'r [Stored],
    pub(crate) next: Offset,
    /// How many deliveries one transaction may make, but for the last record's.
    pub(crate) most: usize,
    /// Records below it were removed before they were read.
    pub(crate) lost_until: Option<Offset>,
    pub(crate) undeliverable: &'r Undeliverable,
    pub(crate) now: Timestamp,
}

/// What one transaction makes of them.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The deliveries, in order, and dead letters of records that cannot be delivered.
    pub(crate) deliveries: Vec<Append>,
    /// Where it ends: below the run's `next` when the run is more than a transaction takes.
    pub(crate) next: Offset,
    /// By the members' numbers.
    pub(crate) tallies: Vec<Tally>,
    /// Members whose delivery does not fit any more, and the record they are to have: it is the last one of the plan.
    pub(crate) deferred: Vec<(usize, Offset)>,
    /// By the members' numbers: what they have instead of deliveries.
    instead: Vec<(usize, Instead)>,
    /// As in the run.
    lost_until: Option<Offset>,
}

/// What happened to one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) matched: u64,
    pub(crate) errors: u64,
}

/// Routes `run` to the members of `index`, each from its offset in `from` on; [`NOBODY`] takes nothing.
pub(crate) fn route(run: Run<'_>, index: &Index, from: &[Offset]) -> Plan {
    let rising = run.records.is_sorted_by(|one, next| one.offset < next.offset);
    invariant::check(InvariantId::KeyOrder, rising, || format!("records of {} are not in order", run.source));
    let tallies = vec![Tally::default(); index.members().len()];
    let mut plan = Plan { tallies, lost_until: run.lost_until, ..Plan::nothing(run.next) };
    let (mut candidates, mut bytes) = (Candidates::default(), 0);
    for stored in run.records {
        if plan.deliveries.len() >= run.most || bytes >= limits::ROUTE_BYTES_MAX {
            plan.next = stored.offset;
            break;
        }
        let facts = Facts::of(stored.record.key.as_deref(), &stored.record.headers);
        let admitted = index.admitted(&facts, &mut candidates);
        if !admitted.is_empty() {
            bytes += plan.route_one(run, stored, admitted, index, from);
        }
        if !plan.deferred.is_empty() {
            plan.next = stored.offset.next();
            break;
        }
    }
    plan
}

/// The offset from which on a subscription that is not in the scan takes records: none.
pub(crate) const NOBODY: Offset = Offset(u64::MAX);

impl Plan {
    /// True when nothing but the position would change.
    pub(crate) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// One that only moves the position.
    pub(crate) const fn nothing(next: Offset) -> Self {
        Self {
            deliveries: Vec::new(),
            next,
            tallies: Vec::new(),
            deferred: Vec::new(),
            instead: Vec::new(),
            lost_until: None,
        }
    }

    /// Tells the subscriptions' counters: once, when the plan is carried out. It began at `position`.
    pub(crate) fn count(&self, members: &[Arc<Member>], from: &[Offset], position: Offset) {
        let lost_until = self.lost_until.map_or(Offset::ZERO, |until| until.min(self.next));
        for ((member, tally), from) in members.iter().zip(&self.tallies).zip(from) {
            if *tally != Tally::default() {
                member.counters.matched.add(tally.matched);
                member.counters.match_errors.add(tally.errors);
            }
            member.counters.lost.add(lost_until.0.saturating_sub(position.max(*from).0));
        }
        for (number, instead) in &self.instead {
            let Some(member) = members.get(*number) else { continue };
            match instead {
                Instead::DeadLetter | Instead::BareDeadLetter => member.counters.dead_letters.add(1),
                Instead::Nothing => member.counters.dropped.add(1),
            }
        }
    }

    /// Returns the bytes it added.
    fn route_one(&mut self, run: Run<'_>, stored: &Stored, admitted: &[u32], index: &Index, from: &[Offset]) -> usize {
        let mut value = Value::new(stored.record.value.as_ref());
        let (mut delivery, mut bytes) = (None, 0);
        for number in admitted.iter().map(|number| *number as usize) {
            let (Some(member), Some(from)) = (index.members().get(number), from.get(number)) else { continue };
            if stored.offset < *from {
                continue;
            }
            let Some(tally) = self.tallies.get_mut(number) else { continue };
            match value.is_match(member) {
                Ok(true) if bytes >= limits::ROUTE_RECORD_BYTES_MAX => self.deferred.push((number, stored.offset)),
                Ok(true) => {
                    tally.matched += 1;
                    let delivery = delivery.get_or_insert_with(|| Delivery::new(run.source, member.source, stored));
                    bytes += self.deliver(run, delivery, number, member);
                }
                Ok(false) => {}
                Err(_) => tally.errors += 1,
            }
        }
        bytes
    }

    /// The record, or what its subscription has instead. Returns the bytes it added.
    fn deliver(&mut self, run: Run<'_>, delivery: &Delivery<'_>, number: usize, member: &Member) -> usize {
        let too_large = delivery.is_too_large().then_some(Instead::DeadLetter);
        let instead = run.undeliverable.instead(delivery.offset(), member).or(too_large);
        self.instead.extend(instead.map(|instead| (number, instead)));
        let append = match instead {
            None => delivery.to(member),
            Some(Instead::DeadLetter) => delivery.dead_letter(member, run.now, limits::RECORD_BYTES_MAX),
            Some(Instead::BareDeadLetter) => {
                delivery.dead_letter(member, run.now, limits::DEAD_LETTER_HEADERS_BYTES_MAX)
            }
            Some(Instead::Nothing) => return 0,
        };
        let bytes = append.record.bytes();
        self.deliveries.push(append);
        bytes
    }
}

/// A record's value, parsed at the first `match` that asks for it and then shared by all of them.
struct Value<'r> {
    bytes: Option<&'r Bytes>,
    document: Option<Result<Document, EvaluationError>>,
}

impl<'r> Value<'r> {
    const fn new(bytes: Option<&'r Bytes>) -> Self {
        Self { bytes, document: None }
    }

    /// A record without a value is `null` to an expression.
    fn is_match(&mut self, member: &Member) -> Result<bool, EvaluationError> {
        let Some(expression) = member.filter.expression() else { return Ok(true) };
        let expression = expression.map_err(|error| EvaluationError::Failed(error.to_string()))?;
        let bytes = self.bytes.map_or(&b"null"[..], Bytes::as_ref);
        let document = self.document.get_or_insert_with(|| Document::parse(bytes));
        document.as_ref().map_err(Clone::clone).and_then(|document| expression.is_match(document))
    }
}

#[cfg(test)]
mod tests;
