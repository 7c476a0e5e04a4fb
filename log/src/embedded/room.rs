//! Waiting for RocksDB to take writes again, at its pace and never for ever.

use std::thread;
use std::time::Duration;

use rocksdb::DB;

/// How often a write that is held back looks whether it may go on: at first, and at last.
const LOOKS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(100);
/// How long a write is held back while RocksDB says that it could not write its files.
const PATIENCE: Duration = Duration::from_secs(10);

/// One write that is held back.
#[derive(Debug)]
pub(super) struct Room {
    last_bytes: usize,
    look: Duration,
    waited: Duration,
}

/// RocksDB cannot write its files.
#[derive(Debug)]
pub(super) struct Gone;

impl Room {
    /// For the write after one of `last_bytes`.
    pub(super) fn new(last_bytes: usize) -> Self {
        Self { last_bytes, look: *LOOKS.start(), waited: Duration::ZERO }
    }

    /// Until it is worth trying again: there is room, or RocksDB can say itself why there is none.
    pub(super) fn wait(&mut self, db: &DB) -> Result<(), Gone> {
        let number = |name: &str| db.property_int_value(name).ok().flatten().unwrap_or_default();
        loop {
            self.pause(self.look);
            self.look = (self.look * 2).min(*LOOKS.end());
            let failed = number("rocksdb.background-errors") > 0;
            if failed && self.waited >= PATIENCE {
                return Err(Gone);
            }
            if failed || number("rocksdb.is-write-stopped") == 0 {
                break;
            }
        }
        self.pause(pace(self.last_bytes, number("rocksdb.actual-delayed-write-rate")));
        Ok(())
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
        self.waited += time;
    }
}

/// RocksDB asks of each write that it waits as long as the one before it takes at its rate, and counts from the last
/// that was refused: after twice that time one is taken.
fn pace(last_bytes: usize, rate: u64) -> Duration {
    let (bytes, longest) = (u64::try_from(last_bytes).unwrap_or(u64::MAX), Duration::from_secs(1));
    let millis = bytes.saturating_mul(2000).checked_div(rate);
    millis.map_or(Duration::ZERO, |millis| Duration::from_millis(millis).min(longest))
}
