//! Logs to standard error; standard output is for what was asked for.

use std::io::{self, IsTerminal, Write};

use fpaas_core::invariant::{self, InvariantId};
use tracing_subscriber::EnvFilter;

use crate::args::Args;

/// Installs the subscriber, and the report of broken invariants.
pub(crate) fn install(args: &Args) {
    let filter = EnvFilter::try_new(args.filter()).unwrap_or_else(|error| {
        eprintln!("fpaas: --messages {}: {error}; using info", args.filter());
        EnvFilter::new("info")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines).with_target(false);
    // Nobody may be there to read: that is said there, too, and a panic is all that comes of it.
    let builder = builder.log_internal_errors(false);
    if args.messages_json {
        builder.json().init();
    } else {
        builder.with_ansi(io::stderr().is_terminal()).init();
    }
    // Where nothing is installed a broken invariant panics: that is what tests want.
    if std::env::var("FPAAS_INVARIANTS").as_deref() != Ok("panic") {
        invariant::on_broken(report);
    }
}

fn report(id: InvariantId, what: &str) {
    tracing::error!(invariant = %id, what, "an invariant is broken: this is a bug, please report it");
}

/// Standard error, where the live line of progress may stand: on a terminal it makes room for what is logged.
struct Lines;

impl Write for Lines {
    /// Called once with the whole of what is logged.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = io::stderr().lock();
        if out.is_terminal() {
            out.write_all(b"\r\x1b[2K")?;
        }
        out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
