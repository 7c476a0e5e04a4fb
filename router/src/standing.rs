//! Where every subscription of a source stands on one of its partitions, and the rows that must say so. Pure.
//!
//! ```text
//!                    position S of the scan
//!                               │
//!   next < S: a lane catches up ▼ next ≥ S: in the scan, from `next` on
//!  ─────────────────────────────┼───────────────────────────────────────
//! ```
//!
//! Who is held (paused, or without a topic) stands out: its row says where it goes on, as that of a lane does, and no
//! lane is opened.
//!
//! `next` is what the row says, and for whoever is new, its start. So whatever was under way when a process died, the
//! rows and S alone say where each subscription goes on. Whoever the scan has heard of gets a row with its next
//! transaction, no later than anything else: a row that is not there although S knows the subscription is lost, and not
//! new.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_state::rows::{self, ScanRow};

use crate::Result;
use crate::plan::NOBODY;
use crate::roster::{Key, Member, Source};

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Standings {
    at: TopicPartition,
    places: HashMap<Key, Place>,
    /// Rows to write or remove with the scan's next transaction.
    changes: BTreeMap<String, Option<ScanRow>>,
    /// By the members' numbers: the offset from which on the scan carries each.
    from: Vec<Offset>,
}

#[derive(Debug)]
struct Place {
    row_key: String,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    InScan(Offset),
    InLane,
    /// In a lane that was asked to stop, since it is held.
    Leaving,
    /// It is to go on in a lane, once the row is written that says where.
    Waiting,
    /// It is held, or its deliveries were refused: it waits for another revision, or not to be held any more.
    Out(u64, bool),
}

/// Somebody whose standing is not known yet.
struct Newcomer<'s> {
    member: &'s Arc<Member>,
    row: Option<ScanRow>,
    next: Offset,
}

/// What a change of the roster asks the scan to do.
#[derive(Debug)]
pub(crate) struct Changed {
    /// Where the scan goes on.
    pub(crate) position: Offset,
    /// Lanes to open, and where.
    pub(crate) opened: Vec<(Arc<Member>, Offset)>,
    /// Lanes to close: their subscriptions are gone, or paused.
    pub(crate) closed: Vec<Key>,
    /// The first record of those who wait for their row: it is to be held until they have lanes.
    pub(crate) awaited: Option<Offset>,
}

impl Standings {
    pub(crate) fn new(at: TopicPartition) -> Self {
        Self { at, places: HashMap::new(), changes: BTreeMap::new(), from: Vec::new() }
    }

    /// True when there is nobody to scan for.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// By the members' numbers: the offset from which on the scan carries each.
    pub(crate) fn from(&self) -> &[Offset] {
        &self.from
    }

    /// What the next transaction has to write.
    pub(crate) const fn changes(&self) -> &BTreeMap<String, Option<ScanRow>> {
        &self.changes
    }

    /// They are written. True where somebody waited for that: the roster has to be followed again.
    pub(crate) fn written(&mut self) -> bool {
        self.changes.clear();
        self.places.values().any(|place| place.standing == Standing::Waiting)
    }

    /// Follows the roster. `row` reads what is committed. Those who stay keep their place; a subscription that stood
    /// out is looked at again when it was changed.
    pub(crate) fn follow(
        &mut self,
        source: &Source,
        position: Offset,
        row: impl Fn(&Member) -> Result<Option<ScanRow>>,
    ) -> Result<Changed> {
        let mut closed = self.drop_gone(source);
        closed.extend(self.hold_back(source, position));
        let newcomers = self.newcomers(source, row)?;
        let (held, newcomers): (Vec<_>, Vec<_>) = newcomers.into_iter().partition(|newcomer| newcomer.member.held);
        // Before the scan may be taken elsewhere: who was in it has had everything up to here.
        held.iter().for_each(|newcomer| self.place_outside(newcomer, position));
        let position = self.seek(position, &newcomers);
        let mut opened = Vec::new();
        for newcomer in &newcomers {
            if let Some(lane) = self.place(newcomer, position) {
                opened.push(lane);
            }
        }
        let waits = |newcomer: &&Newcomer<'_>| self.stands(&newcomer.member.key) == Some(Standing::Waiting);
        let awaited = newcomers.iter().filter(waits).map(|newcomer| newcomer.next).min();
        self.number(source);
        Ok(Changed { position: self.skip(position), opened, closed, awaited })
    }

