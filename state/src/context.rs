//! What every stage is given: the log, its names, the view, the board and the clock.

use std::sync::Arc;

use fpaas_core::Clock;
use fpaas_core::topics::Topics;
use fpaas_log::Log;

use crate::{Board, Control};

/// Cheap to clone; made once by the program.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where everything durable is.
    pub log: Arc<dyn Log>,
    /// What topics are called.
    pub topics: Topics,
    /// Tenants' resources, as the control topic has them.
    pub control: Arc<Control>,
    /// How subscriptions fare, for `/status` and the line of progress.
    pub board: Arc<Board>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// This node's name: stable over restarts, part of writers' ids.
    pub node: Arc<str>,
}
