//! A terminal as a person sits at it: a shell in the checkout, text typed into it, Ctrl-C.
//!
//! What it runs it runs as it is written. Only the address, the folder, the upstream and the file that remembers the
//! server are a test's own, by the variables that `fpaas --help` names; no other variable of ours is there.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use crate::process::Process;

/// What every command of a test is given.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Where commands run.
    pub folder: PathBuf,
    environment: Vec<(String, String)>,
}

/// Something that was typed and still runs.
#[derive(Debug)]
pub struct Typed {
    /// The shell, and what it runs.
    pub process: Process,
    group: Option<Pid>,
}

impl Terminal {
    /// In the checkout; what the program keeps goes into `home`. `upstream` is read where none is named.
    pub fn new(home: &Path, upstream: &str) -> Self {
        let own = |name: &str, value: String| (name.to_owned(), value);
        let environment = vec![
            own("XDG_CONFIG_HOME", home.display().to_string()),
            own("FPAAS_DATA", home.join("data").display().to_string()),
            own("FPAAS_LISTEN", "127.0.0.1:0".to_owned()),
            own("FPAAS_UPSTREAM", upstream.to_owned()),
        ];
        Self { folder: crate::checkout(), environment }
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Types it; does not wait.
    pub fn run(&self, text: &str) -> Result<Typed> {
        // A shell that runs tests in its background has them ignore Ctrl-C, and what they start inherits that.
        let mut shell = Command::new("env");
        shell.args(["--default-signal=INT", "bash", "-euo", "pipefail", "-c", text]);
        shell.current_dir(&self.folder).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FPAAS_") {
                shell.env_remove(name);
            }
        }
        if let Some(target) = target() {
            shell.env("CARGO_TARGET_DIR", target);
        }
        shell.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn(text, &mut shell)?;
        let group = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Typed { process, group })
    }

    /// Types it and waits for a success; answers the lines.
    pub async fn done(&self, text: &str, limit: Duration) -> Result<Vec<String>> {
        let mut typed = self.run(text)?;
        let status = typed.process.wait(limit).await?;
        let lines = typed.process.lines();
        anyhow::ensure!(status.success(), "{status}:\n{}", lines.join("\n"));
        Ok(lines)
    }
}

impl Typed {
    /// Ctrl-C: everything that was started from there gets the signal.
    pub async fn interrupt(&mut self, limit: Duration) -> Result<ExitStatus> {
        kill_process_group(self.group.context("it has ended")?, Signal::INT)?;
        self.process.wait(limit).await
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Fails when all of it is gone: then that is done.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Where the running test was built, so that what it builds is built already.
fn target() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.ancestors().nth(3)?.to_owned())
}
