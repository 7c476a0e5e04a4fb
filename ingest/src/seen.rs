//! What was taken before: seqs that do not rise, and what several upstreams bring twice.
//!
//! Across upstreams, a repo's commits are told by their `rev`, which only rises, and statements (identity, account) by
//! their event id, which has nothing of the upstream in it. Something counts as brought once it is converted: a bad
//! copy hides no good one, and of a commit that lost some of its ops another upstream's copy adds just those, as long
//! as the repo has not moved on and ingest not restarted. Only the newest `limits::SEEN_ELSEWHERE_MAX` are remembered;
//! how far back a restart remembers is said in `rebuild`. An upstream that lags by more brings events again, under the
//! same ids. Upstreams are trusted with this: one that lies about a `rev` hides the repo's real commits, until
//! signatures are verified. Keys are kept as keyed 64-bit hashes, so that nobody can make two of them meet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use fpaas_core::event::{Kind, header};
use fpaas_core::limits;
use fpaas_log::Record;

use crate::convert;
use crate::course::Course;
use crate::events::{Events, Mark};
use crate::frame::Frame;
use crate::gate::DropReason;

/// What each upstream has reached, and what any of them has brought.
#[derive(Debug)]
pub(crate) struct Seen {
    courses: Vec<Course>,
    elsewhere: Option<Elsewhere>,
}

/// How much of an admitted frame is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum New {
    /// All of it.
    All,
    /// What was lost of the copy that another upstream has brought.
    Rest,
}

impl Seen {
    /// Each upstream goes on above its cursor.
    pub(crate) fn new(cursors: &[Option<u64>]) -> Self {
        let elsewhere = (cursors.len() > 1).then(|| Elsewhere::new(limits::SEEN_ELSEWHERE_MAX));
        Self { courses: cursors.iter().copied().map(Course::behind).collect(), elsewhere }
    }

    /// Whether it matters what others have brought.
    pub(crate) const fn remembers(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// The last `seq` of an upstream.
    pub(crate) fn seq(&self, upstream: usize) -> Option<u64> {
        self.courses.get(upstream).and_then(Course::last)
    }

    /// A record of the firehose topic, from before the restart.
    pub(crate) fn remember(&mut self, record: &Record) {
        let Some(elsewhere) = &mut self.elsewhere else { return };
        let (kind, rev) = (record.headers.get_str(header::KIND), record.headers.get_str(header::REV));
        let did = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        match (kind, did, rev, record.headers.get_str(header::ID)) {
            (Some(kind), Some(did), Some(rev), _) => elsewhere.raise(&elsewhere.rev(kind, did, rev)),
            (.., Some(id)) => elsewhere.raise(&elsewhere.statement(id)),
            _ => {}
        }
    }

    /// The upstream counts anew.
    pub(crate) fn restarted(&mut self, upstream: usize) {
        if let Some(course) = self.courses.get_mut(upstream) {
            *course = Course::default();
        }
    }

    /// Whether this frame is new. Its `seq` is taken, whatever becomes of it.
    pub(crate) fn admit(&mut self, upstream: usize, frame: &Frame<'_>) -> Result<New, DropReason> {
        if let (Some(seq), Some(course)) = (frame.seq(), self.courses.get_mut(upstream)) {
            course.admit(seq)?;
        }
        self.elsewhere.as_ref().map_or(Ok(New::All), |elsewhere| elsewhere.admit(frame))
    }

    /// Remembers what `frame` has added to `events` since `mark`, and takes back what was there before.
    pub(crate) fn note(&mut self, frame: &Frame<'_>, new: New, events: &mut Events, mark: Mark) {
        let Some(elsewhere) = &mut self.elsewhere else { return };
        if new == New::Rest {
            events.retain_since(mark, |headers| !elsewhere.knows(&elsewhere.event(headers)));
        }
        if !events.dropped_since(mark) {
            elsewhere.whole(frame).into_iter().for_each(|what| elsewhere.raise(&what));
            return;
        }
        for headers in events.headers_since(mark) {
            elsewhere.raise(&elsewhere.event(headers));
            elsewhere.part(frame).into_iter().for_each(|what| elsewhere.raise(&what));
        }
    }
}

/// Something that is brought, and how far it has come.
struct What {
    key: u64,
    to: u64,
}

/// Two generations of at most half as many entries as there is room for: when the young one is full, it becomes the old
/// one and what was old is forgotten. What rises moves to the young one.
#[derive(Debug)]
struct Elsewhere {
    hasher: RandomState,
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
    generation_max: usize,
}

impl Elsewhere {
    fn new(max: usize) -> Self {
        Self { hasher: RandomState::new(), young: HashMap::new(), old: HashMap::new(), generation_max: max / 2 }
    }

    fn admit(&self, frame: &Frame<'_>) -> Result<New, DropReason> {
        if self.whole(frame).is_some_and(|what| self.knows(&what)) {
            return Err(DropReason::FrameSeenElsewhere);
        }
        Ok(if self.part(frame).is_some_and(|what| self.knows(&what)) { New::Rest } else { New::All })
    }

    /// All that the frame says.
    fn whole(&self, frame: &Frame<'_>) -> Option<What> {
        match frame {
            Frame::Commit(commit) => Some(self.rev(Kind::Commit.as_str(), commit.did, commit.rev)),
            Frame::Sync(sync) => Some(self.rev(Kind::Sync.as_str(), sync.did, sync.rev)),
            Frame::Identity(identity) => Some(self.statement(&convert::identity_id(identity))),
            Frame::Account(account) => Some(self.statement(&convert::account_id(account))),
            Frame::Info(_) | Frame::Error(_) | Frame::Unknown => None,
        }
    }

