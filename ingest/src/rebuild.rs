//! After a restart: what the upstreams had brought by then, read back from the firehose topic's keys and headers.
//!
//! ```text
//!        reach                  horizon       left: firehoseEnds of the cursor that is furthest back
//!          │                       │            │
//!  ────────┼───────────────────────┼────────────┼──────────────────────────────┤ end
//!          never further back      └ that upstream may lag the others          └ what the others brought since
//! ```
//!
//! Nothing to do for one upstream: its cursor says all. Does not own what is remembered (`seen`).

use fpaas_core::{Timestamp, TopicPartition, limits};
use fpaas_log::{Error as LogError, Log, Stored, replay};

use crate::cursor::Cursors;
use crate::error::Result;
use crate::retry;
use crate::seen::Seen;
use crate::upstream::Upstream;

/// Remembers what is in the firehose topic from where the upstreams were left, and from
/// `limits::SEEN_ELSEWHERE_HORIZON` before that; at most `limits::SEEN_ELSEWHERE_REACH` of it.
pub(crate) async fn rebuild(
    seen: &mut Seen,
    log: &dyn Log,
    firehose: &[TopicPartition],
    cursors: &Cursors,
    upstreams: &[Upstream],
) -> Result<()> {
    if !seen.remembers() {
        return Ok(());
    }
    let last = Timestamp::from_micros(cursors.last_time_us());
    let left = Timestamp::from_micros(cursors.left_time_us(upstreams)).minus(limits::SEEN_ELSEWHERE_HORIZON);
    for at in firehose {
        let reach = retry::patiently(|| log.offset_at(at, last.minus(limits::SEEN_ELSEWHERE_REACH))).await?;
        let lag = retry::patiently(|| log.offset_at(at, left)).await?;
        let end = cursors.firehose_end(upstreams, at.partition.0).unwrap_or(lag);
        let from = lag.min(end).max(reach);
        loop {
            // Past its end: what the last owner has committed is in it. Remembered twice is remembered once.
            let each = |stored: Stored| {
                seen.remember(&stored.record);
                Ok::<_, LogError>(())
            };
            match replay(log, at, from, each).await {
                Err(LogError::Retry(_)) => retry::pause().await,
                done => break done.map(drop)?,
            }
        }
    }
    Ok(())
}
