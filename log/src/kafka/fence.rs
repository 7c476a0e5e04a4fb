//! The counters of `fpaas.fence`: how many transactions were committed for each slot, as offsets of the group.
//!
//! They ride in every transaction. A member that was given a slot reads them stably first, which waits until whatever
//! its predecessor had under way is decided; a writer that does not know what became of its transaction reads them to
//! find out. Invariant: one-owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fpaas_core::TopicPartition;
use fpaas_core::partition::{SLOTS, Slot};
use rdkafka::producer::{BaseProducer, Producer};
use tracing::info;

use super::admin::Admin;
use super::config::{KafkaConfig, TRANSACTION_TIMEOUT};
use super::context::{Quiet, Trouble};
use super::error::Failure;
use super::ffi;
use super::leases::WRITERS;
use super::transaction::Reports;
use crate::Position;

/// One for each slot and writer, and one for transactions under no slot.
pub(super) const PARTITIONS: u32 = SLOTS * 2 + 1;
const _: () = assert!(WRITERS == 2);

/// A live owner's transaction takes milliseconds: one that is open for longer is that of a dead one.
const DEAD_AFTER: Duration = Duration::from_millis(300);
/// How often an open transaction is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where the transactions of a slot are counted that this writer commits.
pub(super) fn of(topic: &Arc<str>, slot: Slot, writer: usize) -> TopicPartition {
    let writer = u32::try_from(writer).unwrap_or(0);
    TopicPartition::new(Arc::clone(topic), writer * SLOTS + slot.0)
}

/// Where a transaction under no slot proves that its writer is a member.
pub(super) fn of_none(topic: &Arc<str>) -> TopicPartition {
    TopicPartition::new(Arc::clone(topic), SLOTS * 2)
}

/// Reads the counters of these slots, once nothing is under way for them. `ours` are writers of this process: they end
/// what they left open by themselves.
pub(super) fn settle(
    admin: &Admin,
    config: &KafkaConfig,
    group: &str,
    slots: &[Slot],
    ours: &[String],
    given_up: impl Fn() -> bool,
) -> Option<Vec<(Slot, [u64; WRITERS])>> {
    let topic: Arc<str> = config.fence.as_str().into();
    let at: Vec<_> = slots.iter().flat_map(|slot| (0..WRITERS).map(|writer| of(&topic, *slot, writer))).collect();
    let (began, mut ended) = (Instant::now(), BTreeSet::new());
    ended.extend(ours.iter().flat_map(|id| [sibling(id), id.clone()]));
    while !given_up() {
        match admin.positions_now(group, &at, true) {
            Ok(Some(found)) => {
                let counts = found.chunks(WRITERS).map(|counts| {
                    let count = |writer: usize| counts.get(writer).and_then(Option::as_ref).map_or(0, |at| at.offset.0);
                    [count(0), count(1)]
                });
                return Some(slots.iter().copied().zip(counts).collect());
            }
            Ok(None) if began.elapsed() > DEAD_AFTER => end_open(admin, config, group, &at, &mut ended),
            Ok(None) => {}
            Err(failed) => tracing::warn!(group, %failed, "the group's counters cannot be read, trying again"),
        }
        std::thread::sleep(LOOK);
    }
    None
}

/// Ends the open transactions of those who last committed here: initialising a transactional id aborts what it left
/// open (KIP-98). Whoever it was has lost these slots without having let go of them.
fn end_open(admin: &Admin, config: &KafkaConfig, group: &str, at: &[TopicPartition], ended: &mut BTreeSet<String>) {
    let Ok(Some(last)) = admin.positions_now(group, at, false) else { return };
    let ids = last.into_iter().flatten().filter_map(|position| writer_of(&position.metadata));
    // What is open may be the first under the other id.
    let ids = ids.flat_map(|id| [sibling(&id), id]);
    for id in ids.collect::<BTreeSet<_>>().difference(&ended.clone()) {
        info!(group, writer = id, "ending the transaction that a former owner left open");
        match initialise(config, id, TRANSACTION_TIMEOUT) {
            Ok(()) => drop(ended.insert(id.clone())),
            Err(failed) => {
                tracing::warn!(group, writer = id, %failed, "a former owner's transaction could not be ended")
            }
        }
    }
}

