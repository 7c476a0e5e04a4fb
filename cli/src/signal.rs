//! SIGINT and SIGTERM ask the program to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at the first of them.
pub(crate) async fn asked_to_stop() -> std::io::Result<&'static str> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}
