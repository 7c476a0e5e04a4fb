//! Whether a relay answers, before anything is started for it.

use std::time::Duration;

use tokio_tungstenite::connect_async;

const PATH: &str = "/xrpc/com.atproto.sync.subscribeRepos";
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens a connection and closes it again; an error is a short reason.
pub(super) async fn check(relay: &str) -> Result<(), String> {
    if !(relay.starts_with("ws://") || relay.starts_with("wss://")) {
        return Err("an address begins with ws:// or wss://".to_owned());
    }
    // Needed once in a process that speaks TLS.
    drop(rustls::crypto::ring::default_provider().install_default());
    let address =
        if relay.contains("/xrpc/") { relay.to_owned() } else { format!("{}{PATH}", relay.trim_end_matches('/')) };
    match tokio::time::timeout(PATIENCE, connect_async(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
    }
}
