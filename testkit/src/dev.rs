//! `fpaas dev` and `fpaas serve` as a test runs them: their own folder, its own context file, a free port, ready when
//! it says so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::client::Client;
use crate::process::{Process, program};

/// How long a start may take, restoring included: on a cluster of three, a thousand replicas are made first.
const START: Duration = Duration::from_secs(180);

/// How to run it. The same value can be started again and again: that is a restart.
#[derive(Clone, Debug)]
pub struct Dev {
    program: PathBuf,
    command: &'static str,
    folder: PathBuf,
    key: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A running `fpaas dev`.
#[derive(Debug)]
pub struct Running {
    /// The process: kill it, wait for it, read its lines.
    pub process: Process,
    /// Its API.
    pub api: Client,
}

impl Dev {
    /// Data and context go into `folder`.
    pub fn new(folder: &Path, key: &str) -> Result<Self> {
        Ok(Self::of(program("fpaas")?, folder, key))
    }

    /// The same with a program given by path.
    pub fn of(program: PathBuf, folder: &Path, key: &str) -> Self {
        let (folder, key) = (folder.to_owned(), key.to_owned());
        Self { program, command: "dev", folder, key, arguments: Vec::new(), environment: Vec::new() }
    }

    /// The same as `fpaas serve`.
    pub fn serving(self) -> Self {
        Self { command: "serve", ..self }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds `--upstream`.
    pub fn upstream(self, upstream: impl Into<String>) -> Self {
        self.arg("--upstream").arg(upstream)
    }

    /// Adds an environment variable, such as `FPAAS_CRASH_POINT`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The command of any other use of the program against this server, such as `fpaas get`.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("FPAAS_CONTEXT", self.folder.join("context.json")).env_remove("FPAAS_SERVER");
        command.env_remove("FPAAS_API_KEY").envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> Result<Process> {
        let mut command = self.command();
        command.arg(self.command).arg("--data").arg(self.data()).args([
            "--listen",
            "127.0.0.1:0",
            "--api-key",
            &self.key,
        ]);
        Process::spawn(&format!("fpaas {}", self.command), command.args(&self.arguments))
    }

    /// Starts it and waits until it has said where its API is.
    pub async fn start(&self) -> Result<Running> {
        self.up(self.spawn()?).await
    }

    /// Waits until what [`Self::spawn`] has started has said where its API is.
    pub async fn up(&self, process: Process) -> Result<Running> {
        let url =
            process.line(0, START, address).await.with_context(|| format!("fpaas {} did not come up", self.command))?;
        Ok(Running { api: Client::new(&url, &self.key)?, process })
    }
}

/// `  API       http://127.0.0.1:43210` of dev, `… fpaas serve is up node="…" url="http://127.0.0.1:43210" …` of serve.
fn address(line: &str) -> Option<String> {
    let served = || line.split_once("fpaas serve is up")?.1.split_once("url=\"")?.1.split_once('"').map(|(url, _)| url);
    let url = line.trim_start().strip_prefix("API").map(str::trim).or_else(served)?;
    url.starts_with("http://").then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_banner() {
        assert_eq!(address("  API       http://127.0.0.1:4321"), Some("http://127.0.0.1:4321".to_owned()));
        assert_eq!(address("  key       API"), None);
        let served = r#"INFO fpaas serve is up node="a" url="http://127.0.0.1:4321" log=embedded"#;
        assert_eq!(address(served), Some("http://127.0.0.1:4321".to_owned()));
    }
}
