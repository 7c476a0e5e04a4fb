//! What ingest does right now, for the progress line, metrics and who waits for its end. Counters and one watch; no
//! decision of ingest depends on it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::gate::{DropReason, Drops};
use crate::upstream::Upstream;

/// How an upstream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing was tried yet, or another node has the work.
    #[default]
    Idle,
    /// Frames come, or may.
    Connected,
    /// It cannot be had at the moment: one sentence for a person. Tried again by itself.
    Unreachable(String),
    /// The recording is at its end and everything of it is committed.
    Finished,
}

/// One upstream, by its number in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// What its cursor is kept under.
    pub id: String,
    /// True of a recording: it comes to an end.
    pub ends: bool,
    /// How it stands.
    pub state: State,
    /// The last `seq` that is committed.
    pub seq: Option<u64>,
}

/// Shared by ingest and those who look. What it counts is committed.
#[derive(Debug)]
pub struct Status {
    frames: AtomicU64,
    frame_bytes: AtomicU64,
    events: AtomicU64,
    event_bytes: AtomicU64,
    drops: Vec<AtomicU64>,
    upstreams: watch::Sender<Vec<UpstreamStatus>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames taken.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
    /// Events written.
    pub events: u64,
    /// The bytes of their records.
    pub event_bytes: u64,
}

impl Status {
    /// Of ingest that has not started.
    pub fn new(upstreams: &[Upstream]) -> Self {
        let idle = |upstream: &Upstream| UpstreamStatus {
            id: upstream.id().to_owned(),
            ends: matches!(upstream, Upstream::Recording(_)),
            state: State::Idle,
            seq: None,
        };
        Self {
            frames: AtomicU64::new(0),
            frame_bytes: AtomicU64::new(0),
            events: AtomicU64::new(0),
            event_bytes: AtomicU64::new(0),
            drops: DropReason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            upstreams: watch::Sender::new(upstreams.iter().map(idle).collect()),
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts {
            frames: self.frames.load(Ordering::Relaxed),
            frame_bytes: self.frame_bytes.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            event_bytes: self.event_bytes.load(Ordering::Relaxed),
        }
    }

    /// What was dropped so far, by reason; every reason is in it.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().zip(&self.drops).map(|(reason, count)| (*reason, count.load(Ordering::Relaxed)))
    }

    /// The upstreams, in the order of the configuration; the receiver wakes at every change of a state.
    pub fn upstreams(&self) -> watch::Receiver<Vec<UpstreamStatus>> {
        self.upstreams.subscribe()
    }

    /// Resolves when every recording is finished. Never where there is none: a relay has no end.
    pub async fn finished(&self) {
        let over = |upstreams: &Vec<UpstreamStatus>| {
            let mut ending = upstreams.iter().filter(|upstream| upstream.ends).peekable();
            ending.peek().is_some() && ending.all(|upstream| upstream.state == State::Finished)
        };
        let mut upstreams = self.upstreams.subscribe();
        // The sender is in `self`, so the wait cannot fail.
        drop(upstreams.wait_for(over).await);
    }

    pub(crate) fn set(&self, upstream: usize, state: State) {
        self.upstreams.send_if_modified(|upstreams| match upstreams.get_mut(upstream) {
            Some(known) if known.state != state => {
                known.state = state;
                true
            }
            _ => false,
        });
    }

    /// Nobody listens to it any more; a finished recording stays finished.
    pub(crate) fn rest(&self, upstream: usize) {
        let finished = self.upstreams.borrow().get(upstream).is_some_and(|known| known.state == State::Finished);
        if !finished {
            self.set(upstream, State::Idle);
        }
    }

    /// Quietly: a `seq` moves with every commit and wakes nobody.
    pub(crate) fn reached(&self, upstream: usize, seq: u64) {
        self.upstreams.send_if_modified(|upstreams| {
            if let Some(known) = upstreams.get_mut(upstream) {
                known.seq = Some(seq);
            }
            false
        });
    }

    pub(crate) fn add(&self, counts: &Counts, drops: &Drops) {
        self.frames.fetch_add(counts.frames, Ordering::Relaxed);
        self.frame_bytes.fetch_add(counts.frame_bytes, Ordering::Relaxed);
        self.events.fetch_add(counts.events, Ordering::Relaxed);
        self.event_bytes.fetch_add(counts.event_bytes, Ordering::Relaxed);
        for (reason, times) in drops.iter() {
            self.drop_counter(reason).fetch_add(times, Ordering::Relaxed);
        }
    }

    fn drop_counter(&self, reason: DropReason) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.drops.get(reason as usize).unwrap_or(&NONE)
    }
}
