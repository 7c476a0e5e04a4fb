//! Looks at RocksDB's write-ahead logs before RocksDB does, to tell what a power cut may leave from damage.
//!
//! Every write carries a [`Claim`]: its number, one above that of the write before it, and which of the writes before
//! it were forced onto the disk. With the number of the last write that is in the sorted files, which need no log, the
//! numbers alone say what is whole: what follows without a hole. Behind a hole lies what a power cut left there in any
//! order, and it is cut away; RocksDB by itself would go on with a later log after an earlier one that ends too early.
//! But where a claim says that the missing write was on the disk, it is damage and no power cut, and the log is not
//! opened (invariant: crash-on-corruption). Logs that are over and done with, and came back because their removal was
//! not on the disk yet, hold low numbers only: whatever they look like, nothing is missing.
//!
//! A claim carries the folder's secret: bytes in a record cannot pass for one. The format is that of
//! RocksDB's `db/log_format.h`: blocks of 32 KiB, records of `crc32c u32, length u16, type u8`, none across a block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
/// Sequence number and count of a batch, then its first entry: the claim.
const HEAD: usize = CLAIM_AT + Claim::BYTES;
/// Behind sequence number (`u64`), count (`u32`), tag and length.
const CLAIM_AT: usize = 12 + 2;
/// RocksDB's tag of bytes that are only in the log.
const LOG_DATA: u8 = 3;

/// The secret of a folder.
pub(super) type Secret = [u8; 8];

/// What a write says of itself and of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) secret: Secret,
    /// Which write it is, from 1 on without a gap.
    pub(super) number: u64,
    /// This write and all before it are on the disk.
    pub(super) synced: u64,
}

impl Claim {
    const BYTES: usize = 24;

    /// As it is put first into a batch.
    pub(super) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let parts = [self.secret, self.number.to_le_bytes(), self.synced.to_le_bytes()];
        bytes.as_chunks_mut().0.copy_from_slice(&parts);
        bytes
    }

    /// The claim of a batch that begins with `head`, if it is one of ours.
    fn of(head: &[u8], secret: Secret) -> Option<Self> {
        let (entry, claim) = head.get(..HEAD)?.split_at_checked(CLAIM_AT)?;
        let ours = entry.ends_with(&[LOG_DATA, Self::BYTES as u8]) && claim.starts_with(&secret);
        let ([_, number, synced], []) = claim.as_chunks() else { return None };
        let (number, synced) = (u64::from_le_bytes(*number), u64::from_le_bytes(*synced));
        ours.then_some(Self { secret, number, synced })
    }
}

/// What the logs are like.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Whole up to this write, or torn with nothing behind the tear: RocksDB can have them.
    Sound(u64),
    /// Whole up to this write, which ends here. What lies behind was never forced onto the disk and is to be cut.
    Cut(u64, Place),
    /// What was on the disk is missing behind this place.
    Damaged(Place),
}

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) at: u64,
}

/// Reads all logs of a database whose sorted files hold every write up to `flushed`.
///
/// What it saw is on the disk afterwards: a power cut while RocksDB builds on it takes none of it away again.
pub(super) fn inspect(database: &Path, secret: Secret, flushed: u64) -> io::Result<Verdict> {
    let mut inspection = Inspection::new(secret, flushed);
    for file in logs(database)? {
        inspection.file(&file)?;
    }
    Ok(inspection.verdict())
}

/// Cuts away everything behind a place: from the newest log to the one the place is in, so that whenever this is
/// interrupted, what is left lies behind the same hole and is cut by the next start.
pub(super) fn cut(database: &Path, place: &Place) -> io::Result<()> {
    for path in logs(database)?.iter().rev() {
        let file = OpenOptions::new().write(true).open(path)?;
        let last = *path == place.file;
        file.set_len(if last { place.at } else { 0 })?;
        file.sync_all()?;
        if last {
            break;
        }
    }
    Ok(())
}

/// In the order they were written: by number.
fn logs(database: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(database) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut logs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "log")) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

struct Inspection {
    secret: Secret,
    /// The number of the first write that was not seen whole yet.
    next: u64,
    /// Behind the last whole write before the hole, if there is any.
    whole: Option<Place>,
    /// There is something behind a hole; the greatest number that is claimed there to be on the disk.
    behind: Option<u64>,
    /// The first bytes of a batch whose last fragment was not seen yet.
    pending: Option<Vec<u8>>,
    /// This file has bytes that are no batch: RocksDB reads none behind them.
    broken: bool,
    /// The first file, where a cut begins that has nothing whole before it.
    first: Option<PathBuf>,
}

