//! The rows of the stages' tables: key codec and value codec side by side.
//!
//! | table | key | value | kept by |
//! |---|---|---|---|
//! | `scan` | subscription, incarnation, source partition | [`ScanRow`] | router |
//! | `replay` | subscription, incarnation, replay, source partition | [`ScanRow`], never in the scan | router |
//! | `started` | source partition | [`StartedRow`] | router, dispatcher |
//! | `batch` | subscription, incarnation, lane, first offset | [`BatchRow`] | dispatcher |
//! | `retry` | the same | [`RetryRow`], beside a batch that has failed | dispatcher |
//! | `done` | the same | [`DoneRow`], until the lane's position has passed it | dispatcher |
//! | `parked` | subscription, incarnation, lane, offset | the event ([`parked`]) | dispatcher |
//! | `failing` | subscription, incarnation, lane | [`FailingRow`], while its calls only fail | dispatcher |
//! | `alerted` | the same | [`AlertedRow`], once its tenant was told something | dispatcher |
//! | `redrive` | subscription, incarnation, lane, redrive | [`RedriveRow`] | dispatcher |
//! | `moves` | none: one per slot | [`MovesRow`] | router, dispatcher |
//!
//! Values are JSON with a version that is compared strictly: they are few and small, and a person can read them in the
//! changelog topic. Parked events alone are bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use fpaas_core::subscription::{Compression, Format};
use fpaas_core::{Offset, TenantId, Timestamp, TopicPartition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::view::SubscriptionEntry;
use crate::{Error, Result};

pub mod parked;

const VERSION: u8 = 1;

/// What the keys of all [`ScanRow`]s start with.
pub const SCAN: &str = "scan/";

/// What the keys of the rows of all replays start with.
pub const REPLAY: &str = "replay/";

/// What the keys of all [`BatchRow`]s start with.
pub const BATCH: &str = "batch/";
/// What the keys of all [`RetryRow`]s start with.
pub const RETRY: &str = "retry/";
/// What the keys of all [`DoneRow`]s start with.
pub const DONE: &str = "done/";
/// What the keys of all [`FailingRow`]s start with.
pub const FAILING: &str = "failing/";
/// What the keys of all [`AlertedRow`]s start with.
pub const ALERTED: &str = "alerted/";
/// What the keys of all parked events start with.
pub const PARKED: &str = "parked/";
/// What the keys of all [`RedriveRow`]s start with.
pub const REDRIVE: &str = "redrive/";
/// What the keys of all [`StartedRow`]s start with.
pub const STARTED: &str = "started/";

/// The key of a slot's [`MovesRow`].
pub const MOVES: &str = "moves";

/// Where a subscription stands on one partition of its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScanRow {
    /// The next offset, while it is not in the scan; where it joined otherwise.
    pub position: Offset,
    /// True once the scan carries it. Changes only in the scan's transactions.
    pub in_scan: bool,
}

/// Says that a position was committed on this partition: from then on, a missing position is lost and not new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartedRow {}

/// A frozen batch: what it holds and what shapes its body. Its bytes, whole, are what the batch's id is derived from.
/// Invariant: frozen-batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchRow {
    /// Its offsets in the deliveries, as inclusive ranges in order; gaps are not in it.
    pub offsets: Vec<(Offset, Offset)>,
    /// How many events that is.
    pub events: u32,
    /// When it was frozen: `maxElapsedMs` counts from here.
    pub frozen_at: Timestamp,
    /// The body's format.
    pub format: Format,
    /// The body's compression.
    pub compression: Compression,
    /// The expression whose results stand in the places of its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Which serialiser made its body: a newer program keeps the old one until no such batch is left.
    pub serialiser: u8,
}

/// How often a frozen batch was called in vain, and when it is called next: a new owner goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryRow {
    /// Attempts made so far.
    pub attempts: u32,
    /// When the first of them failed.
    pub first_failed: Timestamp,
    /// Not called before.
    pub due: Timestamp,
    /// In which revision of its subscription it was called; unknown of those that an older version wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// Since when nothing but failures came of a lane's calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailingRow {
    /// When the first of them failed.
    pub since: Timestamp,
}

/// What the tenant of a lane was told of it in its topic `system`, and is not told again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertedRow {
    /// That its subscription was disabled then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Timestamp>,
    /// That its position is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub position_lost: bool,
}

