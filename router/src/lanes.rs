//! The catch-up lanes of one source partition, as its scan sees them: opened, closed, taken in.

use std::collections::HashMap;
use std::sync::Arc;

use fpaas_core::{Offset, limits};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::commit::Ended;
use crate::lane::{self, Join, Lane};
use crate::own::Own;
use crate::replay::Replay;
use crate::roster::{Key, Member, Roster};
use crate::tasks::Tasks;

/// Owns its lanes' tasks: none outlives it.
#[derive(Debug)]
pub(crate) struct Lanes {
    own: Arc<Own>,
    roster: watch::Receiver<Arc<Roster>>,
    border: watch::Sender<Offset>,
    tasks: Tasks<LaneId>,
    running: Running,
    asking: mpsc::Sender<Join>,
    joins: mpsc::Receiver<Join>,
}

/// One opening of a lane. A subscription's next lane may be open before the end of the last one was heard of, and that
/// end must not be taken for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaneId {
    pub(crate) key: Key,
    serial: u64,
}

/// Which lanes are open, and how each is asked to stop.
#[derive(Debug, Default)]
struct Running {
    lanes: HashMap<Key, (u64, CancellationToken)>,
    opened: u64,
}

impl Running {
    fn open(&mut self, key: Key, stop: CancellationToken) -> LaneId {
        self.opened += 1;
        let id = LaneId { key: Arc::clone(&key), serial: self.opened };
        self.lanes.insert(key, (id.serial, stop));
        id
    }

    /// It is no more. False where it was not open any more: its end is no news.
    fn remove(&mut self, id: &LaneId) -> bool {
        let open = self.lanes.get(&id.key).is_some_and(|(serial, _)| *serial == id.serial);
        open && self.lanes.remove(&id.key).is_some()
    }
}

/// What a lane wants from its scan.
#[derive(Debug)]
pub(crate) enum LaneEvent {
    /// It has reached the scan.
    Joins(Join),
    /// It came to an end and was not taken in.
    Ended(Key, Result<Ended>),
}

impl Lanes {
    pub(crate) fn new(own: Arc<Own>, roster: watch::Receiver<Arc<Roster>>, position: Offset) -> Self {
        let (border, _) = watch::channel(position);
        let (asking, joins) = mpsc::channel(1);
        Self { own, roster, border, tasks: Tasks::default(), running: Running::default(), asking, joins }
    }

    /// The scan stands here now.
    pub(crate) fn move_border(&self, position: Offset) {
        self.border.send_replace(position);
    }

    /// Replays apart: they are nobody's way to the scan.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.lanes.keys().all(|key| Replay::is_key(key))
    }

    /// Brings a member from its position to the scan.
    pub(crate) fn open(&mut self, member: Arc<Member>, position: Offset, stop: &CancellationToken) {
        self.spawn((Arc::clone(&member.key), position), member, None, stop);
    }

    /// Delivers a part of the source once more, beside everything else.
    pub(crate) fn replay(&mut self, member: Arc<Member>, replay: Replay, stop: &CancellationToken) {
        self.spawn((replay.key(&member), replay.position), member, Some(replay), stop);
    }

    /// Holds the source at once, also while the lane waits for its turn.
    fn spawn(
        &mut self,
        (key, position): (Key, Offset),
        member: Arc<Member>,
        replay: Option<Replay>,
        stop: &CancellationToken,
    ) {
        let stop = stop.child_token();
        let id = self.running.open(key, stop.clone());
        let hold = self.own.log().hold(&self.own.source, position);
        let lane = Lane {
            id: id.clone(),
            own: Arc::clone(&self.own),
            roster: self.roster.clone(),
            border: self.border.subscribe(),
            joins: self.asking.clone(),
            member,
            position,
            hold,
            replay,
        };
        self.tasks.spawn(id, lane::run(lane, stop));
    }

    /// The keys of all replays that are open.
    pub(crate) fn replays(&self) -> impl Iterator<Item = &Key> {
        self.running.lanes.keys().filter(|key| Replay::is_key(key))
    }

    /// Its end comes as an event.
    pub(crate) fn close(&self, key: &Key) {
        if let Some((_, stop)) = self.running.lanes.get(key) {
            stop.cancel();
        }
    }

    /// What happens next; waits for ever where there is no lane. Cancel-safe.
    pub(crate) async fn next(&mut self) -> LaneEvent {
        loop {
            tokio::select! {
                Some(join) = self.joins.recv() => return LaneEvent::Joins(join),
                Some((id, ended)) = self.tasks.next() => {
                    if self.running.remove(&id) {
                        return LaneEvent::Ended(id.key, ended);
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Stands at `border` until the lane has committed up to it; false where that takes too long or the lane is gone.
    pub(crate) async fn take_in(&mut self, join: Join, border: Offset) -> bool {
        let Join { lane, until, mut reached } = join;
        if until.send(border).is_err() {
            return false;
        }
        let in_time = tokio::time::timeout(limits::JOIN_WAIT, &mut reached).await;
        // The lane may reach the border just as the wait ends: after the close it is one or the other for both sides.
        reached.close();
        let joined = matches!(in_time, Ok(Ok(()))) || reached.try_recv().is_ok();
        joined && self.running.remove(&lane)
    }

    /// Ends all of them and waits until none has a transaction under way. True where nobody knows what became of one:
    /// then the rows here may be older than the log's.
    pub(crate) async fn stop(&mut self) -> Result<bool> {
        self.running.lanes.values().for_each(|(_, stop)| stop.cancel());
        self.joins.close();
        let (mut unsure, mut failed) = (false, None);
        while let Some((_, ended)) = self.tasks.next().await {
            match ended {
                Ok(ended) => unsure |= ended == Ended::Unknown,
                Err(error) => failed = Some(error),
            }
        }
        self.running.lanes.clear();
        failed.map_or(Ok(unsure), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_late_end_of_a_lane_that_was_taken_in_does_not_end_the_one_that_was_opened_after_it() {
        let (mut running, key) = (Running::default(), Key::from("acme/likes/1"));
        let taken_in = running.open(Arc::clone(&key), CancellationToken::new());
        assert!(running.remove(&taken_in));
        let deferred = running.open(Arc::clone(&key), CancellationToken::new());
        assert!(!running.remove(&taken_in), "its end is no news");
        assert!(running.lanes.contains_key(&key));
        assert!(running.remove(&deferred) && running.lanes.is_empty());
    }
}
