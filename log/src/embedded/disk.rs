//! RocksDB behind one door: writes, scans, and what happens when the disk or our data is broken.
//!
//! Invariant: crash-on-corruption: the first failure ends everything. Each later call gets the same
//! [`Error::Fatal`], which says what to do, so that nothing is built on what may not be there.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rocksdb::{ColumnFamily, DB, DBRawIterator, ErrorKind, WriteBatch, WriteOptions};
use tracing::warn;

use super::config::{EmbeddedConfig, Fsync};
use super::folder::Folder;
use super::options;
use super::sync::Bell;
use super::wal::{self, Claim, Verdict};
use crate::{Error, Result};

/// How often a write that is held back looks whether it may go on.
const HELD_BACK: Duration = Duration::from_millis(1);
/// What must fit onto a disk that is not called full.
const PROBE_BYTES: usize = 1024 * 1024;

/// The database of one log.
#[derive(Debug)]
pub(super) struct Disk {
    db: DB,
    folder: Folder,
    fsync: Fsync,
    /// Everything up to this sequence number is on the disk.
    synced: AtomicU64,
    broken: OnceLock<String>,
    /// Rings when something was written that is not on the disk yet.
    pub(super) unsynced: Bell,
}

/// A row and its value.
pub(super) type Row = (Box<[u8]>, Box<[u8]>);

impl Disk {
    /// Opens what is there, or makes it.
    pub(super) fn open(folder: Folder, config: &EmbeddedConfig) -> Result<Self> {
        let cache = options::cache(config.block_cache_bytes);
        let families = [options::rows(&cache), options::records(config, &cache)];
        check_logs(&folder)?;
        let opened = DB::open_cf_descriptors(&options::database(config), folder.database(), families);
        let db = opened.map_err(|error| Error::Fatal(explain(&folder, &error)))?;
        let (synced, broken, unsynced) = (AtomicU64::new(0), OnceLock::new(), Bell::default());
        Ok(Self { db, folder, fsync: config.fsync, synced, broken, unsynced })
    }

    /// Refuses once something was broken.
    pub(super) fn alive(&self) -> Result<()> {
        self.broken.get().map_or(Ok(()), |why| Err(Error::Fatal(why.clone())))
    }

    /// Ends everything: every later call answers with this.
    pub(super) fn end(&self, why: String) -> Error {
        Error::Fatal(self.broken.get_or_init(|| why).clone())
    }

    /// Our own data does not read as it was written.
    pub(super) fn damaged(&self, what: &str) -> Error {
        self.end(damage(&self.folder, what))
    }

    /// An empty batch. Every write starts as one, so that it says what is on the disk.
    pub(super) fn batch(&self) -> WriteBatch {
        let mut batch = WriteBatch::default();
        let claim = Claim { secret: self.folder.secret(), synced: self.synced.load(Ordering::Acquire) };
        batch.put_log_data(claim.encode());
        batch
    }

    /// Writes all of it or nothing, as durable as the settings say.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<()> {
        self.alive()?;
        let mut how = WriteOptions::default();
        let sync = self.fsync == Fsync::Always;
        how.set_sync(sync);
        self.write_or_end(batch, how)?;
        // Where one write is forced onto the disk all are, so the latest that is done is there too.
        if sync {
            self.synced.fetch_max(self.db.latest_sequence_number(), Ordering::AcqRel);
        } else {
            self.unsynced.ring();
        }
        Ok(())
    }

    /// A write that RocksDB holds back waits here and not in RocksDB: where its files cannot be written, as on a full
    /// disk, it would wait for ever for that to change, and nobody would be told.
    fn write_or_end(&self, batch: WriteBatch, mut how: WriteOptions) -> Result<()> {
        how.set_no_slowdown(true);
        let again = batch.data().to_vec();
        match self.db.write_opt(batch, &how) {
            Err(error) if error.kind() == ErrorKind::Incomplete => self.wait_for_room()?,
            written => return written.map_err(|error| self.failed(&error)),
        }
        // At RocksDB's pace, which it sets itself while it writes files.
        how.set_no_slowdown(false);
        self.db.write_opt(WriteBatch::from_data(&again), &how).map_err(|error| self.failed(&error))
    }

    /// Until RocksDB takes writes again. [`Error::Fatal`] where it cannot write its files.
    fn wait_for_room(&self) -> Result<()> {
        let number = |name: &str| self.db.property_int_value(name).ok().flatten().unwrap_or_default();
        loop {
            if number("rocksdb.background-errors") > 0 {
                return Err(self.end(explain_background(&self.folder)));
            }
            if number("rocksdb.is-write-stopped") == 0 {
                return Ok(());
            }
            thread::sleep(HELD_BACK);
        }
    }

    /// Forces what was written onto the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.alive()?;
        let upto = self.db.latest_sequence_number();
        self.db.flush_wal(true).map_err(|error| self.failed(&error))?;
        self.synced.fetch_max(upto, Ordering::AcqRel);
        Ok(())
    }

    /// The records' column family, to address it in a batch.
    pub(super) fn records(&self) -> Result<&ColumnFamily> {
        self.db.cf_handle(options::RECORDS).ok_or_else(|| self.damaged("its records are missing"))
    }

    /// The records of a range of keys, in order, as of now. `keep` what was read for others.
    pub(super) fn scan(&self, range: Range<[u8; 16]>, keep: bool) -> Result<Scan<'_>> {
        self.alive()?;
        let options = options::read(&range.start[..]..&range.end[..], keep);
        let mut iterator = self.db.raw_iterator_cf_opt(self.records()?, options);
        iterator.seek_to_first();
        Ok(Scan { iterator, disk: self })
    }

    /// A row that is not a record.
    pub(super) fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.alive()?;
        self.db.get(key).map_err(|error| self.failed(&error))
    }

    /// All rows whose key starts with `prefix`, in order.
    pub(super) fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>> {
        self.alive()?;
        let rows = self.db.prefix_iterator(prefix);
        let rows = rows.take_while(|row| row.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)));
        rows.collect::<Result<_, _>>().map_err(|error| self.failed(&error))
    }

    /// Frees the files that hold nothing but records of this range, its last key included. What it leaves is hidden
    /// by a range deletion.
    pub(super) fn free_files(&self, first: &[u8; 16], last: &[u8; 16]) -> Result<()> {
        // Files go at once, also from the disk: what says that nobody needs them must be there before.
        self.sync()?;
        self.alive()?;
        self.db.delete_file_in_range_cf(self.records()?, first, last).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &rocksdb::Error) -> Error {
        self.end(explain(&self.folder, error))
    }
}

