//! The embedded log: the suite of the contract, and what only this backend promises.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests, with helpers that are no tests themselves")]

mod crash;
mod disk;
mod folder;
mod history;
mod kill;
mod members;
mod model;
mod suite;
mod support;
mod wal;
