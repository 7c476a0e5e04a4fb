//! What holds an offset or a topic's name, with those of the other side. Pure.
//!
//! | what | holds |
//! |---|---|
//! | a command that makes a subscription, or replays a part of its source | where that starts, and ends |
//! | a command that delivers dead letters again | where that starts, and ends |
//! | a row of the router | where a subscription stands on a partition of its source |
//! | a row of a lane that does so | how far it is |
//! | where an upstream was left | the ends of the firehose then |
//! | a position | itself |
//!
//! A frozen batch holds offsets too, and its id is a hash of them: so none is frozen when this is done. Records of a
//! tenant's topic hold none, but the ids of those without one of their own are where they stand: such a record keeps
//! the id it has by getting it as a header.

use std::collections::BTreeMap;

use fpaas_core::event::{self, header};
use fpaas_core::topics::Topics;
use fpaas_core::{HeadersBuilder, Offset, TopicPartition};
use fpaas_ingest::Cursor;
use fpaas_log::{Record, Stored};
use fpaas_state::rows::{self, RedriveRow, ScanRow};
use fpaas_state::{Change, Command};
use tokio_util::bytes::Bytes;

use super::places::Places;
use super::translation::Translation;
use crate::exit::Failure;

/// By the source's partition.
pub(super) type Translations = BTreeMap<TopicPartition, Translation>;

/// What an offset of `at` is on the other side.
pub(super) fn offset(translations: &Translations, at: &TopicPartition, offset: Offset) -> Result<Offset, Failure> {
    let translation = translations.get(at);
    translation.map(|translation| translation.of(offset)).ok_or_else(|| unknown(&at.to_string(), "was not copied"))
}

/// A record of the control topic.
pub(super) fn command(places: &Places, translations: &Translations, stored: Stored) -> Result<Record, Failure> {
    let mut command = Command::decode(stored.record.value.as_deref().unwrap_or_default())?;
    let (source, places_in_it) = match &mut command.change {
        Change::PutSubscription { subscription, starts, .. } => (&subscription.source.topic, vec![starts]),
        Change::StartReplay { source, from, to, .. } => (&*source, vec![from, to]),
        Change::StartRedrive { id, of, from, to, .. } => {
            let source = places.before.dead_letters(&command.tenant, id, *of);
            return match translate(places, translations, &source, vec![from, to])? {
                true => Ok(Record { value: Some(command.encode()?), ..stored.record }),
                false => Ok(stored.record),
            };
        }
        _ => return Ok(stored.record),
    };
    let source = places.before.of_tenant(&command.tenant, source);
    if !translate(places, translations, &source, places_in_it)? {
        // Both are gone by now, the subscription before its source.
        return Ok(stored.record);
    }
    Ok(Record { value: Some(command.encode()?), ..stored.record })
}

/// Offsets of each partition of a topic. False where that is gone: they stay as they are.
fn translate(
    places: &Places,
    translations: &Translations,
    source: &str,
    places_in_it: Vec<&mut Vec<Offset>>,
) -> Result<bool, Failure> {
    if !places.names().contains_key(source) {
        return Ok(false);
    }
    for offsets in places_in_it {
        for (partition, place) in (0u32..).zip(offsets.iter_mut()) {
            // One that is not there is of an earlier topic of that name, and the subscription is gone with it.
            let at = TopicPartition::new(source, partition);
            if translations.contains_key(&at) {
                *place = offset(translations, &at, *place)?;
            }
        }
    }
    Ok(true)
}

/// A record of a tenant's topic: with the id that its deliveries have had, or would have. A compacted topic of Kafka
/// takes no record without a key, and one that had none replaced nothing: so its id becomes its key.
pub(super) fn of_tenant(at: &TopicPartition, incarnation: u64, compacted: bool, stored: Stored) -> Record {
    let Stored { offset, mut record } = stored;
    if record.headers.get(header::ID).is_none() {
        let id = event::record_id(&at.topic, incarnation, at.partition.0, offset.0);
        record.headers = HeadersBuilder::from_headers(&record.headers).with(header::ID, &id).build();
    }
    if compacted && record.key.is_none() {
        record.key = record.headers.get(header::ID).map(Bytes::copy_from_slice);
    }
    record
}

