//! A small world for tests and the demo: what feeds the program, what it calls, what must come out.
//!
//! Dev only. It speaks the protocols itself, and uses neither the decoder nor the signer nor the client that it is
//! there to judge. The oracle knows what must arrive from what the PDS answered, not from our code.

pub mod broker;
pub mod client;
pub mod contract;
pub mod demo;
pub mod dev;
mod guard;
pub mod openmetrics;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod recording;
pub mod relay;
pub mod skip;
pub mod terminal;

pub use broker::{Broker, Cluster};
pub use client::Client;
pub use contract::Contract;
pub use dev::Dev;
pub use oracle::Oracle;
pub use process::Process;
pub use proxy::Proxy;
pub use receiver::{Answer, Receiver, Script};
pub use recording::Recording;
pub use relay::Relay;
pub use skip::{Need, skip};
pub use terminal::Terminal;

use std::path::PathBuf;

/// The recording of a real PDS that comes with the repository: `frames.bin.zst`, `truth.jsonl.zst`, `final.json.zst`.
pub fn bundled() -> PathBuf {
    checkout().join("testdata/pds20")
}

/// The folder this was built from; the current one where that is gone.
pub fn checkout() -> PathBuf {
    let built_from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    built_from.canonicalize().unwrap_or_else(|_| PathBuf::from("."))
}
