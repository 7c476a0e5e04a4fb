//! Standard output: what was asked for, a line at a time. A reader that has had enough, such as `head`, is no failure.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::ops::ControlFlow;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit::Failure;

/// Writes a line; breaks once nobody reads any more.
pub(crate) fn line(text: impl Display) -> Result<ControlFlow<()>, Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        written => Ok(ControlFlow::Continue(written?)),
    }
}

/// What `shell` needs to complete commands and flags.
pub(crate) fn completion(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "fpaas", &mut script);
    line(String::from_utf8_lossy(&script).trim_end()).map(drop)
}
