//! What was taken before: seqs that do not rise, and what several upstreams bring twice.
//!
//! Across upstreams, a repo's commits are told by their `rev`, which only rises, and statements (identity, account) by
//! their event id, which has nothing of the upstream in it. Only the newest `limits::SEEN_ELSEWHERE_MAX` are
//! remembered, and after a restart those of the last `limits::SEEN_ELSEWHERE_HORIZON` before it: an upstream that lags
//! by more brings events again, under the same ids. Upstreams are trusted with this: one that lies about a `rev` hides
//! the repo's real commits, until signatures are verified. Keys are kept as keyed 64-bit hashes, so that nobody can
//! make two of them meet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use fpaas_core::event::{Kind, header};
use fpaas_core::{Timestamp, TopicPartition, limits};
use fpaas_log::{FetchBounds, Log, Record};

use crate::error::Result;
use crate::frame::Frame;
use crate::gate::DropReason;
use crate::{convert, retry};

/// What each upstream has reached, and what any of them has brought.
#[derive(Debug)]
pub(crate) struct Seen {
    seqs: Vec<Option<u64>>,
    elsewhere: Option<Elsewhere>,
}

impl Seen {
    /// Each upstream goes on above its cursor.
    pub(crate) fn new(cursors: Vec<Option<u64>>) -> Self {
        let elsewhere = (cursors.len() > 1).then(|| Elsewhere::new(limits::SEEN_ELSEWHERE_MAX));
        Self { seqs: cursors, elsewhere }
    }

    /// The last `seq` of an upstream.
    pub(crate) fn seq(&self, upstream: usize) -> Option<u64> {
        self.seqs.get(upstream).copied().flatten()
    }

    /// A record of the firehose topic, from before the restart.
    fn remember(&mut self, record: &Record) {
        let Some(elsewhere) = &mut self.elsewhere else { return };
        let (kind, rev) = (record.headers.get_str(header::KIND), record.headers.get_str(header::REV));
        let did = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        match (kind, did, rev, record.headers.get_str(header::ID)) {
            (Some(kind), Some(did), Some(rev), _) => elsewhere.is_new_rev(kind, did, rev),
            (.., Some(id)) => elsewhere.is_new_statement(id),
            _ => true,
        };
    }

    /// The upstream counts anew.
    pub(crate) fn restarted(&mut self, upstream: usize) {
        if let Some(seq) = self.seqs.get_mut(upstream) {
            *seq = None;
        }
    }

    /// Whether this frame is new, and remembers it.
    pub(crate) fn admit(&mut self, upstream: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        if let (Some(seq), Some(last)) = (frame.seq(), self.seqs.get_mut(upstream)) {
            if last.is_some_and(|last| seq <= last) {
                return Err(DropReason::FrameStaleSeq);
            }
            *last = Some(seq);
        }
        let new = self.elsewhere.as_mut().is_none_or(|elsewhere| elsewhere.is_new(frame));
        if new { Ok(()) } else { Err(DropReason::FrameSeenElsewhere) }
    }
}

/// Remembers what is in the firehose topic since the horizon before `last_time_us`; nothing to do for one upstream.
pub(crate) async fn rebuild(
    seen: &mut Seen,
    log: &dyn Log,
    firehose: &[TopicPartition],
    last_time_us: i64,
) -> Result<()> {
    if seen.elsewhere.is_none() {
        return Ok(());
    }
    let since = Timestamp::from_micros(last_time_us).minus(limits::SEEN_ELSEWHERE_HORIZON);
    for at in firehose {
        let mut from = retry::patiently(|| log.offset_at(at, since)).await?;
        loop {
            let fetched = retry::patiently(|| log.fetch(at, from, FetchBounds::now())).await?;
            fetched.records.iter().for_each(|stored| seen.remember(&stored.record));
            from = fetched.next;
            if fetched.next >= fetched.end {
                break;
            }
        }
    }
    Ok(())
}

