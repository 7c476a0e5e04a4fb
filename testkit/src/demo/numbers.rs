//! The live row: how far the flow is, asked for over the public API.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::calls::Calls;
use super::screen::grouped;
use crate::client::Client;

/// A row is shown every second: an answer that takes longer is an old one.
pub(super) const PATIENCE: Duration = Duration::from_millis(800);

/// How far the flow is. What cannot be asked (nobody answers while the program is dead) stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    events: Count,
    batches: usize,
    calls: usize,
    results: Count,
    lag: u64,
}

impl Numbers {
    /// Asks the API, for so long, and counts the calls.
    pub(super) async fn update(&mut self, api: &Client, calls: &Calls, patience: Duration) {
        (self.batches, self.calls) = (calls.batches(), calls.count());
        let asked = async {
            let (events, results) = (self.events.update(api, "firehose"), self.results.update(api, "like-results"));
            tokio::join!(events, results, lag(api)).2
        };
        // Cut short, it goes on counting at the next row.
        self.lag = tokio::time::timeout(patience, asked).await.unwrap_or(self.lag);
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, batches, calls, results, lag } = self;
        let [events, likes, results, lag] = [events.records(), events.likes(), results.records(), *lag].map(grouped);
        // Narrower than 80 columns: a row that wraps cannot be rewritten.
        write!(f, "events {events:>6}  likes {likes:>5}  batches {batches:>2}  calls {calls:>2}  ")?;
        write!(f, "results {results:>5}  lag {lag:>3}")
    }
}

/// The records of a topic. They are read, each once: offsets have gaps, so the end of a partition does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    partitions: Vec<Partition>,
}

/// What was read of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Partition {
    records: u64,
    /// Those of them that say that a like was made.
    likes: u64,
    next: u64,
}

impl Count {
    /// Reads what is new, as far as it can be asked.
    async fn update(&mut self, api: &Client, topic: &str) {
        if self.partitions.is_empty() {
            let described = api.get(&format!("/v1/topics/{topic}")).await.unwrap_or_default();
            let count = described.get("partitions").and_then(Value::as_u64).unwrap_or_default();
            self.partitions = (0..count).map(|_| Partition::default()).collect();
        }
        let partitions = self.partitions.iter_mut().enumerate();
        join_all(partitions.map(|(at, partition)| partition.update(api, topic, at))).await;
    }

    fn records(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.records).sum()
    }

    fn likes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.likes).sum()
    }
}

impl Partition {
    async fn update(&mut self, api: &Client, topic: &str, at: usize) {
        while self.page(api, topic, at).await == Some(true) {}
    }

    /// Whether there is more; `None` when it could not be asked.
    async fn page(&mut self, api: &Client, topic: &str, at: usize) -> Option<bool> {
        let path = format!("/v1/topics/{topic}/records?partition={at}&offset={}&limit=1000", self.next);
        let page = api.get(&path).await.ok()?;
        let (items, next) = (page.get("items")?.as_array()?, page.get("nextOffset")?.as_u64()?);
        self.records += items.len() as u64;
        self.likes += items.iter().filter(|item| is_new_like(item)).count() as u64;
        self.next = next;
        Some(!page.get("cursor")?.is_null())
    }
}

fn is_new_like(item: &Value) -> bool {
    let header = |name: &str| item.get("headers").and_then(|headers| headers.get(name)).and_then(Value::as_str);
    header("collection") == Some("app.bsky.feed.like") && header("operation") == Some("create")
}

/// Behind the source, and behind the deliveries.
async fn lag(api: &Client) -> u64 {
    let status = api.get("/v1/subscriptions/likes/status").await.unwrap_or_default();
    let of = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    of("/lag/source") + of("/lag/deliveries")
}
