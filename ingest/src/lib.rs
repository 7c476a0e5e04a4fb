//! Relay, PDS or recording to the firehose topic.
//!
//! ```text
//!  bytes ──frame──▶ Frame ──seen──▶ new? ──convert──▶ Events ──decode──▶ step ──commit──▶ [firehose] + cursor
//!        (cbor)           (seqs, revs)     (ops, car, cid, record, json)
//! ```
//!
//! Everything left of `decode` is pure: bytes and time in, events or a [`DropReason`] out. The rest is one bounded
//! pipeline under one lease ([`run`]). Does not own topics' meaning (`core`), or what becomes of an event later.

mod backoff;
mod car;
mod cbor;
mod cid;
mod commit;
mod config;
mod convert;
mod course;
mod cursor;
mod decode;
mod dial;
mod ends;
mod error;
mod events;
mod frame;
mod gate;
mod inbox;
mod json;
mod lease;
mod ops;
mod rebuild;
mod record;
mod recording;
mod relay;
mod retry;
mod seen;
mod service;
mod stamps;
mod status;
mod upstream;
mod work;

pub mod syntax;

pub use config::Config;
pub use convert::convert;
pub use cursor::Cursor;
pub use dial::Trust;
pub use error::{Error, Result};
pub use events::Events;
pub use frame::{Account, Commit, Frame, Identity, Notice, Sync};
pub use gate::{DropReason, Drops};
pub use recording::Frames;
pub use service::run;
pub use stamps::Stamps;
pub use status::{Counts, State, Status, UpstreamStatus};
pub use upstream::{Recording, Relay, Speed, Upstream};
