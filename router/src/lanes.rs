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
use crate::roster::{Key, Member, Roster};
use crate::tasks::Tasks;

/// Owns its lanes' tasks: none outlives it.
#[derive(Debug)]
pub(crate) struct Lanes {
    own: Arc<Own>,
    roster: watch::Receiver<Arc<Roster>>,
    border: watch::Sender<Offset>,
    tasks: Tasks<Key>,
    running: HashMap<Key, CancellationToken>,
    asking: mpsc::Sender<Join>,
    joins: mpsc::Receiver<Join>,
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
        Self { own, roster, border, tasks: Tasks::default(), running: HashMap::new(), asking, joins }
    }

    /// The scan stands here now.
    pub(crate) fn move_border(&self, position: Offset) {
        self.border.send_replace(position);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Holds the source at once, also while the lane waits for its turn.
    pub(crate) fn open(&mut self, member: Arc<Member>, position: Offset, stop: &CancellationToken) {
        let key = Arc::clone(&member.key);
        let hold = self.own.log().hold(&self.own.source, position);
        let lane = Lane {
            own: Arc::clone(&self.own),
            roster: self.roster.clone(),
            border: self.border.subscribe(),
            joins: self.asking.clone(),
            member,
            position,
            hold,
        };
        let stop = stop.child_token();
        self.running.insert(Arc::clone(&key), stop.clone());
        self.tasks.spawn(key, lane::run(lane, stop));
    }

    /// Its end comes as an event.
    pub(crate) fn close(&self, key: &Key) {
        if let Some(stop) = self.running.get(key) {
            stop.cancel();
        }
    }

    /// What happens next; waits for ever where there is no lane. Cancel-safe.
    pub(crate) async fn next(&mut self) -> LaneEvent {
        loop {
            tokio::select! {
                Some(join) = self.joins.recv() => return LaneEvent::Joins(join),
                Some((key, ended)) = self.tasks.next() => {
                    if self.running.remove(&key).is_some() {
                        return LaneEvent::Ended(key, ended);
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Stands at `border` until the lane has committed up to it; false where that takes too long or the lane is gone.
    pub(crate) async fn take_in(&mut self, join: Join, border: Offset) -> bool {
        let Join { key, until, mut reached } = join;
        if until.send(border).is_err() {
            return false;
        }
        let in_time = tokio::time::timeout(limits::JOIN_WAIT, &mut reached).await;
        // The lane may reach the border just as the wait ends: after the close it is one or the other for both sides.
        reached.close();
        let joined = matches!(in_time, Ok(Ok(()))) || reached.try_recv().is_ok();
        joined && self.running.remove(&key).is_some()
    }

    /// Ends all of them and waits until none has a transaction under way.
    pub(crate) async fn stop(&mut self) {
        self.running.values().for_each(CancellationToken::cancel);
        self.joins.close();
        while self.tasks.next().await.is_some() {}
        self.running.clear();
    }
}
