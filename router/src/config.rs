//! How the router paces itself.

use std::sync::Arc;
use std::time::Duration;

use fpaas_core::limits;
use tokio::sync::Notify;

/// The defaults are right for production; tests make steps smaller.
#[derive(Clone, Debug)]
pub struct Config {
    /// The most records one step takes.
    pub step_records: usize,
    /// How often a scan that matched nothing commits its position.
    pub idle_commit: Duration,
    /// How many lanes of a pool catch up at a time; the others wait for their turn.
    pub lanes_running: usize,
    /// Told once the first slots are ours and every source partition of theirs is held: retention may begin then.
    pub holding: Arc<Notify>,
    /// Told once the first slots are ours and what belongs to them is restored.
    pub assigned: Arc<Notify>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            step_records: limits::ROUTE_FETCH_RECORDS_MAX,
            idle_commit: limits::IDLE_SCAN_COMMIT,
            lanes_running: limits::CATCH_UP_LANES_MAX,
            holding: Arc::default(),
            assigned: Arc::default(),
        }
    }
}
