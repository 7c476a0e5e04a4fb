//! What a process has used, as Linux says it (proc(5)). Elsewhere nothing is known.

use std::time::Duration;

/// Linux has counted in hundredths of a second for every program since 2.6 (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// CPU time and memory of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In user and kernel mode.
    pub cpu: Duration,
    /// The most bytes it ever had in memory.
    pub memory_peak: u64,
}

impl Usage {
    /// Of a process that lives.
    pub fn of(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
        let cpu = ticks(&format!("/proc/{pid}/stat"), 13)?;
        Some(Self { cpu, memory_peak: kilobytes * 1024 })
    }
}

/// The CPU time of every child that has ended and was waited for, killed ones included.
pub fn cpu_of_children() -> Duration {
    ticks("/proc/self/stat", 15).unwrap_or_default()
}

/// The sum of two fields of `stat`, from the `first`-th on, counted from 0.
fn ticks(file: &str, first: usize) -> Option<Duration> {
    let stat = std::fs::read_to_string(file).ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields = after_name.split_whitespace().skip(first - 2).take(2);
    let ticks: u32 = fields.filter_map(|field| field.parse::<u32>().ok()).sum();
    Some(TICK * ticks)
}
