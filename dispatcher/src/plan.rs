//! What a lane writes in one transaction, as data: batches that are done, events that are parked, batches that are
//! frozen, and the position after all of it.
//!
//! Does not own when it is made ([`crate::lane`]) or how it is committed ([`crate::commit`]). Invariant:
//! offsets-with-effects: what a call has brought, and that its events are done, are in the same transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::event::header;
use fpaas_core::subscription::OnExhausted;
use fpaas_core::{BatchId, Headers, HeadersBuilder, Offset, Timestamp, TopicName, TopicPartition, limits, partition};
use fpaas_log::{Record, Transaction};
use fpaas_state::rows::{self, AlertedRow, DoneRow, FailingRow, RetryRow};
use fpaas_state::{Cause, Counters, Happened, Mutations, SystemEvent};

use crate::body::Delivery;
use crate::error::Step;
use crate::freeze::{Batch, Freezing};
use crate::redrive::Portion;
use crate::reports::{self, Reports};
use crate::response::{Failure, OutputRecord, Reason, RefusedRecord};
use crate::set::Retries;
use crate::settle::{GivenUp, Settlement};
use crate::site::Site;
use crate::window::Ranges;

/// In `fpaas.error.stage`.
const STAGE: &str = "dispatcher";

/// Where things go in the log.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Results: full name and number of partitions, by the tenant's name.
    pub(crate) results: BTreeMap<TopicName, (String, u32)>,
    pub(crate) reports: reports::Places,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) finishes: Vec<Finish>,
    /// Events that are parked from here on.
    pub(crate) parks: Vec<Delivery>,
    /// What is new of how often batches were called, by their first offsets.
    pub(crate) retries: Vec<(Offset, RetryRow)>,
    pub(crate) freezes: Vec<Freezing>,
    /// Since when its calls do nothing but fail, where that is news.
    pub(crate) failing: Option<Option<FailingRow>>,
    /// What its tenant is told with it.
    pub(crate) reports: Reports,
    /// What its tenant was told then, where that is news.
    pub(crate) alerted: Option<AlertedRow>,
    /// Dead letters that are delivered again.
    pub(crate) redrive: Option<Portion>,
    /// Rows of done offsets that the position has passed, by their first offsets.
    pub(crate) passed: Vec<Offset>,
    /// After all of it.
    pub(crate) position: Offset,
    /// Beside the position: by it, this transaction is found again.
    pub(crate) mark: Bytes,
    bytes: usize,
}

/// A batch that is done, but for what is left over of it.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) batch: Arc<Batch>,
    /// Its events have rows of their own.
    pub(crate) parked: bool,
    pub(crate) settlement: Settlement,
    /// The indices of its events that are done.
    pub(crate) done: Vec<usize>,
    /// Their offsets, where the position has not passed them.
    pub(crate) above: Option<Ranges>,
}

impl Finish {
    /// For the board and `/metrics`.
    pub(crate) fn count(&self, counters: &Counters) {
        let settlement = &self.settlement;
        let letters: usize = settlement.letters.iter().map(|(events, _)| events.len()).sum();
        let dropped = settlement.dropped.len();
        counters.acknowledged.add((self.done.len() - letters - dropped) as u64);
        counters.results.add(settlement.records.len() as u64);
        counters.dead_letters.add((letters + settlement.refused.len()) as u64);
        counters.dropped.add((dropped + settlement.dropped_results) as u64);
    }
}

impl Plan {
    /// True where it would change nothing but the position.
    pub(crate) const fn is_empty(&self) -> bool {
        let (done, begun) = (self.finishes.is_empty() && self.parks.is_empty(), self.freezes.is_empty());
        done && begun && self.retries.is_empty() && self.redrive.is_none() && self.alerted.is_none()
    }

    /// True where its tenant is to be told of something that happens.
    pub(crate) fn tells(&self) -> bool {
        let gives_up = |finish: &Finish| !finish.settlement.letters.is_empty() || !finish.settlement.refused.is_empty();
        !self.reports.events.is_empty() || self.finishes.iter().any(gives_up)
    }

