//! A webhook receiver whose answers are scripted and whose requests are recorded.
//!
//! It verifies signatures itself, and answers each event with one record, so that whoever reads the output topic can
//! tell by event id what arrived. A repeated call gets the same answer as the first: it depends on the body alone.

mod body;
mod calls;
mod http;
mod script;
mod serve;
mod signature;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use calls::{Call, Summary, summarize};
pub use script::{Answer, Script};
pub use signature::verify;

use calls::Calls;

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    calls: Arc<Calls>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Receiver {
    /// On a free port of loopback. Signatures are checked with `secret`, which the subscription must be given.
    pub async fn start(secret: &str, script: Script) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let calls = Arc::new(Calls::new(secret, script));
        tasks.spawn(serve::accept(listener, Arc::clone(&calls), tasks.clone(), shutdown.clone()));
        Ok(Self { address, calls, shutdown, tasks })
    }

    /// What goes into `processor.webhook.url`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From the next call on.
    pub fn set_script(&self, script: Script) {
        self.calls.set_script(script);
    }

    /// Every call so far, in the order their heads came.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.all()
    }

    /// Waits until the calls so far are as wanted; an error after `limit`.
    pub async fn wait(&self, limit: Duration, wanted: impl Fn(&[Call]) -> bool) -> Result<Vec<Call>> {
        let reached = tokio::time::timeout(limit, self.calls.wait(wanted)).await;
        reached.with_context(|| format!("the calls wanted did not come within {limit:?}: {}", self.calls.describe()))
    }

    /// What can be said of all calls; an error when one broke a promise (see [`summarize`]).
    pub fn summary(&self) -> Result<Summary> {
        summarize(&self.calls.all())
    }

    /// Takes no more calls and says what came.
    pub async fn stop(self) -> Result<Summary> {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.summary()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