/// Goes over records in order. What it sees is as of its making.
pub(super) struct Scan<'a> {
    iterator: DBRawIterator<'a>,
    disk: &'a Disk,
}

impl Scan<'_> {
    /// The record it stands at: offset and bytes; `None` at the end.
    pub(super) fn get(&self) -> Result<Option<(u64, &[u8])>> {
        let Some((key, value)) = self.iterator.item() else { return self.ended() };
        let offset = super::keys::offset_of(key).ok_or_else(|| self.disk.damaged("a record's key is too short"))?;
        Ok(Some((offset, value)))
    }

    /// Goes to the next one.
    pub(super) fn step(&mut self) {
        self.iterator.next();
    }

    fn ended<T>(&self) -> Result<Option<T>> {
        self.iterator.status().map(|()| None).map_err(|error| self.disk.failed(&error))
    }
}

/// Tells a torn tail, which is normal after a crash, from damage.
fn check_logs(folder: &Folder) -> Result<()> {
    let unreadable = |error: std::io::Error| Error::Fatal(damage(folder, &error.to_string()));
    match wal::inspect(&folder.database(), folder.secret()).map_err(unreadable)? {
        Verdict::Sound => Ok(()),
        Verdict::Cut(place) => {
            warn!(file = %place.file.display(), at = place.at, "the machine went down before the disk had everything: \
                the log goes on from the last transaction without a hole before it");
            wal::cut(&place).map_err(unreadable)
        }
        Verdict::Damaged(place) => {
            Err(Error::Fatal(damage(folder, &format!("at byte {} of {}", place.at, place.file.display()))))
        }
    }
}

fn explain(folder: &Folder, error: &rocksdb::Error) -> String {
    let path = folder.path().display();
    match error.kind() {
        ErrorKind::Corruption => damage(folder, error.as_ref()),
        ErrorKind::IOError if error.as_ref().contains("No space left") => format!(
            "the disk of the log {path} is full: free some space and start again; \
             nothing that was acknowledged is lost ({error})"
        ),
        _ => format!(
            "the log {path} cannot be read or written: check the disk and the folder's rights, then start again; \
             nothing that was acknowledged is lost ({error})"
        ),
    }
}

/// RocksDB does not say why it could not write its files in the background: a small file of ours tells.
fn explain_background(folder: &Folder) -> String {
    let probe = folder.path().join("probe");
    let written = std::fs::write(&probe, vec![0; PROBE_BYTES]);
    // Only a few bytes are in the way where it cannot be removed.
    let _left = std::fs::remove_file(&probe);
    let path = folder.path().display();
    match written {
        Err(error) => format!(
            "the disk of the log {path} is full: free some space and start again; \
             nothing that was acknowledged is lost ({error})"
        ),
        Ok(()) => format!(
            "the log {path} cannot write its files: check the disk and its free space, then start again; \
             nothing that was acknowledged is lost"
        ),
    }
}

fn damage(folder: &Folder, what: &str) -> String {
    format!(
        "the log {} is damaged and will not be used, so that nothing is lost silently: \
         restore it from a copy, or start with an empty folder ({what})",
        folder.path().display()
    )
}
