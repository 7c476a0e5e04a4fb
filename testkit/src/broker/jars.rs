//! The broker from its own jars, as a child process with a folder of its own.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::node::{CLUSTER_ID, HEAP, Node};
use super::options::{Options, SOON};
use crate::guard::Guard;

/// How long a broker may take to stop by itself.
const STOP: Duration = Duration::from_secs(30);
/// A child that is waited for tells nobody when it ends.
const AGAIN: Duration = Duration::from_millis(20);

/// Kills what it was told last, and removes the folder.
const CLEAN_UP: &str = r#"[ -z "$last" ] || kill -9 "$last"; rm -rf "$1""#;

/// What is said of warnings and worse; by default the library says everything.
const LOGGING: [&str; 2] = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dlog4j2.statusLoggerLevel=OFF"];

/// A Java that is new enough, and the jars.
#[derive(Clone, Debug)]
pub(super) struct Java {
    pub(super) program: PathBuf,
    pub(super) jars: PathBuf,
}

/// One broker's folder, and its process while it runs.
#[derive(Debug)]
pub(super) struct Jars {
    java: Java,
    flags: &'static str,
    folder: PathBuf,
    child: Mutex<Option<Child>>,
    // Dropped last: it removes what the others use.
    guard: Guard,
}

impl Jars {
    /// Formats a folder and starts a broker on it.
    pub(super) async fn create(java: &Java, node: &Node, options: &Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fpaas-kafka-").tempdir()?.keep();
        let guard = Guard::new(CLEAN_UP, &folder.display().to_string())?;
        let jars = Self { java: java.clone(), flags: options.java, folder, child: Mutex::new(None), guard };
        let logs = jars.folder.join("data").display().to_string();
        let line = |(name, value): (String, String)| format!("{name}={value}\n");
        let properties: String = node.properties("127.0.0.1", &logs, options).into_iter().map(line).collect();
        std::fs::write(jars.properties(), properties)?;
        jars.format(options).await?;
        jars.start().await?;
        Ok(jars)
    }

    async fn format(&self, options: &Options) -> Result<()> {
        let mut format = self.java("kafka.tools.StorageTool", SOON);
        format.args(["format", "--cluster-id", CLUSTER_ID, "--config"]).arg(self.properties());
        for (user, password) in &options.scram {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.arg("--add-scram").arg(format!("{mechanism}=[name={user},password={password}]"));
            }
        }
        let output = tokio::process::Command::from(format).output().await?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "the broker's folder cannot be formatted: {}", said());
        Ok(())
    }

    pub(super) async fn tool(&self, class: &str, bootstrap: &str, arguments: &[&str]) -> Result<()> {
        let mut tool = self.java(class, SOON);
        tool.args(["--bootstrap-server", bootstrap]).args(arguments);
        let output = tokio::process::Command::from(tool).output().await?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "{class} {arguments:?}: {}", String::from_utf8_lossy(&said));
        Ok(())
    }

    pub(super) async fn start(&self) -> Result<()> {
        ensure!(!self.runs(), "the broker runs already");
        let log = std::fs::File::options().append(true).create(true).open(self.log())?;
        let mut broker = self.java("kafka.Kafka", self.flags);
        // A group of its own: Ctrl-C is for the tests, and the guard is told by their end.
        broker.arg(self.properties()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = broker.spawn().context("java cannot be started")?;
        self.guard.tell(&child.id().to_string())?;
        *self.child() = Some(child);
        Ok(())
    }

    pub(super) async fn stop(&self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let ended = tokio::time::timeout(STOP, self.ended()).await;
        if ended.is_err() {
            self.kill().await?;
        }
        ended.with_context(|| format!("the broker did not stop within {STOP:?} and was killed"))??;
        Ok(())
    }

    pub(super) async fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ended().await?;
        Ok(())
    }

    /// Returns when every thread of it stands: a signal that is sent has not arrived yet.
    pub(super) async fn pause(&self) -> Result<()> {
        let pid = self.signal(Signal::STOP)?;
        while waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)?.is_none() {
            ensure!(self.runs(), "the broker ended while it was being paused");
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    pub(super) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)?;
        Ok(())
    }

    pub(super) fn runs(&self) -> bool {
        self.child().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The end of what it has said.
    pub(super) fn said(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        last_lines(&log)
    }

    fn signal(&self, signal: Signal) -> Result<Pid> {
        ensure!(self.runs(), "the broker does not run");
        let pid = self.child().as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        let pid = pid.context("the broker does not run")?;
        kill_process(pid, signal)?;
        Ok(pid)
    }

    async fn ended(&self) -> Result<ExitStatus> {
        loop {
            let ended = self.child().as_mut().context("the broker does not run")?.try_wait()?;
            if let Some(status) = ended {
                // Its number may be another's soon.
                self.guard.tell("")?;
                *self.child() = None;
                return Ok(status);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn java(&self, class: &str, flags: &str) -> Command {
        let mut command = Command::new(&self.java.program);
        command
            // Of two of a kind Java takes the last.
            .args(HEAP.split(' '))
            .args(flags.split_whitespace())
            .args(LOGGING)
            .arg("-cp")
            .arg(self.java.jars.join("*"))
            .arg(class);
        command.stdin(Stdio::null()).current_dir(&self.folder);
        command
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// Enough to see why.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default();
    format!("the broker said:\n{}", last.join("\n"))
}
