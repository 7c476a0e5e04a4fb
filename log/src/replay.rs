//! Reading a partition whole, as whoever takes over from another must: nothing that is committed may be missed.

use std::time::Duration;

use fpaas_core::{Offset, TopicPartition};

use crate::{Error, FetchBounds, Log, Stored};

/// How often what is appended and not decided yet is looked for, at first and at most.
const LOOK: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(200);

/// Reads every record of `at` from `from` on, past everything that is appended now, and answers where it stopped.
///
/// A commit is decided before each partition is told of it (KIP-98, WriteTxnMarkers): up to the last stable offset
/// alone, the last transaction of a dead owner may not be there yet, and its work would be done twice.
pub async fn replay<E: From<Error>>(
    log: &dyn Log,
    at: &TopicPartition,
    from: Offset,
    mut each: impl FnMut(Stored) -> Result<(), E>,
) -> Result<Offset, E> {
    let (end, mut next, mut look) = (log.appended_end(at).await?, from, LOOK);
    while next < end {
        // Whoever waits is woken by records alone, and behind the last one there may be none.
        let fetched = log.fetch(at, next, FetchBounds::now()).await?;
        let stands = fetched.next == next;
        for stored in fetched.records {
            each(stored)?;
        }
        next = fetched.next;
        if stands {
            tokio::time::sleep(look).await;
            look = (look * 2).min(LOOK_MAX);
        }
    }
    Ok(next)
}