    /// A commit without some of its ops.
    fn part(&self, frame: &Frame<'_>) -> Option<What> {
        let Frame::Commit(commit) = frame else { return None };
        Some(What { key: self.hasher.hash_one(("part", commit.did, commit.rev)), to: 1 })
    }

    /// TIDs order as their text does.
    fn rev(&self, kind: &str, did: &str, rev: &str) -> What {
        What { key: self.hasher.hash_one((kind, did)), to: order_of(rev) }
    }

    fn statement(&self, id: &str) -> What {
        What { key: self.hasher.hash_one(id), to: 1 }
    }

    /// One event of a commit, told by all of its headers.
    fn event(&self, headers: &[u8]) -> What {
        What { key: self.hasher.hash_one(headers), to: 1 }
    }

    fn known(&self, key: u64) -> Option<u64> {
        self.young.get(&key).copied().max(self.old.get(&key).copied())
    }

    fn knows(&self, what: &What) -> bool {
        self.known(what.key).is_some_and(|known| what.to <= known)
    }

    fn raise(&mut self, what: &What) {
        let to = self.known(what.key).unwrap_or(0).max(what.to);
        if self.young.len() >= self.generation_max && !self.young.contains_key(&what.key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(what.key, to);
    }
}

/// The first 12 of a TID's 13 digits hold its time, in 60 bits, and the last one half of its clock id; all 13 are 65
/// bits, of which the highest is zero.
fn order_of(rev: &str) -> u64 {
    let digit = |byte: u8| match byte {
        b'2'..=b'7' => byte - b'2',
        b'a'..=b'z' => byte - b'a' + 6,
        _ => 0,
    };
    rev.bytes().fold(0u64, |order, byte| order << 5 | u64::from(digit(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Identity, Sync};

    fn sync<'a>(seq: u64, did: &'a str, rev: &'a str) -> Frame<'a> {
        Frame::Sync(Sync { seq, did, rev, time: "" })
    }

    const OLD: &str = "3n2xs7smpiz2q";
    const NEW: &str = "3n2xs7smpiz2r";

    /// Admits a frame that converts without loss.
    fn take(seen: &mut Seen, upstream: usize, frame: &Frame<'_>) -> Result<New, DropReason> {
        let mut events = Events::new();
        let mark = events.mark();
        let new = seen.admit(upstream, frame)?;
        seen.note(frame, new, &mut events, mark);
        Ok(new)
    }

    #[test]
    fn a_seq_that_does_not_rise_is_stale_until_the_upstream_counts_anew() {
        let mut seen = Seen::new(&[Some(5)]);
        assert_eq!(take(&mut seen, 0, &sync(5, "a", OLD)), Err(DropReason::FrameStaleSeq));
        assert_eq!(take(&mut seen, 0, &sync(9, "a", OLD)), Ok(New::All));
        assert_eq!(take(&mut seen, 0, &sync(6, "a", NEW)), Err(DropReason::FrameStaleSeq));
        seen.restarted(0);
        assert_eq!(take(&mut seen, 0, &sync(1, "a", OLD)), Ok(New::All));
    }

    #[test]
    fn what_one_upstream_brought_is_not_taken_from_another() {
        let mut seen = Seen::new(&[None, None]);
        let identity = |time| Frame::Identity(Identity { seq: 1_000_000, did: "a", time, handle: None });
        assert_eq!(take(&mut seen, 0, &sync(1, "a", NEW)), Ok(New::All));
        assert_eq!(take(&mut seen, 1, &sync(1, "a", OLD)), Err(DropReason::FrameSeenElsewhere));
        assert_eq!(take(&mut seen, 1, &sync(2, "a", NEW)), Err(DropReason::FrameSeenElsewhere));
        assert_eq!(take(&mut seen, 1, &sync(3, "b", OLD)), Ok(New::All));
        assert_eq!(take(&mut seen, 0, &identity("t1")), Ok(New::All));
        assert_eq!(take(&mut seen, 1, &identity("t1")), Err(DropReason::FrameSeenElsewhere));
    }

    #[test]
    fn the_oldest_are_forgotten_first_and_memory_is_bounded() {
        let mut elsewhere = Elsewhere::new(10);
        let of = |elsewhere: &Elsewhere, did: u32| elsewhere.rev("commit", &format!("did:{did}"), OLD);
        for did in 0..100 {
            let what = of(&elsewhere, did);
            assert!(!elsewhere.knows(&what));
            elsewhere.raise(&what);
            assert!(elsewhere.knows(&what));
            assert!(elsewhere.young.len() + elsewhere.old.len() <= 10);
        }
        assert!(elsewhere.knows(&of(&elsewhere, 97)));
        assert!(!elsewhere.knows(&of(&elsewhere, 0)));
    }

    #[test]
    fn tids_keep_their_order_as_numbers() {
        let mut tids = ["2222222222222", "3zzzzzzzzzzzz", "7777777777777", OLD, NEW, "jzzzzzzzzzzzz"];
        tids.sort_unstable();
        assert!(tids.windows(2).all(|pair| order_of(pair[0]) < order_of(pair[1])));
    }
}
