//! Deliveries to batches to webhooks to output topics.
//!
//! ```text
//!  deliveries ─▶ collect ─▶ freeze ─▶ call until done ─▶ commit: results or dead letters, and the position
//!               (window)   (planning)    (calls)         (plan, commit)
//! ```
//!
//! What ended as a dead letter may be delivered again, by the lane that gave up on it (`redrive.rs`).
//!
//! One [`run`] serves one pool; each lane of its subscriptions is one task (`lane`) that has several frozen batches
//! in flight, no two of which share a key. Owns HTTP and the lanes' table. Does not own what is delivered (the
//! router) or who may subscribe (the API). Invariants: frozen-batch, offsets-with-effects, one-owner.

mod address;
mod ahead;
mod attempt;
mod batch;
mod body;
mod budget;
mod calls;
mod client;
mod commit;
mod config;
mod deliveries;
mod endpoint;
mod error;
mod failing;
mod freeze;
mod json;
mod lane;
mod lanes;
mod making;
mod marks;
mod moving;
mod outside;
mod plan;
mod planning;
mod redrive;
mod reports;
mod request;
mod response;
mod restore;
mod retry;
mod sample;
mod service;
mod set;
mod settle;
mod site;
mod sweep;
mod throttle;
mod timings;
mod trial;
mod trim;
mod unsure;
mod window;

pub use config::{Config, Hosts, Network, Pattern, Proxy, Reach, Trust};
pub use error::{Error, Result};
pub use outside::{Ended, Outside};
pub use sample::{Answered, Sample, SampleEvent, SampleFailure, Sampler, Signing};
pub use service::{drain, run};
pub use trial::Trials;