    /// True where so many bytes more are too many for one transaction. The first ones always fit.
    pub(crate) fn is_full_with(&self, bytes: usize) -> bool {
        !self.is_empty() && self.bytes + bytes > limits::TRANSACTION_BYTES_MAX / 2
    }

    /// How many bytes more go into it.
    pub(crate) const fn room(&self) -> usize {
        (limits::TRANSACTION_BYTES_MAX / 2 + limits::BATCH_RECORD_BYTES_MAX).saturating_sub(self.bytes)
    }

    /// So many bytes are in it.
    pub(crate) const fn note_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// New batches are frozen now and not when they were planned.
    pub(crate) fn freeze_anew(&mut self, now: Timestamp) {
        for freezing in self.freezes.iter_mut().filter(|freezing| freezing.fresh) {
            freezing.row.frozen_at = now;
        }
    }

    /// Results that cannot go to `topic` become dead letters, or what the policy says; everything else stays. The
    /// failure, for each batch that had some.
    pub(crate) fn refuse(&mut self, topic: &TopicName, why: &str, policy: OnExhausted) -> Vec<(Failure, u32)> {
        let mut failures = Vec::new();
        for Finish { settlement, .. } in &mut self.finishes {
            let (refused, kept) =
                std::mem::take(&mut settlement.records).into_iter().partition(|of| of.topic == *topic);
            settlement.records = kept;
            let refused: Vec<OutputRecord> = refused;
            if !refused.is_empty() {
                failures.push((not_taken(why), settlement.attempts));
            }
            let refused = refused.into_iter().map(|OutputRecord { key, value, headers, .. }| {
                let why = why.to_owned();
                RefusedRecord { key, value, headers, why }
            });
            settlement.refuse(refused.collect(), policy);
        }
        failures
    }

    /// Dead letters that a log with lower limits than ours takes, or nothing where it takes none: the lane goes on.
    /// False where there are none.
    pub(crate) fn shrink_letters(&mut self) -> bool {
        let mut some = false;
        for Finish { settlement, .. } in &mut self.finishes {
            for (events, given_up) in std::mem::take(&mut settlement.letters) {
                some = true;
                match smaller(given_up) {
                    Some(smaller) => settlement.letters.push((events, smaller)),
                    None => settlement.dropped.extend(events),
                }
            }
            some |= !settlement.refused.is_empty();
            settlement.dropped_results += std::mem::take(&mut settlement.refused).len();
        }
        some
    }

    /// All of it, as the log takes it.
    pub(crate) fn transaction(&self, site: &Site, places: &Places) -> Step<(Transaction, Mutations, Vec<Bytes>)> {
        let mut writing = Writing {
            site,
            now: site.shared.context.clock.now(),
            transaction: Transaction::under(&site.lease),
            mutations: Mutations::default(),
        };
        for finish in &self.finishes {
            writing.finish(finish, places)?;
        }
        for event in &self.parks {
            writing.put(rows::PARKED, event.offset, Some(rows::parked::encode(&event.record)));
        }
        let mut frozen = Vec::with_capacity(self.freezes.len());
        for freezing in &self.freezes {
            let row = rows::encode(&freezing.row)?;
            frozen.push(row.clone());
            writing.put(rows::BATCH, freezing.first(), Some(row));
            if let Some((retries, due)) = &freezing.retries {
                writing.put(
                    rows::RETRY,
                    freezing.first(),
                    Some(rows::encode(&Retries::row(retries, *due, site.current().revision))?),
                );
            }
        }
        for (first, row) in &self.retries {
            writing.put(rows::RETRY, *first, Some(rows::encode(row)?));
        }
        if let Some(row) = &self.failing {
            writing.put(rows::FAILING, Offset::ZERO, row.as_ref().map(rows::encode).transpose()?);
        }
        if let Some(row) = &self.alerted {
            writing.put(rows::ALERTED, Offset::ZERO, Some(rows::encode(row)?));
        }
        for first in &self.passed {
            writing.put(rows::DONE, *first, None);
        }
        if let Some(portion) = &self.redrive {
            writing.redrive(portion)?;
        }
        for (at, record) in places.reports.records(&self.reports, writing.now) {
            writing.transaction.append(at, record);
        }
        let Writing { mut transaction, mutations, .. } = writing;
        transaction.advance(site.at.clone(), self.position, self.mark.clone());
        Ok((transaction, mutations, frozen))
    }
}

