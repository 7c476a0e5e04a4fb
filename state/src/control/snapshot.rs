//! What the commands add up to, written now and then beside them, so that a start does not replay all of them.
//!
//! A snapshot is cut into parts, a few to a transaction. Whoever reads takes the newest that is whole; without one it
//! replays from the first command, to the same state. Invariant: log-before-store.

use std::collections::HashMap;

use bytes::Bytes;
use fpaas_core::{HeadersBuilder, Offset, Timestamp, TopicPartition, hash};
use fpaas_log::{Append, FetchBounds, Log, Record, Transaction};
use tracing::warn;

use crate::machine::Machine;
use crate::{Error, Result};

/// The largest part: also where somebody else has made the topic, a broker takes it. A transaction carries so many.
const PART_BYTES: usize = 512 * 1024;
const PARTS: usize = 16;
const DIGEST_DIGITS: usize = 32;

/// Which part of how many, as headers say it.
const PART: &str = "part";
const OF: &str = "of";

/// Parts of one snapshot that were found so far.
#[derive(Debug, Default)]
struct Found {
    parts: Vec<Bytes>,
    whole: bool,
}

/// Writes the state after everything below `next`, with a writer that is there only for it, and removes older ones.
pub(super) async fn write(
    log: &dyn Log,
    node: &str,
    at: &TopicPartition,
    (machine, next, now): (Machine, Offset, Timestamp),
) -> Result<()> {
    let revision = machine.view.revision;
    let image = tokio::task::spawn_blocking(move || machine.image(next)).await;
    let image = Bytes::from(image.map_err(|error| corrupt(&error.to_string()))??);
    let writer = log.writer(&format!("{node}.snapshot"), None).await?;
    let key = format!("{revision}/{}", hash::hex(&[&image], DIGEST_DIGITS));
    let of = image.len().div_ceil(PART_BYTES);
    let part = |part: usize| {
        let start = part * PART_BYTES;
        Append {
            at: at.clone(),
            record: Record {
                key: Some(key.clone().into()),
                value: Some(image.slice(start..image.len().min(start + PART_BYTES))),
                headers: HeadersBuilder::new().with(PART, part.to_string()).with(OF, of.to_string()).build(),
                timestamp: now,
            },
        }
    };
    let mut first = None;
    for parts in (0..of).collect::<Vec<_>>().chunks(PARTS) {
        let mut transaction = Transaction::new();
        for Append { at, record } in parts.iter().map(|number| part(*number)) {
            transaction.append(at, record);
        }
        let receipt = writer.commit(transaction).await.map_err(|rejected| rejected.error)?;
        first = first.or_else(|| receipt.offsets.first().copied());
    }
    if let Some(first) = first {
        log.trim(at, first).await?;
    }
    Ok(())
}

/// The newest whole one, and the offset of the command that comes next.
pub(super) async fn read(log: &dyn Log, at: &TopicPartition) -> Result<Option<(Machine, Offset)>> {
    let (mut next, end) = {
        let marks = log.watermarks(at).await?;
        (marks.low, marks.end)
    };
    let (mut found, mut newest) = (HashMap::<String, Found>::new(), None::<(u64, String)>);
    while next < end {
        let fetched = log.fetch(at, next, FetchBounds::now()).await?;
        for record in fetched.records.iter().map(|stored| &stored.record) {
            let Some((revision, key)) = take(&mut found, record)? else { continue };
            if newest.as_ref().is_none_or(|(before, _)| *before < revision)
                && let Some((_, before)) = newest.replace((revision, key))
            {
                found.remove(&before);
            }
        }
        if fetched.next <= next {
            break;
        }
        next = fetched.next;
    }
    let Some((_, key)) = newest else { return Ok(None) };
    let image = found.remove(&key).unwrap_or_default().parts.concat();
    let digest = hash::hex(&[&image], DIGEST_DIGITS);
    if !key.ends_with(&digest) {
        return Err(corrupt(&format!("{key} has the digest {digest}")));
    }
    let machine = Machine::from_image(&image)?;
    if machine.is_none() {
        warn!(snapshot = key, "another version of fpaas wrote this snapshot: all commands are replayed");
    }
    Ok(machine)
}

/// Adds a part; answers the revision and the key of a snapshot that is whole with it. Parts of one come in order, those
/// of two writers at once in any.
fn take(found: &mut HashMap<String, Found>, record: &Record) -> Result<Option<(u64, String)>> {
    let text = |bytes: Option<&Bytes>| bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let number = |name| record.headers.get_str(name)?.parse::<usize>().ok();
    let key = text(record.key.as_ref());
    let (Some(key), Some(part), Some(of), Some(value)) = (key, number(PART), number(OF), &record.value) else {
        return Err(corrupt("a record of it is no part"));
    };
    let revision = key.split('/').next().and_then(|revision| revision.parse().ok());
    let revision = revision.ok_or_else(|| corrupt(&format!("{key} names no revision")))?;
    let of_key = found.entry(key.clone()).or_default();
    if of_key.whole {
        // Another node has written the same.
        return Ok(None);
    }
    if part == 0 {
        of_key.parts.clear();
    }
    // What was before it was removed: a newer one is behind it.
    if part == of_key.parts.len() {
        of_key.parts.push(value.clone());
    }
    of_key.whole = of_key.parts.len() == of;
    Ok(of_key.whole.then_some((revision, key)))
}

fn corrupt(why: &str) -> Error {
    Error::Corrupt { what: "a snapshot of the control topic".to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, part: usize, of: usize, value: &str) -> Record {
        Record {
            key: Some(key.to_owned().into()),
            value: Some(value.to_owned().into()),
            headers: HeadersBuilder::new().with(PART, part.to_string()).with(OF, of.to_string()).build(),
            ..Record::default()
        }
    }

    /// The keys of those that were whole, in the order in which they were.
    fn whole(records: &[Record]) -> Vec<String> {
        let mut found = HashMap::new();
        records.iter().filter_map(|record| take(&mut found, record).unwrap()).map(|(_, key)| key).collect()
    }

    #[test]
    fn a_snapshot_is_whole_once_all_its_parts_are_there_whatever_is_between_them() {
        let of = |key: &'static str, of: usize| (0..of).map(move |part| record(key, part, of, "x"));
        let [one, other]: [Vec<_>; 2] = [of("1000/a", 3).collect(), of("2000/b", 2).collect()];
        assert_eq!(whole(&one), ["1000/a"]);
        // Its writer died; the front of it was trimmed; two wrote at once; the same one was written twice.
        assert!(whole(&one[..2]).is_empty());
        assert!(whole(&one[1..]).is_empty());
        let mixed = [&one[..1], &other[..1], &one[1..], &other[1..]].concat();
        assert_eq!(whole(&mixed), ["1000/a", "2000/b"]);
        assert_eq!(whole(&[&one[..2], &one[..], &one[..]].concat()), ["1000/a"]);
    }

    #[test]
    fn what_is_no_part_is_refused() {
        let mut found = HashMap::new();
        let nameless = Record { key: None, ..record("", 0, 1, "x") };
        let bare = Record { headers: HeadersBuilder::new().build(), ..record("1/a", 0, 1, "x") };
        for wrong in [nameless, bare, record("a/1", 0, 1, "x")] {
            assert!(take(&mut found, &wrong).is_err(), "{wrong:?}");
        }
    }
}
