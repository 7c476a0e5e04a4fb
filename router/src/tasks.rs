//! Owned tasks with what they are for: none outlives its owner, and none fails unseen.

use tokio::task::JoinSet;

use crate::Result;
use crate::commit::Ended;

/// Scans by source partition, or lanes by subscription.
#[derive(Debug)]
pub(crate) struct Tasks<K>(JoinSet<(K, Result<Ended>)>);

impl<K> Default for Tasks<K> {
    fn default() -> Self {
        Self(JoinSet::new())
    }
}

impl<K: Send + 'static> Tasks<K> {
    pub(crate) fn spawn(&mut self, key: K, work: impl Future<Output = Result<Ended>> + Send + 'static) {
        self.0.spawn(async move { (key, work.await) });
    }

    /// The next one that ends; `None` where there is none. A panic goes on in whoever waits. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<(K, Result<Ended>)> {
        loop {
            match self.0.join_next().await? {
                Ok(ended) => return Some(ended),
                Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                // Only the end of the runtime cancels them, and then nobody is left to be told.
                Err(_cancelled) => {}
            }
        }
    }
}