    /// A lane has committed up to `position`, where the scan stands: from here on the scan carries its subscription.
    pub(crate) fn join(&mut self, source: &Source, key: &Key, position: Offset) {
        self.set(key, Standing::InScan(position), Some(ScanRow { position, in_scan: true }));
        self.number(source);
    }

    /// The scan leaves this subscription out from `position` on, or from where it was to begin.
    pub(crate) fn leave(&mut self, source: &Source, key: &Key, position: Offset) {
        let begin = source.number(key).and_then(|number| self.from.get(number)).copied().unwrap_or(position);
        self.set(key, out(source, key), Some(ScanRow { position: position.max(begin), in_scan: false }));
        self.number(source);
    }

    /// What kept it out may have passed: the next roster finds it a place, whether it was changed or not.
    pub(crate) fn look_again(&mut self, key: &Key) {
        self.places.retain(|other, place| other != key || !matches!(place.standing, Standing::Out(..)));
    }

    /// It left the scan with a row that says so, and a lane brings it back.
    pub(crate) fn defer(&mut self, source: &Source, key: &Key) {
        self.set(key, Standing::InLane, None);
        self.number(source);
    }

    /// A lane has ended: it was closed because its subscription is gone or held, or it stands out. True where the
    /// roster has to be followed again: what was held may go on by now.
    pub(crate) fn lane_ended(&mut self, source: &Source, key: &Key) -> bool {
        let held = self.stands(key) == Some(Standing::Leaving);
        if source.number(key).is_none() {
            if let Some(place) = self.places.remove(key) {
                self.changes.insert(place.row_key, None);
            }
        } else if held {
            self.places.remove(key);
        } else {
            self.set(key, out(source, key), None);
        }
        held
    }

    /// False of a lane that is to stop.
    pub(crate) fn may_join(&self, key: &Key) -> bool {
        self.stands(key) == Some(Standing::InLane)
    }

    fn stands(&self, key: &Key) -> Option<Standing> {
        self.places.get(key).map(|place| place.standing)
    }

    fn set(&mut self, key: &Key, standing: Standing, row: Option<ScanRow>) {
        let Some(place) = self.places.get_mut(key) else { return };
        place.standing = standing;
        if row.is_some() {
            self.changes.insert(place.row_key.clone(), row);
        }
    }

    /// Rows of lanes are removed when the lane has ended, so that it cannot write them again.
    fn drop_gone(&mut self, source: &Source) -> Vec<Key> {
        let gone = self.places.iter().filter(|(key, _)| source.number(key).is_none());
        let (in_lane, others): (Vec<_>, Vec<_>) =
            gone.partition(|(_, place)| matches!(place.standing, Standing::InLane | Standing::Leaving));
        let closed = in_lane.into_iter().map(|(key, _)| Arc::clone(key)).collect();
        let others: Vec<Key> = others.into_iter().map(|(key, _)| Arc::clone(key)).collect();
        for place in others.iter().filter_map(|key| self.places.remove(key)) {
            self.changes.insert(place.row_key, None);
        }
        closed
    }

    /// Who is held by now leaves the scan at `position`. Answers the lanes that are to stop for it.
    fn hold_back(&mut self, source: &Source, position: Offset) -> Vec<Key> {
        let mut closed = Vec::new();
        for member in source.members().iter().filter(|member| member.held) {
            match self.stands(&member.key) {
                Some(Standing::InScan(from)) => {
                    let row = ScanRow { position: position.max(from), in_scan: false };
                    self.set(&member.key, Standing::Out(member.entry.revision, true), Some(row));
                }
                Some(Standing::InLane) => {
                    self.set(&member.key, Standing::Leaving, None);
                    closed.push(Arc::clone(&member.key));
                }
                Some(Standing::Leaving | Standing::Waiting | Standing::Out(..)) | None => {}
            }
        }
        closed
    }

