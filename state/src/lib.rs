//! What follows the log: the control view, the stages' tables, and the board that says how subscriptions fare.
//!
//! Everything here can be thrown away and is rebuilt from topics: the log is written first, and what is kept here
//! follows. Invariant: log-before-store. Does not own the log's files or any stage's decisions.

mod attempt;
pub mod board;
pub mod command;
pub mod context;
pub mod control;
mod dead_letter;
mod error;
mod machine;
mod meter;
pub mod moves;
mod once;
pub mod removal;
pub mod rows;
mod standings;
mod system;
pub mod tables;
pub mod told;
mod trial;
pub mod view;

pub use attempt::{Attempt, CallOf, Phases};
pub use board::{Board, Counters, Fares, LastOutcome};
pub use command::{Change, Command, Expects, Once, Outcome};
pub use context::Context;
pub use control::{Applied, Control, Digested};
pub use dead_letter::{Cause, Letter, REASONS, RESULT, dead_letter};
pub use error::{Error, Result};
pub use machine::Machine;
pub use meter::{Counter, Meter};
pub use standings::Standings;
pub use system::{Happened, SystemEvent};
pub use tables::{Mutations, Tables};
pub use trial::{Timings, Trial, Tried, TriedRecord};
pub use view::tenants::{KeyEntry, Moving, TenantEntry};
pub use view::{Came, DeletedTopic, Disabled, Redrive, Replay, Retiring, SubscriptionEntry, TopicEntry, Unmade, View};
