//! The log of a node: `embedded` so far. What differs from one backend to the next is all here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use fpaas_core::Clock;
use fpaas_core::topics::Topics;
use fpaas_log::{Embedded, EmbeddedConfig, Fsync, Log};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::folder::EMBEDDED_LOG;
use crate::args::LogArgs;
use crate::exit::Failure;

/// Which log, as it was asked for.
#[derive(Debug)]
pub(super) enum Address {
    /// In the data folder.
    Embedded(Fsync),
}

/// A log that is open.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    /// In the data folder.
    Embedded(Arc<Embedded>),
}

impl Address {
    pub(super) fn parse(args: &LogArgs) -> Result<Self, Failure> {
        Ok(Self::Embedded(fsync(&args.fsync)?))
    }

    /// Opens it; `data` is the node's folder.
    pub(super) async fn open(&self, data: &Path, clock: &Arc<dyn Clock>) -> Result<Backend, Failure> {
        match self {
            Self::Embedded(fsync) => {
                let config = EmbeddedConfig { fsync: *fsync, ..EmbeddedConfig::new(Arc::clone(clock)) };
                let opened = Embedded::open(&data.join(EMBEDDED_LOG), config);
                Ok(Backend::Embedded(opened.map_err(|error| Failure::Folder(error.to_string()))?))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str("embedded"),
        }
    }
}

impl Backend {
    /// What topics and groups are called there.
    pub(super) fn topics(&self) -> Topics {
        match self {
            Self::Embedded(_) => Topics::default(),
        }
    }

    pub(super) fn log(&self) -> Arc<dyn Log> {
        match self {
            Self::Embedded(log) => Arc::clone(log) as Arc<dyn Log>,
        }
    }

    /// Retention begins once the router holds what its subscriptions have not passed: not a moment earlier.
    pub(super) async fn retain(self, holding: Arc<Notify>, shutdown: CancellationToken) -> Result<(), Failure> {
        match self {
            Self::Embedded(log) => {
                if shutdown.run_until_cancelled(holding.notified()).await.is_some() {
                    log.start_retention();
                }
            }
        }
        shutdown.cancelled().await;
        Ok(())
    }

    /// Everything is stopped: nothing more will be written.
    pub(super) fn close(&self) -> Result<(), Failure> {
        match self {
            Self::Embedded(log) => Ok(log.close()?),
        }
    }
}

fn fsync(text: &str) -> Result<Fsync, Failure> {
    match text {
        "always" => Ok(Fsync::Always),
        "never" => Ok(Fsync::Never),
        text => humantime::parse_duration(text)
            .map(Fsync::Interval)
            .map_err(|_| Failure::Usage(format!("--fsync {text}: must be always, never, or a time such as 50ms"))),
    }
}
