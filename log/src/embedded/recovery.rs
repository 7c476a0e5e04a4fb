//! What is checked of a log that is opened, so that it is a prefix of its transactions or is not opened at all.
//!
//! Invariant: crash-on-corruption. RocksDB reads its logs up to the first thing it cannot read, says nothing of what it
//! drops, and goes on with the next log. So they are judged first (`wal`), and what it made of them is compared.

use rocksdb::{DB, Options};
use tracing::warn;

use super::folder::Folder;
use super::wal::{self, Verdict};
use super::{codec, explain, keys};
use crate::{Error, Result};

/// Before RocksDB has the logs: what only a power cut can have left is cut off. The number of the last write there is.
pub(super) fn check_logs(folder: &Folder) -> Result<u64> {
    let unreadable = |error: std::io::Error| damaged(folder, &error.to_string());
    let (database, flushed) = (folder.database(), flushed(folder)?);
    match wal::inspect(&database, folder.secret(), flushed).map_err(unreadable)? {
        Verdict::Sound(last) => Ok(last),
        Verdict::Cut(last, place) => {
            warn!(file = %place.file.display(), at = place.at, "the machine went down before the disk had everything: \
                the log goes on from the last transaction without a hole before it");
            wal::cut(&database, &place).map_err(unreadable)?;
            Ok(last)
        }
        Verdict::Damaged(place) => Err(damaged(folder, &format!("at byte {} of {}", place.at, place.file.display()))),
    }
}

/// The number of the last write that is in the sorted files: what RocksDB finds when it looks for its logs where there
/// are none. All column families reach the sorted files together, so one of them tells.
fn flushed(folder: &Folder) -> Result<u64> {
    if !folder.database().join("CURRENT").exists() {
        return Ok(0);
    }
    let mut options = Options::default();
    options.set_wal_dir(folder.path());
    options.set_skip_stats_update_on_db_open(true);
    // With all files open RocksDB would first try another way of opening, which reads everything twice.
    options.set_max_open_files(64);
    let opened = DB::open_for_read_only(&options, folder.database(), false);
    writes(folder, &opened.map_err(|error| Error::Fatal(explain::failed(folder, &error)))?)
}

/// After RocksDB has read them: it found every write up to `last`, and no other.
pub(super) fn check_opened(folder: &Folder, db: &DB, last: u64) -> Result<()> {
    let found = writes(folder, db)?;
    let same = found == last;
    same.then_some(()).ok_or_else(|| damaged(folder, &format!("its last write is {last}, but {found} was read")))
}

fn writes(folder: &Folder, db: &DB) -> Result<u64> {
    let row = db.get(keys::WRITES).map_err(|error| Error::Fatal(explain::failed(folder, &error)))?;
    let Some(row) = row else { return Ok(0) };
    codec::decode_number(&row).ok_or_else(|| damaged(folder, "a number cannot be read"))
}

fn damaged(folder: &Folder, what: &str) -> Error {
    Error::Fatal(explain::damage(folder, what))
}
