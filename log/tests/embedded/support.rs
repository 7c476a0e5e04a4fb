//! An embedded log in a folder of its own, as a backend for the suite.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fpaas_core::{Clock, ManualClock, Timestamp};
use fpaas_log::conformance::{Backend, RetentionLevers};
use fpaas_log::{Embedded, EmbeddedConfig, Log};
use tempfile::TempDir;

/// Where the tests' clocks stand at first.
const START_MICROS: i64 = 1_700_000_000_000_000;

/// The log, its folder and its clock.
pub(crate) struct Local {
    folder: TempDir,
    config: EmbeddedConfig,
    clock: Arc<ManualClock>,
    log: Mutex<Arc<Embedded>>,
    generation: AtomicU64,
    names: AtomicU64,
}

impl Local {
    /// A new one.
    pub(crate) fn new(gap_every: Option<u64>) -> Self {
        let clock = Arc::new(ManualClock::at_micros(START_MICROS));
        let config = EmbeddedConfig {
            gap_every,
            revoke_wait: Duration::from_millis(500),
            ..EmbeddedConfig::new(Arc::clone(&clock) as Arc<dyn Clock>)
        };
        let folder = tempfile::tempdir().unwrap();
        let log = Mutex::new(Embedded::open(&folder.path().join("0"), config.clone()).unwrap());
        Self { folder, config, clock, log, generation: AtomicU64::new(0), names: AtomicU64::new(0) }
    }

    /// The log itself.
    pub(crate) fn embedded(&self) -> Arc<Embedded> {
        Arc::clone(&self.log.lock().unwrap())
    }

    /// The folder it is in.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(self.generation.load(Ordering::SeqCst).to_string())
    }
}

#[async_trait]
impl Backend for Local {
    fn log(&self) -> Arc<dyn Log> {
        self.embedded()
    }

    /// What a killed process leaves is what the operating system holds of its files: exactly what a copy sees. So the
    /// log is opened on a copy of its folder, made while nothing was flushed or closed.
    async fn kill_and_reopen(&self) {
        let from = self.path();
        self.generation.fetch_add(1, Ordering::SeqCst);
        copy(&from, &self.path());
        let reopened = Embedded::open(&self.path(), self.config.clone()).unwrap();
        *self.log.lock().unwrap() = reopened;
    }

    fn fresh(&self, what: &str) -> String {
        format!("{what}-{}", self.names.fetch_add(1, Ordering::SeqCst))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn retention(&self) -> Option<&dyn RetentionLevers> {
        Some(self)
    }
}

impl RetentionLevers for Local {
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn run(&self) {
        self.embedded().run_retention_once().unwrap();
    }

    fn lost(&self) -> u64 {
        self.embedded().lost_records()
    }
}

/// Copies a folder with everything in it, as it is at one moment: again, when files came or went meanwhile.
pub(crate) fn copy(from: &Path, to: &Path) {
    loop {
        let before = files(from, from);
        let copied = before.iter().all(|file| copy_file(&from.join(file), &to.join(file)));
        if copied && files(from, from) == before {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
}

fn copy_file(from: &Path, to: &Path) -> bool {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    match fs::copy(from, to) {
        Ok(_bytes) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => panic!("{error}"),
    }
}

/// The files below `root`, by their names from there.
fn files(root: &Path, folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| match path.is_dir() {
        true => files(root, &path),
        false => BTreeSet::from([path.strip_prefix(root).unwrap().to_owned()]),
    });
    below.collect()
}
