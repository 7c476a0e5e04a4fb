//! Shows the row while something goes on, and keeps an eye on memory meanwhile.

use std::time::{Duration, Instant};

use super::calls::Calls;
use super::numbers::{Numbers, PATIENCE};
use super::screen::Screen;
use crate::client::Client;
use crate::process::{Process, Usage};

/// How often memory is looked at: Linux keeps the peak, so this only bounds what is missed at the end.
const SAMPLE: Duration = Duration::from_millis(200);

/// What has been seen so far.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) numbers: Numbers,
    pub(super) begin: Instant,
    pub(super) memory_peak: u64,
}

impl View {
    pub(super) fn new() -> Self {
        Self { numbers: Numbers::default(), begin: Instant::now(), memory_peak: 0 }
    }

    /// ` 0:07`
    pub(super) fn clock(&self) -> String {
        let seconds = self.begin.elapsed().as_secs();
        format!("{:>2}:{:02}", seconds / 60, seconds % 60)
    }

    /// Looks at a program that lives.
    pub(super) fn sample(&mut self, pid: Option<u32>) {
        let usage = pid.and_then(Usage::of).unwrap_or_default();
        self.memory_peak = self.memory_peak.max(usage.memory_peak);
    }
}

/// Everything that showing needs.
#[derive(Debug)]
pub(super) struct Show<'a> {
    pub(super) screen: &'a Screen,
    pub(super) view: &'a mut View,
    pub(super) receiver: &'a Process,
}

impl Show<'_> {
    /// Until the work is done; `pid` is the program that is looked at.
    pub(super) async fn during<T>(&mut self, api: &Client, pid: Option<u32>, work: impl Future<Output = T>) -> T {
        let (mut rows, mut samples) = (tokio::time::interval(self.screen.pace()), tokio::time::interval(SAMPLE));
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = rows.tick() => self.row(api, PATIENCE).await,
                _ = samples.tick() => self.view.sample(pid),
            }
        };
        self.screen.keep_row();
        done
    }

    /// The row as it is now.
    pub(super) async fn row(&mut self, api: &Client, patience: Duration) {
        let calls = Calls::of(&self.receiver.lines());
        self.view.numbers.update(api, &calls, patience).await;
        self.screen.row(&format!("{}  {}", self.view.clock(), self.view.numbers));
    }
}
