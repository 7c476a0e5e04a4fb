//! A batch is done: results or dead letters, the end of its row and the lane's position, in one transaction.
//!
//! The answer stays in memory until the transaction's outcome is known, so that an endpoint is never called again
//! because the log could not be written. Invariant: offsets-with-effects.

use std::collections::BTreeMap;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::event::header;
use fpaas_core::{Headers, HeadersBuilder, Offset, Timestamp, TopicName, TopicPartition, limits, partition};
use fpaas_log::{Backoff, Culprit, Error as LogError, Record, Refusal, TopicSpec, Transaction, patiently};
use fpaas_state::{Cause, Mutations, SubscriptionEntry};
use tracing::warn;

use crate::deliver::{Finish, GivenUp};
use crate::error::{Halt, Step};
use crate::freeze::{Batch, Freezing};
use crate::lane::Lane;
use crate::response::{Failure, OutputRecord, Reason};

/// In `fpaas.error.stage`.
const STAGE: &str = "dispatcher";

/// Where results go in the log: full name and number of partitions, by the tenant's name.
type Places = BTreeMap<TopicName, (String, u32)>;

impl Lane {
    /// Makes `finish` durable, and with it the row of the batch that comes next, where one is given and the log takes
    /// it. Answers the lane's position after it.
    pub(crate) async fn commit(&mut self, batch: &Batch, finish: Finish, ahead: &mut Option<Freezing>) -> Step<Offset> {
        let mut unknown = false;
        let committed = self.commit_until_known(batch, finish, ahead, &mut unknown).await;
        if unknown && committed.is_err() {
            self.shared.unsure.note([self.lease.slot]);
        }
        committed
    }

    /// `unknown` where one of the attempts may have been committed.
    async fn commit_until_known(
        &mut self,
        batch: &Batch,
        mut finish: Finish,
        ahead: &mut Option<Freezing>,
        unknown: &mut bool,
    ) -> Step<Offset> {
        let mut backoff = Backoff::default();
        loop {
            let places = match self.places(&finish).await? {
                Ok(places) => places,
                Err(missing) => {
                    finish = self.refused(missing, &finish);
                    continue;
                }
            };
            let position = self.position_after(batch, ahead.as_ref());
            let (mut transaction, mut mutations) = self.transaction(batch, &finish, &places);
            if let Some(ahead) = ahead.as_ref() {
                self.put(ahead, &mut transaction, &mut mutations);
            }
            transaction.advance(self.at.clone(), position, self.shared.writer_id.clone());
            crashpoint::hit(Point::LaneBeforeCommit);
            let Err(rejected) = self.shared.writer.commit(transaction).await else {
                crashpoint::hit(Point::LaneAfterCommit);
                // The next batch may be frozen with it.
                if ahead.is_some() {
                    crashpoint::hit(Point::LaneAfterFreeze);
                }
                self.committed_batch(batch, &finish, mutations);
                return Ok(position);
            };
            *unknown |= rejected.error == LogError::Unknown;
            match rejected.error {
                error if error.may_pass() => {
                    self.wait_for_log(&mut backoff, &error).await?;
                    self.freeze_anew(ahead)?;
                }
                LogError::Unknown if self.committed().await? >= Some(batch.next()) => {
                    self.committed_batch(batch, &finish, mutations);
                    return Ok(position);
                }
                error @ LogError::Unknown => self.wait_for_log(&mut backoff, &error).await?,
                LogError::Abort(Culprit::Append { at, .. }) if ahead.is_some() && self.shared.tables.is_of(&at) => {
                    // It is frozen by itself later, and what the log has against it is said then.
                    *ahead = None;
                    self.deliveries.seek(batch.next());
                }
                LogError::Abort(Culprit::Append { at, refusal }) if is_result(&places, &at) => {
                    finish = self.refused(format!("{at}: {refusal}"), &finish);
                }
                LogError::Abort(Culprit::Append { at, refusal: Refusal::TooLarge }) if finish.is_kept() => {
                    warn!(%at, batch = %batch.id, "dead letters are refused as too large");
                    finish = smaller(finish);
                }
                // The answer stays in memory: the endpoint is not called again because an operator takes his time.
                error @ LogError::Abort(Culprit::Append { .. }) => {
                    self.stand_still(error.into()).await?;
                    self.freeze_anew(ahead)?;
                }
                error => return Err(error.into()),
            }
        }
    }

    /// Its time counts from when it is frozen, however long the batch before it has waited for the log. Not where that
    /// may be committed by now.
    fn freeze_anew(&self, ahead: &mut Option<Freezing>) -> Step<()> {
        let now = self.shared.context.clock.now();
        ahead.as_mut().map_or(Ok(()), |ahead| ahead.freeze_at(now))
    }

    /// A result that the log does not take: it never will, so the batch is given up, and its subscription goes on.
    fn refused(&self, why: String, finish: &Finish) -> Finish {
        let attempts = if let Finish::Acknowledged { attempts, .. } = finish { *attempts } else { 1 };
        let now = self.shared.context.clock.now();
        let failure = Failure { retryable: false, ..Failure::new(Reason::Output, why) };
        self.note_failure(&failure, attempts);
        GivenUp::new(failure, attempts, now, now).finish(self.current().config.retry.on_exhausted)
    }

    /// Where the results of `finish` go, or which topic is not there or not shown.
    async fn places(&self, finish: &Finish) -> Step<Result<Places, String>> {
        let mut places = Places::new();
        let Finish::Acknowledged { records, .. } = finish else { return Ok(Ok(places)) };
        let context = &self.shared.context;
        let tenant = self.current().tenant.clone();
        for record in records {
            if places.contains_key(&record.topic) {
                continue;
            }
            let name = context.topics.of_tenant(&tenant, &record.topic);
            match self.describe(&name).await? {
                Ok(Some(spec)) => drop(places.insert(record.topic.clone(), (name, spec.partitions))),
                Ok(None) => return Ok(Err(format!("there is no topic {}", record.topic))),
                Err(refused) => return Ok(Err(refused)),
            }
        }
        Ok(Ok(places))
    }