/// Offsets of a finished batch above the lane's position: a new owner skips them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DoneRow {
    /// Inclusive ranges in order.
    pub offsets: Vec<(Offset, Offset)>,
}

/// How far a redrive has come in a lane: in the transactions that deliver its dead letters again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedriveRow {
    /// The next offset of the lane's dead letters.
    pub position: Offset,
    /// Delivered again.
    pub redriven: u64,
    /// Passed over: refused results, which are no events.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub results: u64,
    /// Passed over: their values were left out when they were written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u64,
    /// Passed over: the log does not take them as deliveries.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Passed over: given up on for a reason that was not asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Which moves of tenants a slot has done its part of: by the tenant, the revision that began it. Those that are over
/// need not be in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MovesRow {
    /// Whoever owns the slot knows at least this revision of the control view before it does anything for it: an older
    /// one has tenants in the pool that have left it.
    pub revision: u64,
    /// Out of the pool: what the slot had of them is handed over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<TenantId, u64>,
    /// Into the pool: what was handed over is here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub came: BTreeMap<TenantId, u64>,
    /// On their way out of the pool: what the slot has of them is in its rows and changes no more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aside: BTreeMap<TenantId, u64>,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u8,
    #[serde(flatten)]
    row: T,
}

/// A row as the changelog holds it.
pub fn encode<T: Serialize>(row: &T) -> Result<Bytes> {
    let versioned = Versioned { v: VERSION, row };
    serde_json::to_vec(&versioned).map(Bytes::from).map_err(|error| corrupt("a row", &error.to_string()))
}

/// A row from the changelog. Invariant: crash-on-corruption.
pub fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| corrupt(key, &error.to_string()))?;
    let serde_json::Value::Object(mut fields) = value else { return Err(corrupt(key, "not an object")) };
    match fields.remove("v").and_then(|version| version.as_u64()) {
        Some(version) if version == u64::from(VERSION) => {}
        version => return Err(corrupt(key, &format!("version {version:?} is not {VERSION}"))),
    }
    serde_json::from_value(serde_json::Value::Object(fields)).map_err(|error| corrupt(key, &error.to_string()))
}

fn corrupt(key: &str, why: &str) -> Error {
    Error::Corrupt { what: format!("the row {key}"), why: why.to_owned() }
}

/// The key of a [`ScanRow`].
pub fn scan_key(entry: &SubscriptionEntry, source: &TopicPartition) -> String {
    format!("{SCAN}{}/{}/{}/{}/{}", entry.tenant, entry.id, entry.incarnation, source.topic, source.partition)
}

/// The key of a replay's row: where it goes on.
pub fn replay_key(entry: &SubscriptionEntry, since: u64, source: &TopicPartition) -> String {
    format!("{}{since}/{}/{}", replay_prefix(entry), source.topic, source.partition)
}

/// What the keys of the rows of all replays of a subscription start with.
pub fn replay_prefix(entry: &SubscriptionEntry) -> String {
    format!("{REPLAY}{}/{}/{}/", entry.tenant, entry.id, entry.incarnation)
}

/// What the keys of all [`ScanRow`]s of a subscription start with.
pub fn scan_prefix(entry: &SubscriptionEntry) -> String {
    format!("{SCAN}{}/{}/{}/", entry.tenant, entry.id, entry.incarnation)
}

/// The key of a [`StartedRow`].
pub fn started_key(at: &TopicPartition) -> String {
    format!("{STARTED}{}/{}", at.topic, at.partition)
}

/// The key of a [`BatchRow`]: it sorts by the batch's first offset.
pub fn batch_key(deliveries: &TopicPartition, first: Offset) -> String {
    format!("{}{:020}", batch_prefix(deliveries), first.0)
}

/// What the keys of all [`BatchRow`]s of a lane start with; the deliveries' name holds subscription and incarnation.
pub fn batch_prefix(deliveries: &TopicPartition) -> String {
    format!("{BATCH}{}/{}/", deliveries.topic, deliveries.partition)
}

/// The key of a [`RedriveRow`]: of a lane, and the redrive that is called `since`.
pub fn redrive_key(deliveries: &TopicPartition, since: u64) -> String {
    lane_key(REDRIVE, deliveries, Offset(since))
}

