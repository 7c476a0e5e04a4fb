//! The live row: how far the flow is, asked for over the public API.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::calls::Calls;
use super::screen::grouped;
use crate::client::Client;

/// A row is shown every second: an answer that takes longer is an old one.
const PATIENCE: Duration = Duration::from_millis(800);

/// How far the flow is. What cannot be asked (nobody answers while the program is dead) stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    events: u64,
    likes: u64,
    batches: usize,
    calls: usize,
    results: u64,
    lag: u64,
}

impl Numbers {
    /// Asks the API and counts the calls.
    pub(super) async fn update(&mut self, api: &Client, calls: &Calls) {
        (self.batches, self.calls) = (calls.batches(), calls.count());
        if let Ok(asked) = tokio::time::timeout(PATIENCE, ask(api)).await {
            (self.events, self.results) = (asked.0.unwrap_or(self.events), asked.1.unwrap_or(self.results));
            let (source, deliveries) = asked.2;
            self.lag = source + deliveries;
            // Each like becomes one result: what is not there yet is still to be delivered.
            self.likes = self.likes.max(self.results + deliveries);
        }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, likes, batches, calls, results, lag } = self;
        let [events, likes, results, lag] = [events, likes, results, lag].map(|number| grouped(*number));
        // Narrower than 80 columns: a row that wraps cannot be rewritten.
        write!(f, "events {events:>6}  likes {likes:>5}  batches {batches:>2}  calls {calls:>2}  ")?;
        write!(f, "results {results:>5}  lag {lag:>3}")
    }
}

async fn ask(api: &Client) -> (Option<u64>, Option<u64>, (u64, u64)) {
    tokio::join!(records(api, "firehose"), records(api, "like-results"), lag(api))
}

/// The ends of a topic's partitions, summed.
async fn records(api: &Client, topic: &str) -> Option<u64> {
    let partitions = api.get(&format!("/v1/topics/{topic}")).await.ok()?.get("partitions")?.as_u64()?;
    let mut sum = 0;
    for partition in 0..partitions {
        let path = format!("/v1/topics/{topic}/records?partition={partition}&from=latest&limit=1");
        sum += api.get(&path).await.ok()?.get("nextOffset")?.as_u64()?;
    }
    Some(sum)
}

/// Behind the source, and behind the deliveries.
async fn lag(api: &Client) -> (u64, u64) {
    let status = api.get("/v1/subscriptions/likes/status").await.unwrap_or_default();
    let of = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    (of("/lag/source"), of("/lag/deliveries"))
}
