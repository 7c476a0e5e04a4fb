//! The folder of a log: ours alone, of a format we know, and used by one process at a time.
//!
//! ```text
//! <folder>/FORMAT       "fpaas embedded log, format 1", and the folder's secret (see `wal`)
//! <folder>/fpaas.lock   locked by the process that uses it
//! <folder>/db/          RocksDB's
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wal::Secret;
use crate::{Error, Result};

const FORMAT: &str = "FORMAT";
const NEW_FORMAT: &str = "FORMAT.new";
const LOCK: &str = "fpaas.lock";
const DATABASE: &str = "db";
const TITLE: &str = "fpaas embedded log, format ";
const VERSION: u32 = 1;

/// A folder that is locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    secret: Secret,
    _lock: File,
}

impl Folder {
    /// Makes or checks the folder, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |error: io::Error| unusable(path, &explain(&error));
        fs::create_dir_all(path).map_err(failed)?;
        refuse_foreign(path)?;
        let lock = acquire(path)?;
        let secret = match fs::read_to_string(path.join(FORMAT)) {
            Ok(text) => check_format(path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => write_format(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path: path.to_owned(), secret, _lock: lock })
    }

    /// The folder itself, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What nobody outside of it knows.
    pub(super) fn secret(&self) -> Secret {
        self.secret
    }

    /// Where RocksDB lives.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }
}

/// How often the lock is tried, and how long is waited between: whoever has just ended, or forked in that moment, may
/// hold it for a little longer.
const LOCK_TRIES: u32 = 20;
const LOCK_AGAIN: Duration = Duration::from_millis(25);

/// A folder that holds other things but no log was given by mistake.
fn refuse_foreign(path: &Path) -> Result<()> {
    let failed = |error: io::Error| unusable(path, &explain(&error));
    if path.join(FORMAT).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != LOCK && name != NEW_FORMAT {
            let what = format!("it holds other things ({}) and no log: give an empty folder", name.display());
            return Err(unusable(path, &what));
        }
    }
    Ok(())
}

fn acquire(path: &Path) -> Result<File> {
    let failed = |error: io::Error| unusable(path, &explain(&error));
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
    let file = open.map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_AGAIN),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(unusable(path, "another fpaas is using it: stop that one first, or give this one another folder"))
}

fn check_format(path: &Path, text: &str) -> Result<Secret> {
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix(TITLE)?.parse::<u32>().ok());
    let secret = lines.next().and_then(|line| u64::from_str_radix(line, 16).ok());
    match (version, secret) {
        (Some(VERSION), Some(secret)) => Ok(secret.to_be_bytes()),
        (Some(newer), _) if newer > VERSION => Err(unusable(
            path,
            &format!("it was written by a newer fpaas (format {newer}, this one knows {VERSION}): use that one"),
        )),
        _ => Err(unusable(path, &format!("its {FORMAT} file is damaged or not ours: {text:?}"))),
    }
}

/// Written beside and renamed, so that a crash leaves no half of it.
fn write_format(path: &Path) -> io::Result<Secret> {
    let mut secret = [0; 8];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    let temporary = path.join(NEW_FORMAT);
    let mut file = File::create(&temporary)?;
    write!(file, "{TITLE}{VERSION}\n{:016x}\n", u64::from_be_bytes(secret))?;
    file.sync_all()?;
    fs::rename(&temporary, path.join(FORMAT))?;
    File::open(path)?.sync_all()?;
    Ok(secret)
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::Fatal(format!("cannot use the log's folder {}: {what}", path.display()))
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("it cannot be written ({error})")
        }
        io::ErrorKind::StorageFull => format!("the disk is full ({error}): free some space"),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => format!("it is not a folder ({error})"),
        _ => error.to_string(),
    }
}
