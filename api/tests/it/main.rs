//! The API as its users see it: every route over the embedded log, with the control topic followed as in the program.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests share may panic as tests may")]

mod attempts;
mod browse;
mod client_certificate;
mod closed;
mod conditions;
mod docs;
mod dry_run;
mod evaluate;
mod keys;
mod lag;
mod metrics;
mod once;
mod openapi;
mod patch;
mod problems;
mod redrive;
mod replay;
mod secrecy;
mod server;
mod status;
mod subscriptions;
mod tail;
mod tenants;
mod topics;
mod trial;
mod world;