    fn newcomers<'s>(
        &self,
        source: &'s Source,
        row: impl Fn(&Member) -> Result<Option<ScanRow>>,
    ) -> Result<Vec<Newcomer<'s>>> {
        let mut newcomers = Vec::new();
        for member in source.members().iter().filter(|member| !self.is_settled(member)) {
            let start = member.start(self.at.partition);
            let row = match self.changes.get(&rows::scan_key(&member.entry, &self.at)) {
                Some(change) => change.clone(),
                None => row(member)?,
            };
            let next = row.as_ref().map_or(start, |row| row.position);
            newcomers.push(Newcomer { member, row, next });
        }
        Ok(newcomers)
    }

    fn is_settled(&self, member: &Member) -> bool {
        self.places.get(&member.key).is_some_and(|place| match place.standing {
            Standing::InScan(_) | Standing::InLane | Standing::Leaving => true,
            Standing::Waiting => false,
            Standing::Out(revision, held) => revision == member.entry.revision && held == member.held,
        })
    }

    /// Where nobody is in the scan or in a lane, nobody minds where it stands: it begins with the first who comes.
    fn seek(&self, position: Offset, newcomers: &[Newcomer<'_>]) -> Offset {
        let taken = self.places.values().any(|place| !matches!(place.standing, Standing::Waiting | Standing::Out(..)));
        let carried = newcomers.iter().any(|newcomer| newcomer.row.as_ref().is_some_and(|row| row.in_scan));
        let lowest = newcomers.iter().map(|newcomer| newcomer.next).min();
        lowest.filter(|_| !taken && !carried).unwrap_or(position)
    }

    /// Nothing below the first offset that somebody in the scan wants is read.
    fn skip(&self, position: Offset) -> Offset {
        let wanted = self.from.iter().copied().filter(|from| *from != NOBODY).min();
        wanted.map_or(position, |from| from.max(position))
    }

    /// Who is held stands out where it is. In the scan, that is where the scan is, or its start beyond.
    fn place_outside(&mut self, newcomer: &Newcomer<'_>, position: Offset) {
        let Newcomer { member, row, next } = newcomer;
        let row_key = rows::scan_key(&member.entry, &self.at);
        let begin = match row {
            Some(row) if row.in_scan => Some(position.max(*next)),
            Some(_) => None,
            None => Some(*next),
        };
        if let Some(position) = begin {
            self.changes.insert(row_key.clone(), Some(ScanRow { position, in_scan: false }));
        }
        let place = Place { row_key, standing: Standing::Out(member.entry.revision, true) };
        self.places.insert(Arc::clone(&member.key), place);
        member.counters.note_moving(Stage::Router, self.at.partition);
    }

    /// Into the scan, or into a lane that is to be opened.
    fn place(&mut self, newcomer: &Newcomer<'_>, position: Offset) -> Option<(Arc<Member>, Offset)> {
        let Newcomer { member, row, next } = newcomer;
        let carried = row.as_ref().is_some_and(|row| row.in_scan);
        let in_scan = carried || *next >= position;
        let row_key = rows::scan_key(&member.entry, &self.at);
        if (in_scan && !carried) || row.is_none() {
            self.changes.insert(row_key.clone(), Some(ScanRow { position: *next, in_scan }));
        }
        let standing = match in_scan {
            true => Standing::InScan(*next),
            // A lane writes this row: the scan must not write it over that.
            false if self.changes.contains_key(&row_key) => Standing::Waiting,
            false => Standing::InLane,
        };
        let place = Place { row_key, standing };
        self.places.insert(Arc::clone(&member.key), place);
        member.counters.note_moving(Stage::Router, self.at.partition);
        (standing == Standing::InLane).then(|| (Arc::clone(member), *next))
    }

    fn number(&mut self, source: &Source) {
        let from = source.members().iter().map(|member| match self.places.get(&member.key)?.standing {
            Standing::InScan(from) => Some(from),
            Standing::InLane | Standing::Leaving | Standing::Waiting | Standing::Out(..) => None,
        });
        self.from = from.map(|from| from.unwrap_or(NOBODY)).collect();
    }
}

fn out(source: &Source, key: &Key) -> Standing {
    let member = source.member(key);
    Standing::Out(member.map_or(0, |member| member.entry.revision), member.is_some_and(|member| member.held))
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
