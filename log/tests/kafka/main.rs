//! The Kafka backend on a real broker.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod away;
mod beside;
mod culprits;
mod outlived;
mod suite;
mod support;
mod takeover;
mod unheld;
