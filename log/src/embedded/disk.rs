//! RocksDB behind one door: writes, scans, and what happens when the disk or our data is broken.
//!
//! Invariant: crash-on-corruption: the first failure ends everything. Each later call gets the same
//! [`Error::Fatal`], which says what to do, so that nothing is built on what may not be there.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use rocksdb::{ColumnFamily, DB, DBRawIterator, ErrorKind, WriteBatch, WriteOptions};

use super::config::{EmbeddedConfig, Fsync};
use super::folder::Folder;
use super::room::Room;
use super::sync::{Bell, lock};
use super::wal::Claim;
use super::{codec, explain, keys, options, recovery};
use crate::{Error, Result};

/// The database of one log.
#[derive(Debug)]
pub(super) struct Disk {
    db: DB,
    folder: Folder,
    fsync: Fsync,
    /// Who writes has it, so that the numbers of the writes are in their order. How large the last write was.
    turn: Mutex<usize>,
    /// The number of the last write.
    written: AtomicU64,
    /// Every write up to this number is on the disk.
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
        let last = recovery::check_logs(&folder)?;
        let cache = options::cache(config.block_cache_bytes);
        let families = [options::rows(&cache), options::records(config, &cache)];
        let opened = DB::open_cf_descriptors(&options::database(config), folder.database(), families);
        let db = opened.map_err(|error| Error::Fatal(explain::failed(&folder, &error)))?;
        recovery::check_opened(&folder, &db, last)?;
        Ok(Self {
            db,
            folder,
            fsync: config.fsync,
            turn: Mutex::default(),
            written: AtomicU64::new(last),
            synced: AtomicU64::new(0),
            broken: OnceLock::new(),
            unsynced: Bell::default(),
        })
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
        self.end(explain::damage(&self.folder, what))
    }

    /// Writes all of these rows or nothing, as durable as the settings say. They may be asked for more than once: a
    /// write that RocksDB holds back is given up and made anew, so that none has to be copied before it.
    pub(super) fn write(&self, rows: impl Fn(&mut WriteBatch) -> Result<()>) -> Result<()> {
        let mut last_bytes = lock(&self.turn);
        self.alive()?;
        let number = self.written.load(Ordering::Acquire) + 1;
        let sync = self.fsync == Fsync::Always;
        let mut how = WriteOptions::default();
        how.set_sync(sync);
        // A write that has to wait waits here and not in RocksDB: where its files cannot be written, as on a full
        // disk, it would wait for ever for that to change, and nobody would be told.
        how.set_no_slowdown(true);
        let mut room = Room::new(*last_bytes);
        let bytes = loop {
            let batch = self.batch(number, &rows)?;
            let bytes = batch.size_in_bytes();
            match self.db.write_opt(batch, &how) {
                Err(error) if error.kind() == ErrorKind::Incomplete => self.wait_for(&mut room)?,
                written => break written.map(|()| bytes).map_err(|error| self.failed(&error))?,
            }
        };
        *last_bytes = bytes;
        self.written.store(number, Ordering::Release);
        // Where one write is forced onto the disk all before it are too.
        if sync {
            self.synced.fetch_max(number, Ordering::AcqRel);
        } else {
            self.unsynced.ring();
        }
        Ok(())
    }

    fn batch(&self, number: u64, rows: impl Fn(&mut WriteBatch) -> Result<()>) -> Result<WriteBatch> {
        let mut batch = WriteBatch::default();
        let synced = self.synced.load(Ordering::Acquire);
        batch.put_log_data(Claim { secret: self.folder.secret(), number, synced }.encode());
        rows(&mut batch)?;
        batch.put(keys::WRITES, codec::encode_number(number));
        Ok(batch)
    }

    /// Until RocksDB may take writes again. [`Error::Fatal`] where it cannot write its files.
    fn wait_for(&self, room: &mut Room) -> Result<()> {
        room.wait(&self.db).map_err(|_gone| self.end(explain::background(&self.folder)))?;
        self.alive()
    }

    /// Forces what was written onto the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.alive()?;
        let upto = self.written.load(Ordering::Acquire);
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
        self.end(explain::failed(&self.folder, error))
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
        let offset = keys::offset_of(key).ok_or_else(|| self.disk.damaged("a record's key is too short"))?;
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
