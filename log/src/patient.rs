//! The one rule of asking again: how long to wait for a log that is not available, and what is said meanwhile. And a
//! log that is asked so: for those who can do nothing about a broker that is away for a moment.
//!
//! Whoever has somebody waiting (a request of the API) asks the log itself, and says that it does not answer.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fpaas_core::{Offset, Timestamp, TopicPartition, limits};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Created, Error, FetchBounds, Fetched, Hold, Log, Membership, Position, Result, Retention, TopicSpec, Watermarks,
    Writer,
};

/// Never answers [`Error::Retry`] before it is asked to stop; a commit's answer is its caller's to act on.
#[derive(Debug)]
pub struct Patient {
    log: Arc<dyn Log>,
    stop: CancellationToken,
}

impl Patient {
    /// Around `log`, until `stop`.
    pub const fn new(log: Arc<dyn Log>, stop: CancellationToken) -> Self {
        Self { log, stop }
    }

    async fn patiently<T, F>(&self, ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        patiently(&self.stop, ask).await
    }
}

/// Asks until the answer is another than [`Error::Retry`]; that one comes only once `stop` is.
pub async fn patiently<T, F>(stop: &CancellationToken, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut backoff = Backoff::default();
    loop {
        match ask().await {
            Err(Error::Retry(why)) if backoff.wait(&why, stop).await.is_continue() => {}
            answer => return answer,
        }
    }
}

/// [`patiently`], but no longer than `limit`: then what was answered last is the answer.
pub(crate) async fn patiently_within<T, F>(limit: Duration, ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let stop = CancellationToken::new();
    let mut asking = pin!(patiently(&stop, ask));
    if let Ok(answer) = tokio::time::timeout(limit, &mut asking).await {
        return answer;
    }
    stop.cancel();
    asking.await
}

/// The waits between attempts: longer each time, within `limits::LOG_RETRY`.
#[derive(Debug)]
pub struct Backoff {
    wait: Duration,
    asked: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait: *limits::LOG_RETRY.start(), asked: 0 }
    }
}

impl Backoff {
    /// Waits before the next attempt; breaks when asked to stop.
    pub async fn wait(&mut self, why: &str, stop: &CancellationToken) -> ControlFlow<()> {
        // Said once, and then now and then: it may take hours.
        if self.asked.is_power_of_two() {
            warn!(why, wait = ?self.wait, "the log is not available, asking again");
        }
        self.asked = self.asked.saturating_add(1);
        let slept = stop.run_until_cancelled(tokio::time::sleep(self.wait)).await;
        self.wait = (self.wait * 2).min(*limits::LOG_RETRY.end());
        match slept {
            Some(()) => ControlFlow::Continue(()),
            None => ControlFlow::Break(()),
        }
    }
}

impl Drop for Backoff {
    fn drop(&mut self) {
        if self.asked > 1 {
            info!(asked = self.asked, "the log is not waited for any more");
        }
    }
}

#[async_trait]
impl Log for Patient {
    fn is_shared(&self) -> bool {
        self.log.is_shared()
    }

    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<Created> {
        self.patiently(|| self.log.create_topic(topic, spec)).await
    }

    async fn alter_topic(&self, topic: &str, retention: &Retention) -> Result<()> {
        self.patiently(|| self.log.alter_topic(topic, retention)).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        self.patiently(|| self.log.delete_topic(topic)).await
    }

    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicSpec>> {
        self.patiently(|| self.log.describe_topic(topic)).await
    }

    async fn list_topics(&self, prefix: &str) -> Result<Vec<String>> {
        self.patiently(|| self.log.list_topics(prefix)).await
    }

    async fn watermarks(&self, at: &TopicPartition) -> Result<Watermarks> {
        self.patiently(|| self.log.watermarks(at)).await
    }

    async fn ends(&self, at: &[TopicPartition]) -> Vec<Result<Offset>> {
        let all = || async {
            let ends = self.log.ends(at).await;
            let silent = ends.iter().filter_map(|end| end.as_ref().err()).find(|error| error.may_pass());
            silent.map_or(Ok(()), |error| Err(error.clone())).map(|()| ends)
        };
        self.patiently(all).await.unwrap_or_else(|error| vec![Err(error); at.len()])
    }

    async fn appended_end(&self, at: &TopicPartition) -> Result<Offset> {
        self.patiently(|| self.log.appended_end(at)).await
    }

    async fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset> {
        self.patiently(|| self.log.offset_at(at, time)).await
    }

    async fn trim(&self, at: &TopicPartition, before: Offset) -> Result<()> {
        self.patiently(|| self.log.trim(at, before)).await
    }

    async fn fetch(&self, at: &TopicPartition, from: Offset, bounds: FetchBounds) -> Result<Fetched> {
        self.patiently(|| self.log.fetch(at, from, bounds)).await
    }

    fn hold(&self, at: &TopicPartition, from: Offset) -> Hold {
        self.log.hold(at, from)
    }

    async fn positions(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>> {
        self.patiently(|| self.log.positions(group, at)).await
    }

    async fn join(&self, group: &str, member: &str) -> Result<Membership> {
        self.patiently(|| self.log.join(group, member)).await
    }

    async fn writer(&self, id: &str, membership: Option<&Membership>) -> Result<Arc<dyn Writer>> {
        self.patiently(|| self.log.writer(id, membership)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Embedded, EmbeddedConfig};
    use fpaas_core::ManualClock;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn patient(folder: &std::path::Path, stop: &CancellationToken) -> Patient {
        let config = EmbeddedConfig::new(Arc::new(ManualClock::default()));
        Patient::new(Embedded::open(folder, config).unwrap(), stop.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_away_for_a_moment_is_asked_again_and_every_other_answer_is_given() {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let (patient, asked) = (patient(folder.path(), &stop), AtomicU32::new(0));
        let answer = patient
            .patiently(|| async {
                match asked.fetch_add(1, Ordering::SeqCst) {
                    0..20 => Err(Error::Retry("away".to_owned())),
                    _ => Ok(7),
                }
            })
            .await;
        assert_eq!((answer, asked.load(Ordering::SeqCst)), (Ok(7), 21));
        let missing = patient.watermarks(&TopicPartition::new("nowhere", 0)).await;
        assert!(matches!(missing, Err(Error::NoSuchTopic(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_stop_asks_no_longer() {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let patient = patient(folder.path(), &stop);
        let asking = patient.patiently(|| async { Err::<(), _>(Error::Retry("away".to_owned())) });
        let (answer, ()) = tokio::join!(asking, async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            stop.cancel();
        });
        assert!(matches!(answer, Err(Error::Retry(_))));
    }
}
