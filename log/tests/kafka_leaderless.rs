//! Three brokers, one of which goes away. By itself: beside the suite the machine would be too busy to say anything.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kafka/beside.rs"]
mod beside;
#[path = "kafka/leaderless.rs"]
mod leaderless;