struct Writing<'a> {
    site: &'a Site,
    now: Timestamp,
    transaction: Transaction,
    mutations: Mutations,
}

impl Writing<'_> {
    fn finish(&mut self, finish: &Finish, places: &Places) -> Step<()> {
        let Finish { batch, settlement, .. } = finish;
        for record in &settlement.records {
            let Some((topic, partitions)) = places.results.get(&record.topic) else { continue };
            let at = TopicPartition::new(topic.as_str(), result_partition(&batch.id, record, *partitions));
            self.transaction.append(at, result(&batch.id, record, self.now));
        }
        let mut told = BTreeMap::new();
        for (events, given_up) in &settlement.letters {
            let error = error_headers(&batch.id, given_up);
            for event in events.iter().filter_map(|index| batch.events.get(*index)) {
                self.letter(&event.record, &error, given_up.bytes_max);
            }
            let of = told.entry((given_up.failure.reason.as_str(), given_up.failure.status)).or_insert((0, given_up));
            of.0 += events.len();
        }
        for (count, given_up) in told.into_values() {
            self.tell(&batch.id, count, given_up, places);
        }
        let mut refused_results = std::iter::once(settlement.refused.len());
        for refused in &settlement.refused {
            let given_up = GivenUp::now(
                Retries { attempts: settlement.attempts, first_failed: None },
                not_taken(&refused.why),
                self.now,
            );
            let error = error_headers(&batch.id, &given_up);
            self.letter(&refused_result(&batch.id, refused, self.now), &error, given_up.bytes_max);
            if let Some(others) = refused_results.next() {
                self.tell(&batch.id, others, &given_up, places);
            }
        }
        self.put(rows::BATCH, batch.first, None);
        self.remove_if_there(rows::RETRY, batch.first);
        if finish.parked {
            for event in finish.done.iter().filter_map(|index| batch.events.get(*index)) {
                self.put(rows::PARKED, event.offset, None);
            }
        }
        if let Some(offsets) = &finish.above
            && let Some((first, _)) = offsets.first()
        {
            self.put(rows::DONE, *first, Some(rows::encode(&DoneRow { offsets: offsets.clone() })?));
        }
        Ok(())
    }

    /// Dead letters stand in the lane's deliveries again, as they were. What is known of an earlier redrive goes.
    fn redrive(&mut self, portion: &Portion) -> Step<()> {
        for record in portion.again() {
            let record = Record { timestamp: self.now, ..record.clone() };
            self.transaction.append(self.site.at.clone(), record);
        }
        let key = rows::redrive_key(&self.site.at, portion.since());
        let earlier = self.site.rows(rows::REDRIVE).into_iter().filter(|(other, _)| *other < key);
        let (tables, slot) = (&self.site.shared.tables, self.site.lease.slot);
        for (other, _) in earlier {
            tables.remove(&mut self.transaction, &mut self.mutations, slot, other, self.now);
        }
        tables.put(&mut self.transaction, &mut self.mutations, slot, key, &portion.row(), self.now)?;
        Ok(())
    }

    fn letter(&mut self, record: &Record, error: &Headers, bytes_max: usize) {
        let entry = self.site.current();
        let topics = &self.site.shared.context.topics;
        let topic = topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation);
        let at = TopicPartition::new(topic, self.site.at.partition.0);
        self.transaction.append(at, fpaas_state::dead_letter(record, error, self.now, bytes_max));
    }

    /// Says that so many dead letters were written. Of a subscription that reads `system` that is not said there: it
    /// would be told of itself for ever.
    fn tell(&mut self, batch: &BatchId, count: usize, given_up: &GivenUp, places: &Places) {
        let entry = self.site.current();
        let Some(at) = places.reports.system.as_ref().filter(|_| !entry.config.source.topic.is_system()) else {
            return;
        };
        let GivenUp { failure, attempts, .. } = given_up;
        let what = Happened::dead_letters(batch, count, failure.reason.as_str(), failure.status, *attempts);
        let event = SystemEvent { time: self.now, ..reports::event(self.site, what, failure.message.clone()) };
        self.transaction.append(at.clone(), event.record());
    }

    fn remove_if_there(&mut self, table: &str, offset: Offset) {
        if self.site.shared.tables.get_bytes(self.site.lease.slot, &self.site.key(table, offset)).is_some() {
            self.put(table, offset, None);
        }
    }

    fn put(&mut self, table: &str, offset: Offset, row: Option<Bytes>) {
        let (tables, slot) = (&self.site.shared.tables, self.site.lease.slot);
        let key = self.site.key(table, offset);
        tables.put_bytes(&mut self.transaction, &mut self.mutations, slot, key, row, self.now);
    }
}