/// The key of a row of `table` ([`BATCH`], [`RETRY`], [`DONE`], [`PARKED`]) of a lane: sorts by the offset.
pub fn lane_key(table: &str, deliveries: &TopicPartition, at: Offset) -> String {
    format!("{}{:020}", lane_prefix(table, deliveries), at.0)
}

/// What the keys of all rows of `table` of a lane start with.
pub fn lane_prefix(table: &str, deliveries: &TopicPartition) -> String {
    format!("{table}{}/{}/", deliveries.topic, deliveries.partition)
}

/// The offset that such a key ends with.
pub fn lane_offset(key: &str) -> Option<Offset> {
    key.rsplit_once('/')?.1.parse().ok().map(Offset)
}

/// The lane of a key of a row of `table`, as the partition of its deliveries.
pub fn lane_of(table: &str, key: &str) -> Option<TopicPartition> {
    let (topic, rest) = key.strip_prefix(table)?.split_once('/')?;
    Some(TopicPartition::new(topic, rest.split('/').next()?.parse().ok()?))
}

/// The head of a [`ScanRow`]'s or [`StartedRow`]'s key, and the partition that it ends with.
pub fn split_partition(key: &str) -> Option<(&str, TopicPartition)> {
    let (rest, partition) = key.rsplit_once('/')?;
    let at = rest.rfind('/')? + 1;
    let (head, topic) = rest.split_at_checked(at)?;
    Some((head, TopicPartition::new(topic, partition.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written_and_another_version_is_refused() {
        let row = ScanRow { position: Offset(7), in_scan: true };
        let bytes = encode(&row).unwrap();
        assert_eq!(&bytes[..], br#"{"v":1,"position":7,"inScan":true}"#);
        assert_eq!(decode::<ScanRow>("k", &bytes).unwrap(), row);
        assert!(decode::<ScanRow>("k", br#"{"v":2,"position":7,"inScan":true}"#).is_err());
        assert!(decode::<ScanRow>("k", b"{}").is_err());
    }

    #[test]
    fn the_moves_of_a_slot_are_read_as_they_were_written() {
        let acme = TenantId::parse("acme").unwrap();
        let row = MovesRow { revision: 9, left: [(acme, 7)].into(), ..MovesRow::default() };
        let bytes = encode(&row).unwrap();
        assert_eq!(&bytes[..], br#"{"v":1,"revision":9,"left":{"acme":7}}"#);
        assert_eq!(decode::<MovesRow>(MOVES, &bytes).unwrap(), row);
    }

    #[test]
    fn how_far_a_redrive_has_come_is_read_as_it_was_written() {
        let row = RedriveRow { position: Offset(9), redriven: 4, cut: 2, ..RedriveRow::default() };
        let bytes = encode(&row).unwrap();
        assert_eq!(&bytes[..], br#"{"v":1,"position":9,"redriven":4,"cut":2}"#);
        let key = redrive_key(&TopicPartition::new("fpaas.acme.d.likes.3", 1), 17);
        assert_eq!(key, "redrive/fpaas.acme.d.likes.3/1/00000000000000000017");
        assert_eq!(decode::<RedriveRow>(&key, &bytes).unwrap(), row);
    }

    #[test]
    fn the_partition_at_the_end_of_a_key_is_read_back() {
        let at = TopicPartition::new("fpaas.acme.t.a-topic", 12);
        assert_eq!(split_partition(&started_key(&at)), Some(("started/", at.clone())));
        assert_eq!(split_partition("scan/acme/likes/3/fpaas.acme.t.a-topic/12"), Some(("scan/acme/likes/3/", at)));
        for other in ["", "scan", "scan/a", "started/topic/x"] {
            assert_eq!(split_partition(other), None, "{other}");
        }
    }

    #[test]
    fn batches_of_a_lane_sort_by_their_first_offset() {
        let lane = TopicPartition::new("fpaas.acme.d.likes.3", 0);
        assert!(batch_key(&lane, Offset(9)) < batch_key(&lane, Offset(10)));
        assert!(batch_key(&lane, Offset(10)).starts_with(&batch_prefix(&lane)));
        assert_eq!(lane_of(BATCH, &batch_key(&lane, Offset(10))), Some(lane));
    }
}
