//! Waiting out a log that is not available for a moment. Whoever may be told to stop wraps it in a cancellation.

use std::time::Duration;

use fpaas_log::Error as LogError;

use crate::error::{Error, Result};

/// The same is tried again after this.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Tries until it is something else than [`LogError::Retry`].
pub(crate) async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = fpaas_log::Result<T>>,
{
    loop {
        match attempt().await {
            Err(LogError::Retry(why)) => tracing::warn!(why, "the log is not available"),
            done => return done.map_err(Error::Log),
        }
        pause().await;
    }
}

/// The same for what is several calls of the log.
pub(crate) async fn patiently_ours<T, F>(mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match attempt().await {
            Err(Error::Log(LogError::Retry(why))) => tracing::warn!(why, "the log is not available"),
            done => return done,
        }
        pause().await;
    }
}
