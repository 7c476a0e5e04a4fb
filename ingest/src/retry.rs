//! Waiting out a log that is not available for a moment. Whoever may be told to stop wraps it in a cancellation.

use std::time::Duration;

use fpaas_log::{Backoff, Error as LogError};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// After an outcome that nobody knows, everything is asked for again after this.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Tries until it is something else than [`LogError::Retry`].
pub(crate) async fn patiently<T, F>(attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = fpaas_log::Result<T>>,
{
    fpaas_log::patiently(&CancellationToken::new(), attempt).await.map_err(Error::Log)
}

/// The same for what is several calls of the log.
pub(crate) async fn patiently_ours<T, F>(mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (mut backoff, never) = (Backoff::default(), CancellationToken::new());
    loop {
        match attempt().await {
            Err(Error::Log(LogError::Retry(why))) if backoff.wait(&why, &never).await.is_continue() => {}
            done => return done,
        }
    }
}
