//! Who reads which partition where: one stream serves all readers at about one place of a partition, and a reader
//! elsewhere gets one of its own, in another layer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fpaas_core::{Offset, TopicPartition};
use tokio::time::Instant;

use super::admin::Admin;
use super::config::KafkaConfig;
use super::context::Trouble;
use super::layer::Layer;
use super::stream::{Ended, Stream};
use super::watch;
use crate::{Error, FetchBounds, Fetched, Result};

/// The places at which one partition is read at a time; more readers wait for one of them to be left.
const LAYERS_MAX: usize = 6;
/// Those of them that guests may take, where nobody else has.
const GUESTS_MAX: usize = 3;
/// How long a reader waits before it looks for a place again.
const TURN: Duration = Duration::from_millis(50);
/// How long one waits whose stream was moved.
const MOVED: Duration = Duration::from_millis(1);
/// The longest that records which are there are waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Fetcher {
    admin: Arc<Admin>,
    config: KafkaConfig,
    trouble: Trouble,
    layers: Arc<Mutex<Vec<Layer>>>,
}

impl Fetcher {
    pub(super) fn new(admin: Arc<Admin>, config: KafkaConfig, trouble: Trouble) -> Result<Self> {
        let layers = Arc::default();
        watch::start(&layers, &admin)?;
        Ok(Self { admin, config, trouble, layers })
    }

    fn layers(&self) -> MutexGuard<'_, Vec<Layer>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`crate::Log::fetch`].
    pub(super) async fn fetch(&self, at: &TopicPartition, mut from: Offset, bounds: FetchBounds) -> Result<Fetched> {
        let (deadline, mut lost_until) = (Instant::now() + bounds.wait, None);
        let patience = deadline + PATIENCE;
        loop {
            let stream = match self.covering(at, from) {
                Some(stream) => stream,
                None => {
                    let marks = self.admin.watermarks(at).await?;
                    if marks.end < from {
                        tokio::time::sleep_until(deadline).await;
                        return Ok(Fetched { next: from, end: from, lost_until, ..Fetched::default() });
                    }
                    if from < marks.low {
                        from = marks.low;
                        lost_until = Some(marks.low);
                    }
                    match self.open(at, from, marks.end, bounds.guest)? {
                        Some(stream) => stream,
                        // Every place of the partition is being read: whoever is there is not driven away.
                        None if Instant::now() > patience => return Err(self.silent(at)),
                        None => {
                            tokio::time::sleep(TURN).await;
                            continue;
                        }
                    }
                }
            };
            match self.read(&stream, from, &bounds, deadline).await {
                Ok(Some(fetched)) => return Ok(Fetched { lost_until, ..fetched }),
                Ok(None) => {
                    // What was promised does not come: whoever asks again is served by another one.
                    self.leave(&stream);
                    return Err(self.silent(at));
                }
                // Soon again, and not at once: an offset that the brokers do not have would be asked for all the time.
                Err(Ended::Moved) => tokio::time::sleep(MOVED).await,
                Err(Ended::Failed(error)) => {
                    self.leave(&stream);
                    return Err(error);
                }
            }
        }
    }

    async fn read(
        &self,
        stream: &Stream,
        from: Offset,
        bounds: &FetchBounds,
        deadline: Instant,
    ) -> Result<Option<Fetched>, Ended> {
        // Without a wait, what is there is to be found: the brokers say how far that is.
        let until = match bounds.wait.is_zero() && !stream.has(from) {
            true => Some(self.admin.end(stream.at()).await.map_err(Ended::Failed)?),
            false => None,
        };
        if until.is_some_and(|end| end <= from) && stream.covers(from) {
            return Ok(Some(Fetched { next: from, end: from, ..Fetched::default() }));
        }
        let deadline = if until.is_some() { Instant::now() + PATIENCE } else { deadline };
        let (fetched, resume) = stream.read(from, bounds, deadline, until).await?;
        if resume {
            self.resume(stream);
        }
        let Some(mut fetched) = fetched else { return Ok(None) };
        if bounds.wait.is_zero() && fetched.next == fetched.end && !fetched.records.is_empty() {
            // The stream has heard of nothing more; there may be by now.
            fetched.end = self.admin.end(stream.at()).await.map_err(Ended::Failed)?.max(fetched.next);
        }
        let answered = until.is_none() || !fetched.records.is_empty() || fetched.next == fetched.end;
        Ok(answered.then_some(fetched))
    }

    fn covering(&self, at: &TopicPartition, from: Offset) -> Option<Arc<Stream>> {
        self.layers().iter().filter_map(|layer| layer.stream(at)).find(|stream| stream.covers(from))
    }

    /// A stream from `from` on: where the partition is not read yet, else where nobody follows it.
    fn open(&self, at: &TopicPartition, from: Offset, end: Offset, guest: bool) -> Result<Option<Arc<Stream>>> {
        let mut layers = self.layers();
        if let Some(found) = layers.iter().filter_map(|layer| layer.stream(at)).find(|stream| stream.covers(from)) {
            return Ok(Some(found));
        }
        let most = if guest { GUESTS_MAX } else { LAYERS_MAX };
        let free = |layer: &&Layer| layer.stream(at).is_none_or(|stream| !stream.is_busy());
        if let Some(layer) = layers.iter().take(most).find(free) {
            return Ok(Some(layer.read(at, from, end)));
        }
        if layers.len() >= most {
            return Ok(None);
        }
        let name = format!("kafka-fetch-{}", layers.len());
        let layer = Layer::open(&self.config, &self.trouble, &name)?;
        let stream = layer.read(at, from, end);
        layers.push(layer);
        Ok(Some(stream))
    }

    fn resume(&self, stream: &Stream) {
        self.layers().iter().filter(|layer| layer.has(stream)).for_each(|layer| layer.resume(stream.at()));
    }

    fn leave(&self, stream: &Stream) {
        self.layers().iter().filter(|layer| layer.has(stream)).for_each(|layer| layer.leave(stream.at(), Ended::Moved));
    }

    /// Records below `before` are removed.
    pub(super) fn trim(&self, at: &TopicPartition, before: Offset) {
        for layer in self.layers().iter() {
            if layer.stream(at).is_some_and(|stream| stream.trim(before)) {
                layer.resume(at);
            }
        }
    }

    /// The topic is gone: whoever waits at its tail is told.
    pub(super) fn leave_topic(&self, topic: &str) {
        self.layers().iter().for_each(|layer| layer.leave_topic(topic));
    }

    fn silent(&self, at: &TopicPartition) -> Error {
        let why = self.trouble.last().map(|why| format!(" ({why})")).unwrap_or_default();
        Error::Retry(format!("{at}: the brokers do not answer{why}"))
    }
}
