//! Logs to standard error; standard output is for what was asked for.

use std::io::IsTerminal;

use fpaas_core::invariant::{self, InvariantId};
use tracing_subscriber::EnvFilter;

use crate::args::Args;

/// Installs the subscriber, and the report of broken invariants.
pub(crate) fn install(args: &Args) {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|error| {
        eprintln!("fpaas: --log {}: {error}; using info", args.log);
        EnvFilter::new("info")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if args.log_json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
    // Where nothing is installed a broken invariant panics: that is what tests want.
    if std::env::var("FPAAS_INVARIANTS").as_deref() != Ok("panic") {
        invariant::on_broken(report);
    }
}

fn report(id: InvariantId, what: &str) {
    tracing::error!(invariant = %id, what, "an invariant is broken: this is a bug, please report it");
}
