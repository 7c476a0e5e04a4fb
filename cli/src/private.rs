//! Files that hold a key: for their owner alone, and whole at any moment.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Replaces `file`. Written beside and renamed, so that a crash leaves the old text or the new one.
pub(crate) fn store(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()?;
    fs::rename(&new, file)
}
