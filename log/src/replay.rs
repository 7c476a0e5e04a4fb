//! Reading a partition whole, as whoever takes over from another must: nothing that is committed may be missed.

use std::time::Duration;

use fpaas_core::{Offset, TopicPartition};

use crate::{Error, FetchBounds, Log, Stored};

/// How long a fetch waits for what is appended and not decided yet.
const WAIT: Duration = Duration::from_secs(1);

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
    let (end, mut next) = (log.appended_end(at).await?, from);
    while next < end {
        let fetched = log.fetch(at, next, FetchBounds::waiting(WAIT)).await?;
        for stored in fetched.records {
            each(stored)?;
        }
        next = fetched.next;
    }
    Ok(next)
}
