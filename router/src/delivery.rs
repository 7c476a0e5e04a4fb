//! A matched record on its way to a subscription: its bytes untouched, with its id and where it came from.

use fpaas_core::event::{self, header};
use fpaas_core::{HeadersBuilder, Offset, Partition, Timestamp, TopicPartition, limits, partition};
use fpaas_log::{Append, Record, Refusal, Stored};
use fpaas_state::Cause;

use crate::Member;

/// Made once per record that anybody wants; each subscription gets the same shared bytes.
pub(crate) struct Delivery<'r> {
    stored: &'r Stored,
    record: Record,
    place: String,
}

impl<'r> Delivery<'r> {
    /// `incarnation` is that of the source.
    pub(crate) fn new(source: &TopicPartition, incarnation: u64, stored: &'r Stored) -> Self {
        let place = event::record_id(&source.topic, incarnation, source.partition.0, stored.offset.0);
        let mut headers = HeadersBuilder::from_headers(&stored.record.headers);
        if stored.record.headers.get(header::ID).is_none() {
            headers.push(header::ID, place.as_bytes());
        }
        headers.push(header::SOURCE_TOPIC, source.topic.as_bytes());
        headers.push(header::SOURCE_PARTITION, source.partition.to_string().as_bytes());
        headers.push(header::SOURCE_OFFSET, stored.offset.to_string().as_bytes());
        let record = Record { headers: headers.build(), ..stored.record.clone() };
        Self { stored, record, place }
    }

    /// For one subscription: into the lane of its key. A record without a key has no order, so its place decides.
    pub(crate) fn to(&self, member: &Member) -> Append {
        let at = TopicPartition { topic: member.deliveries.clone(), partition: self.lane(member) };
        Append { at, record: self.record.clone() }
    }

    /// What one subscription keeps of it where it cannot be delivered.
    pub(crate) fn dead_letter(&self, member: &Member, now: Timestamp, bytes_max: usize) -> Append {
        let at = TopicPartition { topic: member.dead_letters.clone(), partition: self.lane(member) };
        let cause = Cause {
            stage: "router",
            reason: "tooLarge",
            status: None,
            message: &Refusal::TooLarge.to_string(),
            attempts: 1,
            first_failed: now,
            last_failed: now,
            batch: None,
        };
        let record = fpaas_state::dead_letter(&self.record, &cause.headers(), now, bytes_max);
        Append { at, record }
    }

    /// Where it stands in its source.
    pub(crate) const fn offset(&self) -> Offset {
        self.stored.offset
    }

    /// True where the log does not take it: nothing that we took in ourselves, but a topic may have other writers.
    pub(crate) fn is_too_large(&self) -> bool {
        self.record.bytes() > limits::RECORD_BYTES_MAX
    }

    fn lane(&self, member: &Member) -> Partition {
        let key = self.stored.record.key.as_deref().unwrap_or(self.place.as_bytes());
        partition::of_key(key, member.entry.config.lanes)
    }
}

/// Where the record stood that a delivery or dead letter was made of.
pub(crate) fn source_offset(record: &Record) -> Option<Offset> {
    record.headers.get_str(header::SOURCE_OFFSET)?.parse().ok().map(Offset)
}
