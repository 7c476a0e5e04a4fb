//! Standard output: what was asked for, a line at a time. A reader that has had enough, such as `head`, is no failure,
//! nor is a terminal that was closed.

use std::fmt::Display;
use std::fs::File;
use std::io::{Error, ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit::Failure;

/// Writes a line; breaks once nobody reads any more.
pub(crate) fn line(text: impl Display) -> Result<ControlFlow<()>, Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if is_nobody(&error) => Ok(ControlFlow::Break(())),
        written => Ok(ControlFlow::Continue(written?)),
    }
}

/// True where nobody reads any more. A terminal that is closed is an error of input and output, as a disk that fails
/// is; it is a device still, but no terminal, which cannot be asked any more.
fn is_nobody(error: &Error) -> bool {
    let is_device = || {
        let output = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
        output.and_then(|output| output.metadata()).is_ok_and(|output| output.file_type().is_char_device())
    };
    let is_of_terminal = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    error.kind() == ErrorKind::BrokenPipe || (is_of_terminal && is_device())
}

/// What `shell` needs to complete commands and flags.
pub(crate) fn completion(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "fpaas", &mut script);
    line(String::from_utf8_lossy(&script).trim_end()).map(drop)
}
