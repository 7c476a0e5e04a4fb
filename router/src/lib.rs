//! The firehose and topics to the deliveries of subscriptions (design §5, router).
//!
//! ```text
//!  source partition   ───┬────────────┬──────────────────────┬──────────▶
//!                        │            │                      │
//!            a lane ────▶│ catching up│           the scan ─▶│ S: next record for everybody in the scan
//! ```
//!
//! One scan per owned source partition serves all subscriptions of a pool; one whose start the scan has already passed
//! catches up in a lane of its own and joins. What is decided about records (`plan`) and subscriptions (`standing`) is
//! pure; what is durable is made so by one transaction per step. Does not own what happens to deliveries, nor what a
//! command means. Invariants: offsets-with-effects, one-owner, key-order.

mod aside;
mod commit;
mod config;
mod delivery;
mod error;
mod grown;
mod index;
mod lane;
mod lanes;
mod mark;
mod moving;
mod own;
mod plan;
mod replay;
mod roster;
mod scan;
mod service;
mod standing;
mod sweep;
mod tasks;
mod undeliverable;

#[cfg(test)]
mod testing;

pub use config::Config;
pub use error::{Error, Result};
pub use index::{Candidates, Index};
pub use roster::Member;
pub use service::run;