/// A result that the log does not take: it never will.
fn not_taken(why: &str) -> Failure {
    Failure { retryable: false, ..Failure::new(Reason::Output, why) }
}

/// By key; results without one go where the batch's id says, so that they stay together and in order.
fn result_partition(batch: &BatchId, record: &OutputRecord, partitions: u32) -> u32 {
    let key = record.key.as_deref().unwrap_or(batch.as_str());
    partition::of_key(key.as_bytes(), partitions).0
}

fn result(batch: &BatchId, record: &OutputRecord, now: Timestamp) -> Record {
    made(batch, (&record.key, &record.value, &record.headers), now)
}

fn refused_result(batch: &BatchId, record: &RefusedRecord, now: Timestamp) -> Record {
    made(batch, (&record.key, &record.value, &record.headers), now)
}

fn made(
    batch: &BatchId,
    (key, value, fields): (&Option<String>, &Bytes, &[(String, String)]),
    now: Timestamp,
) -> Record {
    let mut headers = HeadersBuilder::new();
    for (name, value) in fields {
        headers.push(name, value.as_bytes());
    }
    Record {
        key: key.clone().map(Into::into),
        value: Some(value.clone()),
        headers: headers.with(header::BATCH_ID, batch.as_str()).build(),
        timestamp: now,
    }
}

fn smaller(given_up: GivenUp) -> Option<GivenUp> {
    let again = given_up.bytes_max > limits::DEAD_LETTER_HEADERS_BYTES_MAX;
    again.then_some(GivenUp { bytes_max: given_up.bytes_max / 2, ..given_up })
}

/// `fpaas.error.*` (design §7, Dead letter).
fn error_headers(batch: &BatchId, given_up: &GivenUp) -> Headers {
    let GivenUp { failure, attempts, first_failed, last_failed, .. } = given_up;
    let cause = Cause {
        stage: STAGE,
        reason: failure.reason.as_str(),
        status: failure.status,
        message: &failure.message,
        attempts: *attempts,
        first_failed: *first_failed,
        last_failed: *last_failed,
        batch: Some(batch),
    };
    cause.headers()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_that_a_log_refuses_get_smaller_until_they_are_given_up() {
        let failure = Failure::new(Reason::Timeout, "late");
        let mut next = Some(GivenUp::now(Retries::default(), failure, Timestamp::default()));
        let mut sizes = Vec::new();
        while let Some(given_up) = next {
            sizes.push(given_up.bytes_max);
            next = smaller(given_up);
        }
        assert_eq!(sizes.first(), Some(&limits::RECORD_BYTES_MAX));
        assert!(sizes.is_sorted_by(|one, next| one > next) && sizes.len() < 20, "{sizes:?}");
        // One without its value, key and headers was tried: that is as small as it gets.
        assert!(sizes.last().is_some_and(|last| *last <= limits::DEAD_LETTER_HEADERS_BYTES_MAX));
    }
}
