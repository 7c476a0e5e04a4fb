//! How fast a recording is served: as fast as it is taken, or as its frames' times say.

use fpaas_core::{Timestamp, rfc3339};
use tokio::time::Instant;

use crate::recording::Frame;

/// A speed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pace {
    /// As fast as the caller takes them.
    #[default]
    Max,
    /// So many times the speed at which it was recorded.
    Times(f64),
}

impl Pace {
    pub(super) fn start(self) -> Pacer {
        Pacer { pace: self, first: None }
    }
}

/// Waits before each frame, counted from the first one it sees.
#[derive(Debug)]
pub(super) struct Pacer {
    pace: Pace,
    first: Option<(Instant, Timestamp)>,
}

impl Pacer {
    pub(super) async fn wait(&mut self, frame: &Frame) {
        let Pace::Times(times) = self.pace else { return };
        let Some(at) = frame.time.as_deref().and_then(rfc3339::parse) else { return };
        let (begin, first) = *self.first.get_or_insert_with(|| (Instant::now(), at));
        tokio::time::sleep_until(begin + at.since(first).div_f64(times)).await;
    }
}
