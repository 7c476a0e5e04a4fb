//! A child process whose lines can be awaited, that can be killed at any moment, and that never outlives its owner.

mod lines;
mod usage;

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

use lines::Lines;
pub use usage::{Usage, cpu_of_children};

/// How long the pipes of a program that has ended are read on.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it is looked whether a program stands still.
const STANDS: Duration = Duration::from_millis(10);

/// A program of ours beside the running one: `$FPAAS_BIN` for `fpaas`, else what cargo has built.
pub fn program(name: &str) -> Result<PathBuf> {
    if name == "fpaas"
        && let Some(given) = std::env::var_os("FPAAS_BIN")
    {
        return Ok(PathBuf::from(given));
    }
    let own = std::env::current_exe()?;
    // Programs are in `debug/`, tests in `debug/deps/`.
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("{name} is not built: run `make build`"))
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Lines,
}

impl Process {
    /// Starts it. Its standard output and error are read line by line, as they come.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let (lines, readers) = (Lines::default(), TaskTracker::new());
        if let Some(out) = child.stdout.take() {
            readers.spawn(read(out, lines.clone()));
        }
        if let Some(err) = child.stderr.take() {
            readers.spawn(read(err, lines.clone()));
        }
        readers.close();
        let ended = lines.clone();
        tokio::spawn(async move {
            readers.wait().await;
            ended.close();
        });
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// Its process id, while it was not waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything it has said so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.all()
    }

    /// The first line, from the `from`-th on, for which `take` answers something. An error when the program ends
    /// without it, or after `limit`.
    pub async fn line<T>(&self, from: usize, limit: Duration, take: impl Fn(&str) -> Option<T>) -> Result<T> {
        let found = tokio::time::timeout(limit, self.lines.find(from, take)).await;
        let said = || format!("{} said:\n{}", self.name, self.lines.all().join("\n"));
        found.with_context(|| format!("no such line within {limit:?}; {}", said()))?.with_context(said)
    }

    /// What it has used so far; `None` once it was waited for.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.child.id()?)
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        let status = ended.with_context(|| format!("{} has not ended within {limit:?}", self.name))??;
        self.last_words().await;
        Ok(status)
    }

    /// What it has said at its end is read too; a child of its own that still holds the pipe is not waited for.
    async fn last_words(&self) {
        drop(tokio::time::timeout(LAST_WORDS, self.lines.ended()).await);
    }

    /// SIGKILL, as a power failure of the process; returns when it is gone. An error when it was gone already.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("{} had ended by itself ({status}):\n{}", self.name, self.lines.all().join("\n"));
        }
        Ok(self.child.kill().await?)
    }

    /// SIGSTOP; returns when every thread of it stands. It answers nothing, and its connections stay open.
    pub async fn pause(&mut self) -> Result<()> {
        let pid = self.signal(Signal::STOP)?;
        while waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)?.is_none() {
            tokio::time::sleep(STANDS).await;
            anyhow::ensure!(self.child.try_wait()?.is_none(), "{} ended while it was being paused", self.name);
        }
        Ok(())
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT).map(drop)
    }

    /// SIGHUP, by which a node reads its settings again.
    pub fn hang_up(&mut self) -> Result<()> {
        self.signal(Signal::HUP).map(drop)
    }

    fn signal(&self, signal: Signal) -> Result<Pid> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.with_context(|| format!("{} has ended", self.name))?;
        kill_process(pid, signal).with_context(|| format!("{} has ended", self.name))?;
        Ok(pid)
    }

    /// SIGTERM, and SIGKILL when it has not ended within `limit`.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.end(Signal::TERM, limit).await
    }

    /// SIGINT, as Ctrl-C, and SIGKILL when it has not ended within `limit`.
    pub async fn interrupt(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.end(Signal::INT, limit).await
    }

    async fn end(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        // Fails only when it is gone already.
        let _gone = self.signal(signal);
        if let Ok(ended) = tokio::time::timeout(limit, self.child.wait()).await {
            self.last_words().await;
            return Ok(ended?);
        }
        self.child.kill().await?;
        anyhow::bail!("{} did not stop within {limit:?} and was killed", self.name)
    }
}

async fn read(from: impl AsyncRead + Unpin, lines: Lines) {
    let mut reader = BufReader::new(from).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        Process::spawn("sh", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[tokio::test]
    async fn lines_of_both_outputs_can_be_awaited() {
        let mut process = shell("echo one; echo two >&2; exit 3");
        let two = process.line(0, LONG, |line| (line == "two").then_some(2)).await.unwrap();
        assert_eq!(two, 2);
        assert_eq!(process.wait(LONG).await.unwrap().code(), Some(3));
        assert_eq!(process.lines().len(), 2);
        let error = process.line(0, LONG, |line| (line == "three").then_some(3)).await.unwrap_err();
        assert!(format!("{error:#}").contains("sh said"), "{error:#}");
    }

    #[tokio::test]
    async fn a_kill_is_told_from_an_end() {
        let mut process = shell("echo up; exec sleep 60");
        process.line(0, LONG, |line| (line == "up").then_some(())).await.unwrap();
        assert!(process.usage().unwrap().memory_peak > 0);
        process.kill().await.unwrap();
        let mut ended = shell("exit 1");
        ended.wait(LONG).await.unwrap();
        assert!(ended.kill().await.unwrap_err().to_string().contains("had ended by itself"));
    }

    #[tokio::test]
    async fn a_program_stands_still_until_it_goes_on() {
        let mut process = shell("i=0; while true; do echo $i; i=$((i+1)); sleep 0.01; done");
        process.line(0, LONG, |line| (line == "3").then_some(())).await.unwrap();
        process.pause().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = process.lines().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(process.lines().len(), before);
        process.resume().unwrap();
        process.line(before, LONG, |_| Some(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_ignores_the_signal_is_killed_and_said_so() {
        let mut process = shell("trap '' TERM; echo up; while true; do sleep 0.1; done");
        process.line(0, LONG, |line| (line == "up").then_some(())).await.unwrap();
        let error = process.stop(Duration::from_millis(200)).await.unwrap_err();
        assert!(error.to_string().contains("was killed"));
    }

    #[tokio::test]
    async fn the_cpu_time_of_a_child_is_known_once_it_ended() {
        let before = cpu_of_children();
        let mut process = shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done");
        process.wait(LONG).await.unwrap();
        assert!(cpu_of_children() > before);
    }
}