impl Inspection {
    fn new(secret: Secret, flushed: u64) -> Self {
        let next = flushed.saturating_add(1);
        Self { secret, next, whole: None, behind: None, pending: None, broken: false, first: None }
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        self.first.get_or_insert_with(|| path.to_owned());
        // A batch that its file does not finish is torn.
        (self.pending, self.broken) = (None, false);
        let mut file = File::open(path)?;
        let mut block = Vec::with_capacity(BLOCK);
        let mut base = 0;
        loop {
            block.clear();
            (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                return file.sync_all();
            }
            self.block(&block, |at| Place { file: path.to_owned(), at: base + at as u64 });
            base += block.len() as u64;
        }
    }

    /// From the first byte that is no record on, a batch of ours is looked for at every byte of the block.
    fn block(&mut self, block: &[u8], place: impl Fn(usize) -> Place) {
        let (mut at, mut lost) = (0, false);
        while let Some(rest) = block.get(at..).filter(|rest| rest.len() >= HEADER) {
            let fragment = Fragment::new(rest).filter(|fragment| !lost || fragment.is_first_of(self.secret));
            match fragment.filter(Fragment::is_intact) {
                Some(fragment) => {
                    at += fragment.length();
                    self.fragment(&fragment, || place(at));
                }
                None => {
                    (lost, self.broken, self.pending) = (true, true, None);
                    at += 1;
                }
            }
        }
    }

    fn fragment(&mut self, fragment: &Fragment<'_>, end: impl FnOnce() -> Place) {
        if !fragment.is_of_batch() {
            return;
        }
        if fragment.is_first() {
            self.broken |= self.pending.is_some();
            self.pending = Some(Vec::with_capacity(HEAD));
        }
        let Some(mut head) = self.pending.take() else {
            self.broken = true;
            return;
        };
        let missing = HEAD.saturating_sub(head.len()).min(fragment.payload.len());
        head.extend_from_slice(fragment.payload.get(..missing).unwrap_or_default());
        if missing > 0 {
            self.look_behind(&head);
        }
        if fragment.is_last() { self.whole(&head, end) } else { self.pending = Some(head) }
    }

    /// Notes what is claimed behind a hole.
    fn look_behind(&mut self, head: &[u8]) {
        let Some(claim) = Claim::of(head, self.secret) else { return };
        let hole = self.broken || self.behind.is_some();
        if claim.number > self.next || hole && claim.number == self.next {
            self.behind = self.behind.max(Some(claim.synced));
        }
    }

    fn whole(&mut self, head: &[u8], end: impl FnOnce() -> Place) {
        let number = Claim::of(head, self.secret).map(|claim| claim.number);
        let Some(number) = number.filter(|_| !self.broken && self.behind.is_none()) else { return };
        if number <= self.next {
            self.whole = Some(end());
        }
        if number == self.next {
            self.next += 1;
        }
    }

    fn verdict(self) -> Verdict {
        let last = self.next - 1;
        let place = self.whole.or(self.first.map(|file| Place { file, at: 0 }));
        match (self.behind, place) {
            (Some(synced), Some(place)) if synced > last => Verdict::Damaged(place),
            (Some(_), Some(place)) => Verdict::Cut(last, place),
            _ => Verdict::Sound(last),
        }
    }
}

/// What a record of the log says it is.
struct Fragment<'a> {
    kind: u8,
    payload: &'a [u8],
    /// The checksum as it is stored, and the bytes it is of.
    checksum: u32,
    checked: &'a [u8],
}

impl<'a> Fragment<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let [c0, c1, c2, c3, l0, l1, kind] = *header;
        let payload = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
        let checked = bytes.get(HEADER - 1..HEADER + payload.len())?;
        let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
        matches!(kind, 1..=4 | 9 | 10 | 130).then_some(Self { kind, payload, checksum, checked })
    }

    fn is_intact(&self) -> bool {
        unmask(self.checksum) == crc32c(self.checked)
    }

    fn length(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// Not of what RocksDB notes in between.
    fn is_of_batch(&self) -> bool {
        matches!(self.kind, 1..=4)
    }

    /// Full or first.
    fn is_first(&self) -> bool {
        matches!(self.kind, 1 | 2)
    }

    /// Full or last.
    fn is_last(&self) -> bool {
        matches!(self.kind, 1 | 4)
    }

    /// Says what only we can say: worth its checksum, which bytes in a record could make expensive.
    fn is_first_of(&self, secret: Secret) -> bool {
        self.is_first() && Claim::of(self.payload, secret).is_some()
    }
}

/// RocksDB's `util/crc32c.h`: checksums are stored turned and shifted.
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}

#[expect(clippy::indexing_slicing, reason = "below 256, and at compile time")]
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Castagnoli's CRC, bytewise: a start checks at most what `max_total_wal_size` allows.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let slot = (crc ^ u32::from(*byte)) & 0xff;
        TABLE.get(slot as usize).copied().unwrap_or_default() ^ (crc >> 8)
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