/// A row of a stage's table, and the partition of the other side that it is about; `None` where its topic is gone, and
/// of moves between pools, which are all over.
pub(super) fn row(
    names: &BTreeMap<&str, &str>,
    translations: &Translations,
    key: &str,
    value: &Bytes,
) -> Result<Option<(TopicPartition, String, Bytes)>, Failure> {
    if key == rows::MOVES {
        return Ok(None);
    }
    let of_lanes = [rows::BATCH, rows::RETRY, rows::DONE, rows::PARKED];
    if let Some(table) = of_lanes.into_iter().find(|table| key.starts_with(table)) {
        let at = rows::lane_of(table, key).ok_or_else(|| unknown(key, "is no row of a lane"))?;
        return match names.get(&*at.topic) {
            Some(_) => Err(unknown(key, "is not done with")),
            None => Ok(None),
        };
    }
    if key.starts_with(rows::FAILING) || key.starts_with(rows::ALERTED) {
        // Counted, and told, anew there.
        return Ok(None);
    }
    if key.starts_with(rows::REDRIVE) {
        return redriven(names, translations, key, value);
    }
    let (head, at) = rows::split_partition(key).ok_or_else(|| unknown(key, "is no row that is known here"))?;
    let Some(name) = names.get(&*at.topic) else { return Ok(None) };
    let target = TopicPartition { topic: (*name).into(), partition: at.partition };
    let value = match head {
        rows::STARTED => value.clone(),
        head if head.starts_with(rows::SCAN) || head.starts_with(rows::REPLAY) => {
            let row: ScanRow = rows::decode(key, value)?;
            rows::encode(&ScanRow { position: offset(translations, &at, row.position)?, ..row })?
        }
        _ => return Err(unknown(key, "is no row that is known here")),
    };
    let key = format!("{head}{}/{}", target.topic, target.partition);
    Ok(Some((target, key, value)))
}

/// How far a lane is with its dead letters.
fn redriven(
    names: &BTreeMap<&str, &str>,
    translations: &Translations,
    key: &str,
    value: &Bytes,
) -> Result<Option<(TopicPartition, String, Bytes)>, Failure> {
    let read = rows::lane_of(rows::REDRIVE, key).zip(rows::lane_offset(key));
    let (at, since) = read.ok_or_else(|| unknown(key, "is no row of a lane"))?;
    let Some(name) = names.get(&*at.topic) else { return Ok(None) };
    let letters = Topics::dead_letters_beside(&at.topic).ok_or_else(|| unknown(key, "is of no deliveries"))?;
    let row: RedriveRow = rows::decode(key, value)?;
    let position = offset(translations, &TopicPartition { topic: letters.into(), ..at }, row.position)?;
    let target = TopicPartition::new(*name, at.partition.0);
    let value = rows::encode(&RedriveRow { position, ..row })?;
    Ok(Some((target.clone(), rows::redrive_key(&target, since.0), value)))
}

/// Where an upstream was left.
pub(super) fn cursor(firehose: &str, translations: &Translations, record: Record) -> Result<Record, Failure> {
    let value = record.value.as_deref().unwrap_or_default();
    let mut cursor: Cursor =
        serde_json::from_slice(value).map_err(|error| unknown("where an upstream was left", &error.to_string()))?;
    for (partition, end) in (0u32..).zip(cursor.firehose_ends.iter_mut()) {
        *end = offset(translations, &TopicPartition::new(firehose, partition), *end)?;
    }
    let value = serde_json::to_vec(&cursor).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(Record { value: Some(value.into()), ..record })
}

fn unknown(what: &str, why: &str) -> Failure {
    Failure::Failed(format!("{what} {why}: this installation cannot be moved as it is"))
}
