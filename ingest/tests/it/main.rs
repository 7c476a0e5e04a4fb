//! Everything about ingest that needs more than one file of it: recordings, vectors, hostile frames, the service.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../fuzz/check.rs"]
mod check;
mod hostile;
mod recorded;
mod reference;
mod service;
mod several;
mod support;
mod tls;
mod vectors;
mod world;
