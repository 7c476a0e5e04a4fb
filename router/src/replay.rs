//! A part of a source that a subscription is delivered once more: what its lane is given, and when there is to be one.
//! Pure, but for reading rows.
//!
//! A replay has a row of its own, apart from the subscription's: it moves in the transactions of its deliveries, so
//! that each is made once, however often the lane starts again. Invariant: offsets-with-effects.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::{Offset, limits};
use fpaas_state::rows;

use crate::Result;
use crate::own::Own;
use crate::roster::{Key, Member};

/// What stands between a subscription's key and the number of its replay: in no name, and so in no other key.
const PART: char = '#';

/// See the module's head.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// Which.
    pub(crate) since: u64,
    /// Where it goes on.
    pub(crate) position: Offset,
    /// Where it ends.
    pub(crate) to: Offset,
    /// Events per second.
    rate: Option<u32>,
    /// Rows of earlier replays, to be removed with the first transaction.
    pub(crate) obsolete: Vec<String>,
}

impl Replay {
    /// What of a member's replay is to be done on this partition, if anything is.
    pub(crate) fn of(member: &Member, own: &Own) -> Result<Option<Self>> {
        let Some(replay) = member.entry.replay.as_ref().filter(|_| !member.held) else { return Ok(None) };
        let partition = own.source.partition.0 as usize;
        let (Some(from), Some(to)) = (replay.from.get(partition), replay.to.get(partition)) else { return Ok(None) };
        let key = rows::replay_key(&member.entry, replay.since, &own.source);
        let position = own.replay_row(&key)?.map_or(*from, |row| row.position);
        if position >= *to {
            return Ok(None);
        }
        let here = format!("/{}/{}", own.source.topic, own.source.partition);
        let of_all = own.tables().scan(own.lease.slot, &rows::replay_prefix(&member.entry)).into_iter();
        let obsolete = of_all.map(|(key, _)| key).filter(|other| other.ends_with(&here) && *other != key).collect();
        let (since, rate) = (replay.since, replay.events_per_second);
        Ok(Some(Self { since, position, to: *to, rate, obsolete }))
    }

    /// What its lane is known by.
    pub(crate) fn key(&self, member: &Member) -> Key {
        Arc::from(format!("{}{PART}{}", member.key, self.since))
    }

    /// True of what [`Self::key`] gives.
    pub(crate) fn is_key(key: &str) -> bool {
        key.contains(PART)
    }

    /// How many may be delivered at a time: what a second may have.
    pub(crate) fn most(&self) -> usize {
        self.rate.map_or(limits::ROUTE_DELIVERIES_MAX, |rate| limits::ROUTE_DELIVERIES_MAX.min(rate.max(1) as usize))
    }

    /// How long to wait after so many deliveries.
    pub(crate) fn wait(&self, delivered: usize) -> Option<Duration> {
        let rate = self.rate.filter(|_| delivered > 0)?;
        Some(Duration::from_secs_f64(delivered as f64 / f64::from(rate.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(rate: Option<u32>) -> Replay {
        Replay { since: 7, position: Offset(0), to: Offset(100), rate, obsolete: Vec::new() }
    }

    #[test]
    fn a_rate_bounds_what_is_done_at_a_time_and_how_long_that_takes() {
        assert_eq!((replay(Some(4)).most(), replay(None).most()), (4, limits::ROUTE_DELIVERIES_MAX));
        assert_eq!(replay(Some(u32::MAX)).most(), limits::ROUTE_DELIVERIES_MAX);
        assert_eq!(replay(Some(4)).wait(2), Some(Duration::from_millis(500)));
        assert_eq!((replay(Some(4)).wait(0), replay(None).wait(9)), (None, None));
    }
}
