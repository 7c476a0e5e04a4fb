//! A shell that outlives the process that started it and cleans up after it, however it ended.
//!
//! It reads what it is told from a pipe that only that process holds: the pipe's end is the process's end. Nothing
//! of Rust runs when a process is killed, and statics are dropped by none.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// Keeps the last line it was told in `$last` until the pipe ends; what comes then is the owner's.
const WAIT: &str = "trap '' HUP INT TERM; last=; while read -r line; do last=$line; done; ";

/// Cleans up when it is dropped, and waits until that is done.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Guard {
    /// `clean_up` is a shell's script that has `argument` as `$1` and what was told last as `$last`.
    pub(crate) fn new(clean_up: &str, argument: &str) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{WAIT}{clean_up}"), "sh", argument]);
        // A group of its own: Ctrl-C is for its owner.
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut shell = shell.spawn().context("sh cannot be started")?;
        let pipe = Mutex::new(shell.stdin.take());
        Ok(Self { shell, pipe })
    }

    pub(crate) fn tell(&self, line: &str) -> Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writeln!(pipe.as_mut().context("the guard has gone")?, "{line}")?)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take());
        // It has cleaned up when it ends; it cannot be asked how that went.
        drop(self.shell.wait());
    }
}