/// Two generations of at most half as many entries as there is room for: when the young one is full, it becomes the old
/// one and what was old is forgotten. What is looked up moves to the young one.
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

    fn is_new(&mut self, frame: &Frame<'_>) -> bool {
        match frame {
            Frame::Commit(commit) => self.is_new_rev(Kind::Commit.as_str(), commit.did, commit.rev),
            Frame::Sync(sync) => self.is_new_rev(Kind::Sync.as_str(), sync.did, sync.rev),
            Frame::Identity(identity) => self.is_new_statement(&convert::identity_id(identity)),
            Frame::Account(account) => self.is_new_statement(&convert::account_id(account)),
            Frame::Info(_) | Frame::Error(_) | Frame::Unknown { .. } => true,
        }
    }

    /// TIDs order as their text does.
    fn is_new_rev(&mut self, kind: &str, did: &str, rev: &str) -> bool {
        self.raise(self.hasher.hash_one((kind, did)), order_of(rev))
    }

    fn is_new_statement(&mut self, id: &str) -> bool {
        self.raise(self.hasher.hash_one(id), 1)
    }

    /// True when `to` is above what is known of `key`, which it then is.
    fn raise(&mut self, key: u64, to: u64) -> bool {
        let known = self.young.get(&key).copied().max(self.old.get(&key).copied());
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, known.unwrap_or(0).max(to));
        known.is_none_or(|known| to > known)
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

    #[test]
    fn a_seq_that_does_not_rise_is_stale_until_the_upstream_counts_anew() {
        let mut seen = Seen::new(vec![Some(5)]);
        assert_eq!(seen.admit(0, &sync(5, "a", OLD)), Err(DropReason::FrameStaleSeq));
        assert_eq!(seen.admit(0, &sync(9, "a", OLD)), Ok(()));
        assert_eq!(seen.admit(0, &sync(6, "a", NEW)), Err(DropReason::FrameStaleSeq));
        seen.restarted(0);
        assert_eq!(seen.admit(0, &sync(1, "a", OLD)), Ok(()));
    }

    #[test]
    fn what_one_upstream_brought_is_not_taken_from_another() {
        let mut seen = Seen::new(vec![None, None]);
        let identity = |time| Frame::Identity(Identity { seq: 1_000_000, did: "a", time, handle: None });
        assert_eq!(seen.admit(0, &sync(1, "a", NEW)), Ok(()));
        assert_eq!(seen.admit(1, &sync(1, "a", OLD)), Err(DropReason::FrameSeenElsewhere));
        assert_eq!(seen.admit(1, &sync(2, "a", NEW)), Err(DropReason::FrameSeenElsewhere));
        assert_eq!(seen.admit(1, &sync(3, "b", OLD)), Ok(()));
        assert_eq!(seen.admit(0, &identity("t1")), Ok(()));
        assert_eq!(seen.admit(1, &identity("t1")), Err(DropReason::FrameSeenElsewhere));
    }

    #[test]
    fn the_oldest_are_forgotten_first_and_memory_is_bounded() {
        let mut elsewhere = Elsewhere::new(10);
        for did in 0..100 {
            assert!(elsewhere.is_new_rev("commit", &format!("did:{did}"), OLD));
            assert!(!elsewhere.is_new_rev("commit", &format!("did:{did}"), OLD));
            assert!(elsewhere.young.len() + elsewhere.old.len() <= 10);
        }
        assert!(!elsewhere.is_new_rev("commit", "did:97", OLD));
        assert!(elsewhere.is_new_rev("commit", "did:0", OLD));
    }

    #[test]
    fn tids_keep_their_order_as_numbers() {
        let mut tids = ["2222222222222", "3zzzzzzzzzzzz", "7777777777777", OLD, NEW, "jzzzzzzzzzzzz"];
        tids.sort_unstable();
        assert!(tids.windows(2).all(|pair| order_of(pair[0]) < order_of(pair[1])));
    }
}
