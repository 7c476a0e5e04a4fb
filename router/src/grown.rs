//! How many partitions a source has: a topic of a cluster may be given more while it is read.
//!
//! Whoever began before has no start in those that came later, and begins there with the first record: all of it is
//! newer than the subscription.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fpaas_log::Log;
use tokio::sync::watch;
use tracing::{debug, info};

use crate::roster::Roster;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(30);

/// By the source's topic.
pub(crate) type Counts = BTreeMap<Arc<str>, u32>;

/// Looks for as long as it is polled.
pub(crate) async fn watch(
    log: Arc<dyn Log>,
    roster: watch::Receiver<Arc<Roster>>,
    counts: watch::Sender<Counts>,
) -> Infallible {
    loop {
        let topics: Vec<Arc<str>> = roster.borrow().topics().cloned().collect();
        // One that nobody reads any more may be made anew, with fewer.
        counts.send_if_modified(|counts| {
            counts.retain(|topic, _| topics.contains(topic));
            false
        });
        for topic in topics {
            match log.describe_topic(&topic).await {
                Ok(Some(spec)) => drop(counts.send_if_modified(|counts| note(counts, &topic, spec.partitions))),
                Ok(None) => {}
                // It is asked for again.
                Err(error) => debug!(%topic, %error, "how many partitions it has is not known"),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// True where there are more than were known.
fn note(counts: &mut Counts, topic: &Arc<str>, found: u32) -> bool {
    let before = counts.insert(Arc::clone(topic), found);
    if before.is_some_and(|before| before < found) {
        info!(%topic, partitions = found, "a source has more partitions");
    }
    before.is_none_or(|before| before < found)
}
