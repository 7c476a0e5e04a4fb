//! A log on a real broker, as a backend for the suite.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use fpaas_core::Timestamp;
use fpaas_core::topics::Topics;
use fpaas_log::conformance::Backend;
use fpaas_log::{Kafka, KafkaConfig, Log};

/// The logs of one test: each has a prefix of its own on the broker that all tests share.
pub(crate) struct Cluster {
    config: KafkaConfig,
    log: Mutex<Arc<Kafka>>,
    names: AtomicU64,
}

impl Cluster {
    /// A new one; `None` where there is no broker to be had, which is said.
    pub(crate) async fn open() -> Option<Self> {
        let bootstrap = std::env::var("FPAAS_TEST_KAFKA").ok()?;
        let config = KafkaConfig::new(&bootstrap, &Topics::with_prefix(&format!("suite{:x}", random())));
        let log = Mutex::new(Kafka::open(config.clone()).await.unwrap());
        Some(Self { config, log, names: AtomicU64::new(0) })
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
        format!("{}.{what}-{}", self.config.prefix, self.names.fetch_add(1, Ordering::SeqCst))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap())
    }
}
