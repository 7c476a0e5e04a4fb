//! Deliveries to batches to webhooks to output topics.
//!
//! ```text
//!  deliveries ─▶ collect ─▶ freeze ─▶ call until done ─▶ commit: results or dead letters, and the position
//!               (batch)    (freeze)      (deliver)      (finish)
//! ```
//!
//! One [`run`] serves one pool; each lane of its subscriptions is one task with one frozen batch in flight. Owns HTTP
//! and the lanes' table. Does not own what is delivered (the router) or who may subscribe (the API). Invariants:
//! frozen-batch, offsets-with-effects, one-owner.

mod address;
mod batch;
mod body;
mod client;
mod config;
mod deliver;
mod deliveries;
mod error;
mod finish;
mod freeze;
mod json;
mod lane;
mod lanes;
mod moving;
mod request;
mod response;
mod retry;
mod service;
mod sweep;
mod timings;
mod trial;
mod trim;
mod unsure;

pub use config::{Config, Hosts, Network, Pattern, Proxy, Reach, Trust};
pub use error::{Error, Result};
pub use service::{drain, run};
pub use trial::Trials;
