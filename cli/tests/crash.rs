//! The main job, killed: at random moments and at every named crash point. What must come out is known from what the
//! PDS answered, by event id: each like once in the output topic, whatever happened on the way.
//!
//! On Kafka also by three nodes, with faults between them.
//!
//! `FPAAS_CRASH_ROUNDS` is the number of random kills (20 where nothing is said, 200 and more in `make test-crash`).
//! Invariants: offsets-with-effects, frozen-batch, log-before-store.

#[path = "crash/control.rs"]
mod control;
#[path = "crash/faults.rs"]
mod faults;
#[path = "crash/fleet.rs"]
mod fleet;
#[path = "crash/job.rs"]
mod job;
#[path = "crash/leader.rs"]
mod leader;
#[path = "crash/migrate.rs"]
mod migrate;
#[path = "crash/moments.rs"]
mod moments;
#[path = "crash/points.rs"]
mod points;
#[path = "crash/pools.rs"]
mod pools;
#[path = "crash/takeover.rs"]
mod takeover;
