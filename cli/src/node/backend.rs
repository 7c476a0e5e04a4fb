//! The log of a node: in its data folder, or on a Kafka cluster. What differs from one backend to the next is all here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use fpaas_core::Clock;
use fpaas_core::topics::Topics;
use fpaas_log::{Embedded, EmbeddedConfig, Error, Fsync, Kafka, KafkaConfig, Log};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::existing;
use super::folder::EMBEDDED_LOG;
use crate::cluster::{self, SCHEME};
use crate::config::Reading;
use crate::config::setting::{FSYNC, KAFKA_PROPERTIES, KAFKA_PROPERTY, LOG, NODE_ID};
use crate::exit::Failure;
use crate::mark;

/// How the log in the data folder is asked for.
pub(super) const EMBEDDED: &str = "embedded";

/// Which log, as it was asked for.
#[derive(Debug)]
pub(super) enum Address {
    /// In the data folder.
    Embedded(Fsync),
    /// On a cluster.
    Kafka(Box<KafkaConfig>),
}

/// A log that is there, before anything is made in it.
#[derive(Debug)]
pub(super) enum Reached {
    /// The data folder will say.
    Embedded(Fsync),
    /// A cluster, and the names on it.
    Kafka(Box<fpaas_log::Reached>, Topics),
}

/// A log that is open.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    /// In the data folder.
    Embedded(Arc<Embedded>),
    /// On a cluster, under these names.
    Kafka(Arc<Kafka>, Topics),
}

impl Address {
    /// `None` where it is wrong.
    pub(super) fn read(reading: &mut Reading<'_>) -> Option<Self> {
        let fsync = reading.one(&FSYNC, fsync);
        if reading.text(&LOG)? != EMBEDDED {
            return cluster::of_node(reading).map(Box::new).map(Self::Kafka);
        }
        // Who forgot to say where the cluster is would not notice otherwise.
        for setting in [&NODE_ID, &KAFKA_PROPERTY, &KAFKA_PROPERTIES] {
            if reading.is_said(setting) {
                reading.refuse(setting, "only with --log kafka://HOST:PORT…");
            }
        }
        fsync.map(Self::Embedded)
    }

    /// Looks whether it is there, and makes nothing. `partitions` is how many the firehose was asked to have.
    pub(super) async fn reach(&self, partitions: Option<u32>) -> Result<Reached, Failure> {
        match self {
            Self::Embedded(fsync) => Ok(Reached::Embedded(*fsync)),
            Self::Kafka(config) => {
                let topics = Topics::with_prefix(&config.prefix);
                let reached = Kafka::reach((**config).clone()).await.map_err(unopened)?;
                existing::check(&reached, &topics, partitions).await?;
                Ok(Reached::Kafka(Box::new(reached), topics))
            }
        }
    }

    /// True where the node has a name of its own among others.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Kafka(_))
    }
}

impl Reached {
    /// Opens it; `data` is the node's folder.
    pub(super) async fn open(self, data: &Path, clock: &Arc<dyn Clock>) -> Result<Backend, Failure> {
        match self {
            Self::Embedded(fsync) => {
                let config = EmbeddedConfig { fsync, ..EmbeddedConfig::new(Arc::clone(clock)) };
                let opened = Embedded::open(&data.join(EMBEDDED_LOG), config);
                Ok(Backend::Embedded(opened.map_err(|error| Failure::Folder(error.to_string()))?))
            }
            Self::Kafka(reached, topics) => {
                let opened = reached.open().await.map_err(|error| match error {
                    Error::Retry(why) => {
                        Failure::Unreachable(format!("{why}; `fpaas kafka check` says how the cluster is"))
                    }
                    error => unopened(error),
                })?;
                mark::refuse_cluster(&*opened, &topics).await?;
                Ok(Backend::Kafka(opened, topics))
            }
        }
    }
}

pub(super) fn unopened(error: Error) -> Failure {
    match error {
        Error::Retry(why) => Failure::Unreachable(format!("{why}; check the address in --log, and that Kafka is up")),
        error => Failure::Usage(error.to_string()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str(EMBEDDED),
            Self::Kafka(config) => write!(f, "{SCHEME}{}", config.brokers),
        }
    }
}

impl Backend {
    /// What topics and groups are called there.
    pub(super) fn topics(&self) -> Topics {
        match self {
            Self::Embedded(_) => Topics::default(),
            Self::Kafka(_, topics) => topics.clone(),
        }
    }

    pub(super) fn log(&self) -> Arc<dyn Log> {
        match self {
            Self::Embedded(log) => Arc::clone(log) as Arc<dyn Log>,
            Self::Kafka(log, _) => Arc::clone(log) as Arc<dyn Log>,
        }
    }

    /// How many records retention removed although they were held; `None` where retention is not ours.
    pub(super) fn lost_records(&self) -> Option<u64> {
        match self {
            Self::Embedded(log) => Some(log.lost_records()),
            Self::Kafka(..) => None,
        }
    }

    /// Retention begins once the routers of all these pools hold what their subscriptions have not passed: not a moment
    /// earlier. Kafka's is its own.
    pub(super) async fn retain(self, holding: Vec<Arc<Notify>>, shutdown: CancellationToken) -> Result<(), Failure> {
        let all = async {
            for pool in &holding {
                pool.notified().await;
            }
        };
        if let Self::Embedded(log) = self
            && shutdown.run_until_cancelled(all).await.is_some()
        {
            log.start_retention();
        }
        shutdown.cancelled().await;
        Ok(())
    }

    /// Everything is stopped: nothing more will be written. On Kafka, the others take over at once.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Embedded(log) => Ok(log.close()?),
            Self::Kafka(log, _) => tokio::task::spawn_blocking(move || log.close())
                .await
                .map_err(|error| Failure::Failed(format!("leaving the groups failed: {error}"))),
        }
    }
}

fn fsync(text: &str) -> Result<Fsync, &'static str> {
    match text {
        "always" => Ok(Fsync::Always),
        "never" => Ok(Fsync::Never),
        text => humantime::parse_duration(text)
            .map(Fsync::Interval)
            .map_err(|_| "must be always, never, or a time such as 50ms"),
    }
}
