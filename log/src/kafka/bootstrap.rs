//! A client that knows no broker any more is told again where the cluster is.
//!
//! A broker that the controller does not count as alive (KRaft, after a pause or while it starts) answers questions
//! about topics with no brokers at all. librdkafka then forgets every broker, those it was given too, and asks nobody
//! any more (2.12; confluentinc/librdkafka#5301).

use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use tracing::info;

use super::ffi;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client may know nobody: at first, and at most. What it is told stays in its memory.
const ALONE: Duration = Duration::from_secs(2);
const ALONE_MAX: Duration = Duration::from_secs(300);

/// See the module's head; one for each client.
#[derive(Debug)]
pub(super) struct Bootstrap {
    brokers: String,
    looked: Option<Instant>,
    alone: Option<Instant>,
    patience: Duration,
}

impl Bootstrap {
    /// `brokers` are host and port each, with commas between them.
    pub(super) fn new(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), looked: None, alone: None, patience: ALONE }
    }

    /// Looks whether it knows any; to be called now and then, as often as one likes.
    pub(super) fn look<C: ClientContext>(&mut self, client: &Client<C>) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        if ffi::knows_brokers(client) {
            (self.alone, self.patience) = (None, ALONE);
            return;
        }
        if self.alone.get_or_insert_with(Instant::now).elapsed() < self.patience {
            return;
        }
        info!(brokers = self.brokers, "a client of Kafka knows no broker: telling it again");
        ffi::add_brokers(client, &self.brokers);
        (self.alone, self.patience) = (None, (2 * self.patience).min(ALONE_MAX));
    }
}
