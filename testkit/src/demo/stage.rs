//! What the demo runs: a folder, the receiver, `fpaas dev`, perhaps a broker, and that nothing of it is left behind.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tokio::process::Command;

use super::calls::Calls;
use crate::broker::{Broker, Options};
use crate::dev::{Dev, Running};
use crate::guard::Guard;
use crate::process::{Process, program};

const START: Duration = Duration::from_secs(30);
/// The program promises to stop within 10 s.
const STOP: Duration = Duration::from_secs(12);

/// Kills what it was told last, and removes the folder; what is being killed may still write.
const CLEAN_UP: &str = r#"for pid in $last; do kill -9 "$pid"; done; rm -rf "$1" || { sleep 1; rm -rf "$1"; }"#;

#[derive(Debug)]
pub(super) struct Stage {
    folder: TempDir,
    secret: String,
    receiver: Option<Process>,
    /// The program that was started last; it may have ended.
    pub(super) running: Option<Running>,
    broker: Option<Broker>,
    // Dropped last. It does its work also when the demo itself is killed.
    guard: Guard,
}

impl Stage {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fpaas-demo-").tempdir()?;
        let guard = Guard::new(CLEAN_UP, &folder.path().display().to_string())?;
        Ok(Self { folder, secret: secret(), receiver: None, running: None, broker: None, guard })
    }

    /// Starts a broker for the topics, which ends with the stage.
    pub(super) async fn start_broker(&mut self) -> Result<&Broker> {
        Ok(self.broker.insert(Broker::started(&Options::default()).await?))
    }

    /// Starts the receiver on a free port; answers its URL.
    pub(super) async fn start_receiver(&mut self, fail_once_after: Duration) -> Result<String> {
        let mut command = Command::new(program("receiver")?);
        command.args(["--listen", "127.0.0.1:0", "--journal", "-", "--secret", &self.secret]);
        command.arg("--fail-once-after").arg(fail_once_after.as_secs_f64().to_string());
        self.receiver = Some(Process::spawn("the receiver", &mut command)?);
        self.watch(None)?;
        let receiver = self.receiver.as_ref().context("the receiver was not started")?;
        receiver.line(0, START, |line| line.strip_prefix("receiver is up at ").map(str::to_owned)).await
    }

    /// `examples/likes.yaml` with the receiver's address and secret in it.
    pub(super) fn likes(&self, receiver: &str) -> Result<PathBuf> {
        let example = std::fs::read_to_string(crate::checkout().join("examples/likes.yaml"))?;
        let given = "url: http://127.0.0.1:8787/\n";
        anyhow::ensure!(example.contains(given), "examples/likes.yaml has another address than the demo knows");
        let file = self.folder.path().join("likes.yaml");
        std::fs::write(&file, example.replace(given, &format!("url: {receiver}\n      secret: {}\n", self.secret)))?;
        Ok(file)
    }

    /// A recording without a frame: whoever reads it has nothing more to read.
    pub(super) fn nothing(&self) -> Result<String> {
        let file = self.folder.path().join("nothing.bin");
        std::fs::write(&file, [])?;
        Ok(format!("file:{}", file.display()))
    }

    /// `fpaas dev` on this stage's folder and, if there is one, its broker.
    pub(super) fn dev(&self) -> Result<Dev> {
        let dev = Dev::new(self.folder.path(), "demo-key-of-this-machine-only")?.env("FPAAS_INVARIANTS", "panic");
        Ok(match &self.broker {
            Some(broker) => dev.arg("--log").arg(format!("kafka://{}", broker.bootstrap())),
            None => dev,
        })
    }

    /// Starts the program and waits until it serves.
    pub(super) async fn start(&mut self, dev: &Dev) -> Result<&Running> {
        let process = dev.spawn()?;
        self.watch(process.id())?;
        Ok(self.running.insert(dev.up(process).await?))
    }

    /// Tells the guard what runs now. A program that has been waited for has no number any more.
    pub(super) fn watch(&self, starting: Option<u32>) -> Result<()> {
        let running = self.running.as_ref().and_then(|running| running.process.id());
        let receiver = self.receiver.as_ref().and_then(Process::id);
        let pids = [receiver, running, starting].into_iter().flatten().map(|pid| pid.to_string());
        self.guard.tell(&pids.collect::<Vec<_>>().join(" "))
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Calls {
        Calls::of(&self.receiver.as_ref().map(Process::lines).unwrap_or_default())
    }

    /// The receiver and the program.
    pub(super) fn both(&mut self) -> Result<(&Process, &mut Running)> {
        let receiver = self.receiver.as_ref().context("the receiver was not started")?;
        Ok((receiver, self.running.as_mut().context("fpaas was not started")?))
    }

    pub(super) fn running(&mut self) -> Result<&mut Running> {
        self.running.as_mut().context("fpaas was not started")
    }

    /// SIGTERM to the program; an error unless it stops in time with exit code 0.
    pub(super) async fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("fpaas was not started")?;
        let status = running.process.stop(STOP).await?;
        self.watch(None)?;
        anyhow::ensure!(status.success(), "fpaas stopped with {status}:\n{}", running.process.lines().join("\n"));
        Ok(())
    }

    /// Ends whatever still runs, at once, and waits until it is gone.
    pub(super) async fn clear(mut self) {
        let running = self.running.take().map(|running| running.process);
        for mut process in running.into_iter().chain(self.receiver.take()) {
            // Fails only when it has ended already.
            drop(process.kill().await);
        }
        // Fails only when the guard has gone: then it has nothing to do.
        drop(self.watch(None));
    }
}

/// A new one each time. The standard library's random state is random enough for a secret of some seconds on loopback.
fn secret() -> String {
    let random: Vec<u8> = (0..4u8).flat_map(|part| RandomState::new().hash_one(part).to_le_bytes()).collect();
    format!("whsec_{}", STANDARD.encode(random))
}
