//! Who a consumer is in its group, and offsets that a transaction commits in its name. The crate has both, and does not
//! say who it is that it sends.

use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;

use super::{code, text};
use crate::kafka::error::Failure;

/// A member of a group, of one generation: a broker takes offsets in its name as long as it is that.
#[derive(Debug)]
pub(in crate::kafka) struct GroupMetadata(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: nothing changes it once it is made (rdkafka.h, "Consumer group metadata").
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// Of a consumer that its group knows: with a member id and a generation. A broker takes an offset under none of
    /// these for an empty group's, and checks nothing.
    pub(in crate::kafka) fn of<C: ClientContext>(client: &Client<C>) -> Option<Self> {
        // SAFETY: the client is alive; what it gives is ours to give back.
        let metadata = Self(NonNull::new(unsafe { sys::rd_kafka_consumer_group_metadata(client.native_ptr()) })?);
        // SAFETY: it is alive.
        let generation = unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(metadata.0.as_ptr()) };
        (generation >= 0 && !metadata.member_id().is_empty()).then_some(metadata)
    }

    /// A UUID with a prefix; no group gives one twice.
    pub(in crate::kafka) fn member_id(&self) -> &str {
        // SAFETY: the text lives as long as the metadata, which this borrows.
        unsafe { text(sys::rd_kafka_consumer_group_metadata_member_id(self.0.as_ptr())) }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: it was given to us, and this is its one owner.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}

/// Why offsets are not part of a transaction.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct NotTaken {
    pub(in crate::kafka) failure: Failure,
    /// The producer can do nothing more.
    pub(in crate::kafka) fatal: bool,
    pub(in crate::kafka) retriable: bool,
}

impl NotTaken {
    /// True where the brokers have refused them. Else they may be on their way: librdkafka's own codes are below zero.
    pub(in crate::kafka) const fn is_answer(&self) -> bool {
        self.failure.code as i32 > 0 && !matches!(self.failure.code, RDKafkaErrorCode::RequestTimedOut)
    }
}

/// Makes these offsets of `group` part of the transaction that is open. Blocks, and may do so for longer than `wait`:
/// librdkafka asks the group's coordinator without a deadline.
pub(in crate::kafka) fn send_offsets<C: ClientContext>(
    client: &Client<C>,
    offsets: &TopicPartitionList,
    group: &GroupMetadata,
    wait: Duration,
) -> Result<(), NotTaken> {
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: all are alive during the call, and librdkafka copies both lists.
    let error = unsafe {
        let (offsets, group) = (offsets.ptr(), group.0.as_ptr());
        sys::rd_kafka_send_offsets_to_transaction(client.native_ptr(), offsets, group, wait)
    };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error was given to us, is read before it is given back, and only once given back.
    unsafe {
        let said = text(sys::rd_kafka_error_string(error));
        let not_taken = NotTaken {
            failure: Failure::of(code(sys::rd_kafka_error_code(error))).saying(said),
            fatal: sys::rd_kafka_error_is_fatal(error) != 0,
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(not_taken)
    }
}
