//! What the benches share: time, CPU and memory of a piece of work, and how a figure is printed.
//!
//! Benches print ratios against a peer or a limit measured in the same run; nothing passes or fails by time.

pub mod amplify;
pub mod endpoint;

use std::fs;
use std::time::{Duration, Instant};

/// What a piece of work cost this process.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// How long it took.
    pub wall: Duration,
    /// User and system time of all threads.
    pub cpu: Duration,
}

/// Runs `work` and says what it cost.
pub fn cost<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let (start, cpu) = (Instant::now(), cpu_of("self"));
    let result = work();
    (result, Cost { wall: start.elapsed(), cpu: cpu_of("self").saturating_sub(cpu) })
}

/// The cost of what is done from a moment on, where it cannot be a closure.
#[derive(Clone, Copy, Debug)]
pub struct Since(Instant, Duration);

impl Since {
    /// From now on.
    pub fn now() -> Self {
        Self(Instant::now(), cpu_of("self"))
    }

    /// Until now.
    pub fn cost(self) -> Cost {
        Cost { wall: self.0.elapsed(), cpu: cpu_of("self").saturating_sub(self.1) }
    }
}

/// So many bytes that compress like text and not like zeros; the same for the same `seed`.
pub fn text(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + u8::try_from(state % 20).unwrap_or_default()
    };
    (0..bytes).map(|_| next()).collect()
}

/// The median of what was taken, and what one in a hundred was above.
pub fn times(mut taken: Vec<Duration>) -> String {
    taken.sort_unstable();
    let at = |percent: usize| taken.get(taken.len() * percent / 100).copied().unwrap_or_default();
    format!("p50 {:.1?}, p99 {:.1?}", at(50), at(99))
}

/// User and system time of a process, from /proc (Linux; zero elsewhere).
pub fn cpu_of(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold spaces: fields are counted behind it (proc(5): utime and stime are 14 and 15).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory a process had resident, in bytes, from /proc (Linux; zero elsewhere).
pub fn peak_memory_of(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// How busy the machine was over the last 1, 5 and 15 minutes, from /proc (Linux): whether figures count.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".to_owned());
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

impl Cost {
    /// How many of `n` things per second.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn rate(&self, n: u64) -> f64 {
        n as f64 / self.wall.as_secs_f64()
    }

    /// CPU-seconds per million of `n` things.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn cpu_per_million(&self, n: u64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / n as f64
    }
}

/// One line of a bench's report.
pub fn report(name: &str, n: u64, unit: &str, cost: Cost) {
    let (rate, cpu) = (cost.rate(n), cost.cpu_per_million(n));
    println!("{name:<44} {rate:>12.0} {unit}/s   {cpu:>7.2} CPU-s per million   ({n} in {:.2?})", cost.wall);
}

/// A ratio, in words.
pub fn ratio(name: &str, ours: Cost, theirs: Cost) {
    println!("{name:<44} {:>12.2} times", theirs.wall.as_secs_f64() / ours.wall.as_secs_f64());
}
