//! A call of a webhook that is tried: what the API asks of a dispatcher, in the words of both. Nothing comes of it.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::{Message, TopicName, TopicPartition};
use fpaas_log::Stored;

use crate::SubscriptionEntry;

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Trial {
    /// To whose webhook.
    pub entry: Arc<SubscriptionEntry>,
    /// 16 random bytes in hex: no two trials have the same id.
    pub random: String,
    /// Where its events stand.
    pub at: TopicPartition,
    /// At least one, and no more than are collected.
    pub events: Vec<Stored>,
}

/// How long the phases of a call took. One that did not end is absent, so that the first one absent is where a call
/// hung; so is one that was no part of the call, since its connection was kept from an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Looking the name up; absent where the host is an address, too.
    pub dns: Option<Duration>,
    /// To an address, or through a proxy to the endpoint.
    pub connect: Option<Duration>,
    /// The handshake.
    pub tls: Option<Duration>,
    /// From the beginning of the call to the head of its answer.
    pub first_byte: Option<Duration>,
    /// From the beginning of the call to its end.
    pub total: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The call's `webhook-id`.
    pub id: String,
    /// How many events were sent: those of the first batch.
    pub events: usize,
    /// How long it took.
    pub timings: Timings,
    /// The beginning of the answer's body, whatever its status: at most `limits::RESPONSE_PIECE_BYTES_MAX`, decoded.
    pub piece: bytes::Bytes,
    /// The answer's, if there was one.
    pub status: Option<u16>,
    /// `acknowledged`, or why not.
    pub outcome: &'static str,
    /// A sentence about it, free of secrets.
    pub message: Message,
    /// The records that would have been written.
    pub records: Vec<TriedRecord>,
}

/// A record that would have been written.
#[derive(Clone, Debug)]
pub struct TriedRecord {
    /// To which topic of the tenant's.
    pub topic: TopicName,
    /// Its key, if it has one.
    pub key: Option<String>,
    /// JSON.
    pub value: bytes::Bytes,
}