    /// The topic, or why the log does not show it. Asked even when the lane is to stop: an answer that is in memory is
    /// worth a commit.
    async fn describe(&self, topic: &str) -> Step<Result<Option<TopicSpec>, String>> {
        match patiently(&self.stop, || self.shared.context.log.describe_topic(topic)).await {
            Err(LogError::Retry(_)) => Err(Halt::Stopped),
            Err(LogError::Refused(why)) => Ok(Err(why)),
            found => Ok(Ok(found?)),
        }
    }

    fn transaction(&self, batch: &Batch, finish: &Finish, places: &Places) -> (Transaction, Mutations) {
        let now = self.shared.context.clock.now();
        let (mut transaction, mut mutations) = (Transaction::under(&self.lease), Mutations::default());
        match finish {
            Finish::Acknowledged { records, .. } => {
                for record in records {
                    let Some((topic, partitions)) = places.get(&record.topic) else { continue };
                    let at = TopicPartition::new(topic.as_str(), result_partition(batch, record, *partitions));
                    transaction.append(at, result(batch, record, now));
                }
            }
            Finish::DeadLetters(given_up) => {
                let at = self.dead_letters(&self.current());
                let error = error_headers(batch, given_up);
                for event in &batch.events {
                    let letter = fpaas_state::dead_letter(&event.record, &error, now, given_up.bytes_max);
                    transaction.append(at.clone(), letter);
                }
            }
            Finish::Dropped => {}
        }
        self.shared.tables.remove(&mut transaction, &mut mutations, self.lease.slot, batch.key.clone(), now);
        (transaction, mutations)
    }

    /// The lane's position after `batch`: past the control records behind it, where they were seen.
    fn position_after(&self, batch: &Batch, ahead: Option<&Freezing>) -> Offset {
        ahead.map_or_else(|| self.deliveries.passed(), Freezing::first).max(batch.next())
    }

    fn dead_letters(&self, entry: &SubscriptionEntry) -> TopicPartition {
        let topics = &self.shared.context.topics;
        TopicPartition::new(topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation), self.at.partition.0)
    }

    fn committed_batch(&self, batch: &Batch, finish: &Finish, mutations: Mutations) {
        self.shared.tables.apply(mutations);
        let events = batch.events.len() as u64;
        match finish {
            Finish::Acknowledged { records, .. } => {
                self.counters.acknowledged.add(events);
                self.counters.results.add(records.len() as u64);
            }
            Finish::DeadLetters(_) => self.counters.dead_letters.add(events),
            Finish::Dropped => self.counters.dropped.add(events),
        }
    }
}

/// Where a result was to go: what else is refused says nothing of the answer.
fn is_result(places: &Places, at: &TopicPartition) -> bool {
    places.values().any(|(topic, _)| *topic == *at.topic)
}

/// By key; results without one go where the batch's id says, so that they stay together and in order.
fn result_partition(batch: &Batch, record: &OutputRecord, partitions: u32) -> u32 {
    let key = record.key.as_deref().unwrap_or(batch.id.as_str());
    partition::of_key(key.as_bytes(), partitions).0
}

fn result(batch: &Batch, record: &OutputRecord, now: Timestamp) -> Record {
    let mut headers = HeadersBuilder::new();
    for (name, value) in &record.headers {
        headers.push(name, value.as_bytes());
    }
    Record {
        key: record.key.clone().map(Into::into),
        value: Some(record.value.clone()),
        headers: headers.with(header::BATCH_ID, batch.id.as_str()).build(),
        timestamp: now,
    }
}

/// Dead letters that a log with lower limits than ours takes, or nothing where it takes none: the lane goes on.
fn smaller(finish: Finish) -> Finish {
    match finish {
        Finish::DeadLetters(given_up) if given_up.bytes_max > limits::DEAD_LETTER_HEADERS_BYTES_MAX => {
            Finish::DeadLetters(GivenUp { bytes_max: given_up.bytes_max / 2, ..given_up })
        }
        _ => Finish::Dropped,
    }
}

/// `fpaas.error.*` (design §7, Dead letter).
fn error_headers(batch: &Batch, given_up: &GivenUp) -> Headers {
    let GivenUp { failure, attempts, first_failed, last_failed, .. } = given_up;
    let cause = Cause {
        stage: STAGE,
        reason: failure.reason.as_str(),
        status: failure.status,
        message: &failure.message,
        attempts: *attempts,
        first_failed: *first_failed,
        last_failed: *last_failed,
        batch: Some(&batch.id),
    };
    cause.headers()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_that_a_log_refuses_get_smaller_until_they_are_given_up() {
        let failure = Failure::new(Reason::Timeout, "late");
        let now = Timestamp::default();
        let mut finish = Finish::DeadLetters(GivenUp::new(failure, 1, now, now));
        let mut sizes = Vec::new();
        while let Finish::DeadLetters(given_up) = &finish {
            sizes.push(given_up.bytes_max);
            finish = smaller(finish);
        }
        assert!(matches!(finish, Finish::Dropped));
        assert_eq!(sizes.first(), Some(&limits::RECORD_BYTES_MAX));
        assert!(sizes.is_sorted_by(|one, next| one > next) && sizes.len() < 20, "{sizes:?}");
        // One without its value, key and headers was tried: that is as small as it gets.
        assert!(sizes.last().is_some_and(|last| *last <= limits::DEAD_LETTER_HEADERS_BYTES_MAX));
    }
}