/// What a counter's metadata says: the transactional id of who committed it, and a number of that writer's alone, by
/// which it knows its own among those of later ones of its id.
pub(super) fn mark(id: &str, number: u64) -> String {
    format!("{id} {number:016x}")
}

/// The other transactional id of a writer: it goes on under that one where the end of a transaction cannot be written.
pub(super) fn sibling(id: &str) -> String {
    const OTHER: &str = ".other";
    id.strip_suffix(OTHER).map_or_else(|| format!("{id}{OTHER}"), ToOwned::to_owned)
}

/// The mark of the same writer under another id.
pub(super) fn renamed(mark: &str, id: &str) -> String {
    let number = mark.rsplit_once(' ').map_or("", |(_, number)| number);
    format!("{id} {number}")
}

fn writer_of(metadata: &[u8]) -> Option<String> {
    let (id, _) = std::str::from_utf8(metadata).ok()?.rsplit_once(' ')?;
    Some(id.to_owned())
}

/// What a counter shows of a transaction, in the order in which one of several decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Counted {
    /// It was rolled back.
    Before,
    /// Somebody else has committed for the slot since, and nothing shows what became of it.
    Others,
    /// It is committed.
    Ours,
}

/// What counters that were found show of the transaction of `mark` that would have put them at `counts`. It moves all
/// of them or none: one that is as it left it proves that it was committed, whoever has moved the others since.
pub(super) fn judge<'a>(
    found: &[Option<Position>],
    counts: impl Iterator<Item = &'a u64>,
    mark: &[u8],
) -> Option<Counted> {
    let of = found.iter().zip(counts).map(|(position, count)| match position {
        Some(at) if at.offset.0 == *count && *at.metadata == *mark => Counted::Ours,
        Some(at) if at.offset.0 >= *count => Counted::Others,
        _ => Counted::Before,
    });
    of.max()
}

fn initialise(config: &KafkaConfig, id: &str, wait: Duration) -> Result<(), Failure> {
    let context = Reports::new(Quiet(Trouble::default()));
    let producer: BaseProducer<Reports> = config.writer(id).create_with_context(context)?;
    ffi::serve_tokens(producer.client());
    Ok(producer.init_transactions(wait)?)
}

#[cfg(test)]
mod tests {
    use fpaas_core::Offset;

    use super::*;

    #[test]
    fn one_counter_as_it_was_left_proves_its_transaction() {
        let at = |offset, mark: &'static str| Some(Position { offset: Offset(offset), metadata: mark.into() });
        let judged = |found: &[Option<Position>]| judge(found, [5, 8].iter(), b"a 1");
        assert_eq!(judged(&[at(5, "a 1"), at(8, "a 1")]), Some(Counted::Ours));
        assert_eq!(judged(&[at(4, "a 1"), None]), Some(Counted::Before));
        assert_eq!(judged(&[at(5, "b 2"), at(7, "a 1")]), Some(Counted::Others));
        assert_eq!(judged(&[at(6, "a 1"), at(7, "a 1")]), Some(Counted::Others));
        // The other slot has an owner since, who counted on.
        assert_eq!(judged(&[at(5, "a 1"), at(9, "b 2")]), Some(Counted::Ours));
        assert_eq!(judged(&[]), None);
    }

    #[test]
    fn a_writer_has_two_ids_and_one_number() {
        let mark = mark("fpaas.n.dispatcher", 7);
        let other = renamed(&mark, &sibling("fpaas.n.dispatcher"));
        assert_eq!(writer_of(other.as_bytes()), Some(sibling("fpaas.n.dispatcher")));
        assert_ne!(mark, other);
        assert_eq!(renamed(&other, &sibling(&sibling("fpaas.n.dispatcher"))), mark);
    }
}
