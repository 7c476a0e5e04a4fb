//! A log on a real broker, as a backend for the suite.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use fpaas_core::Timestamp;
use fpaas_core::topics::Topics;
use fpaas_log::conformance::Backend;
use fpaas_log::{Kafka, KafkaConfig, Log};
use fpaas_testkit::Broker;

/// The names of this run on the broker: its tests share the slots and nothing else.
static PREFIX: LazyLock<String> = LazyLock::new(|| format!("suite{:x}", random()));
static NAMES: AtomicU64 = AtomicU64::new(0);

/// A log of one test on the broker that all tests share.
pub(crate) struct Cluster {
    config: KafkaConfig,
    log: Mutex<Arc<Kafka>>,
}

impl Cluster {
    /// A new one; `None` where there is no broker to be had, which is said.
    pub(crate) async fn open() -> Option<Self> {
        let config = KafkaConfig::new(&Broker::shared().await?.bootstrap(), &Topics::with_prefix(&PREFIX));
        let log = Mutex::new(Kafka::open(config.clone()).await.unwrap());
        Some(Self { config, log })
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

#[async_trait]
impl Backend for Cluster {
    fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&*self.log.lock().unwrap()) as Arc<dyn Log>
    }

    /// The old log is left as it is, a zombie whose heart goes on beating: what SIGKILL leaves is less than that.
    async fn kill_and_reopen(&self) {
        let reopened = Kafka::open(self.config.clone()).await.unwrap();
        let before = std::mem::replace(&mut *self.log.lock().unwrap(), reopened);
        std::mem::forget(before);
    }

    fn fresh(&self, what: &str) -> String {
        format!("{}.{what}-{}", self.config.prefix, NAMES.fetch_add(1, Ordering::SeqCst))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap())
    }
}
