//! A matched record on its way to a subscription: its bytes untouched, with its id and where it came from.

use fpaas_core::event::{self, header};
use fpaas_core::{HeadersBuilder, TopicPartition, partition};
use fpaas_log::{Append, Record, Stored};

use crate::Member;

/// Made once per record that anybody wants; each subscription gets the same shared bytes.
pub(crate) struct Delivery<'r> {
    stored: &'r Stored,
    record: Record,
    place: String,
}

impl<'r> Delivery<'r> {
    pub(crate) fn new(source: &TopicPartition, stored: &'r Stored) -> Self {
        let place = event::record_id(&source.topic, source.partition.0, stored.offset.0);
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
        let key = self.stored.record.key.as_deref().unwrap_or(self.place.as_bytes());
        let lane = partition::of_key(key, member.entry.config.lanes);
        let at = TopicPartition { topic: member.deliveries.clone(), partition: lane };
        Append { at, record: self.record.clone() }
    }
}
