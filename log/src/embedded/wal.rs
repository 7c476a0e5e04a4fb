//! Looks at RocksDB's write-ahead logs before RocksDB does, to tell a torn tail from damage.
//!
//! A crash or a power cut leaves the newest log torn; what is before the tear is a prefix of whole transactions, and
//! that is what a start is owed. A log damaged further in looks the same to RocksDB: it would drop the valid
//! transactions behind the damage without a word. So every write carries a [`Claim`]: what was forced onto the disk
//! before it. Damage with a claim behind it that covers it is no tear, and the log is not opened (invariant:
//! crash-on-corruption). What no claim covers a power cut may have left in any order: it is cut off at the first hole.
//!
//! A claim carries the folder's secret: bytes in a record cannot pass for one. The format is that of
//! RocksDB's `db/log_format.h`: blocks of 32 KiB, records of `crc32c u32, length u16, type u8`, none across a block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
/// A record that does not fit into its block, wherever in a block it is put.
const TEAR: [u8; 2 * HEADER] = [0xff; 2 * HEADER];
/// Sequence number and count of a batch, then its first entry: the claim.
const HEAD: usize = 12 + 2 + Claim::BYTES;
/// RocksDB's tag of bytes that are only in the log.
const LOG_DATA: u8 = 3;

/// The secret of a folder.
pub(super) type Secret = [u8; 8];

/// What is known to be on the disk: everything up to a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) secret: Secret,
    pub(super) synced: u64,
}

impl Claim {
    const BYTES: usize = 16;

    /// As it is put first into a batch.
    pub(super) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (secret, synced) = bytes.split_at_mut(8);
        secret.copy_from_slice(&self.secret);
        synced.copy_from_slice(&self.synced.to_le_bytes());
        bytes
    }
}

/// What the logs are like.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Whole, or torn with nothing behind the tear: RocksDB can have them.
    Sound,
    /// Something that was never forced onto the disk lies behind a hole: to be cut here.
    Cut(Place),
    /// What was on the disk is damaged here.
    Damaged(Place),
}

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) at: u64,
}

/// Reads all logs of a database.
pub(super) fn inspect(database: &Path, secret: Secret) -> io::Result<Verdict> {
    let mut inspection = Inspection { secret, next: 0, pending: None, head: Vec::new(), hole: None, behind: None };
    for file in logs(database)? {
        inspection.file(&file)?;
    }
    Ok(inspection.verdict())
}

/// Cuts a log there, and leaves a tear that RocksDB sees: it then drops what later logs hold, unless it knows that this
/// one is over and done with.
pub(super) fn cut(place: &Place) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(&place.file)?;
    file.set_len(place.at)?;
    file.write_all(&TEAR)?;
    file.sync_all()
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
    /// The sequence number after the last whole batch before the hole.
    next: u64,
    /// Where a batch began whose last fragment was not seen yet.
    pending: Option<Place>,
    /// The first bytes of a batch.
    head: Vec<u8>,
    hole: Option<Place>,
    /// The greatest claim behind the hole.
    behind: Option<u64>,
}

impl Inspection {
    fn file(&mut self, file: &Path) -> io::Result<()> {
        let mut reader = File::open(file)?;
        let mut block = Vec::with_capacity(BLOCK);
        let mut base = 0;
        loop {
            block.clear();
            (&mut reader).take(BLOCK as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                break;
            }
            self.block(file, base, &block);
            base += block.len() as u64;
        }
        // A batch that its file does not finish is torn; what the next file has lies behind.
        self.hole = self.hole.take().or(self.pending.take());
        Ok(())
    }

    fn block(&mut self, file: &Path, base: u64, block: &[u8]) {
        let mut at = 0;
        while let Some(rest) = block.get(at..).filter(|rest| rest.len() >= HEADER) {
            let place = || Place { file: file.to_owned(), at: base + at as u64 };
            at += match Fragment::read(rest) {
                Some(fragment) => {
                    self.fragment(&fragment, place);
                    fragment.length()
                }
                None => {
                    self.bad(place);
                    1
                }
            };
        }
    }

    /// From the first byte that is no record on, one is looked for at every byte.
    fn bad(&mut self, place: impl FnOnce() -> Place) {
        if self.hole.is_none() {
            self.hole = Some(self.pending.take().unwrap_or_else(place));
        }
    }

    fn fragment(&mut self, fragment: &Fragment<'_>, place: impl FnOnce() -> Place) {
        if self.hole.is_some() {
            let head = if fragment.is_first() { self.claim(fragment.payload) } else { None };
            self.behind = self.behind.max(head.map(|(_, claim)| claim));
            return;
        }
        if fragment.is_first() {
            self.pending = Some(place());
            self.head.clear();
        }
        let missing = HEAD.saturating_sub(self.head.len()).min(fragment.payload.len());
        self.head.extend_from_slice(fragment.payload.get(..missing).unwrap_or_default());
        if fragment.is_last() {
            self.pending = None;
            self.next = after(&self.head).unwrap_or(self.next);
        }
    }

    /// The batch's sequence number and its claim, if it is one of ours.
    fn claim(&self, head: &[u8]) -> Option<(u64, u64)> {
        let (sequence, rest) = head.split_first_chunk::<8>()?;
        let (tag, rest) = rest.get(4..)?.split_first_chunk::<2>()?;
        let (secret, rest) = rest.split_first_chunk::<8>()?;
        let claim = u64::from_le_bytes(*rest.first_chunk()?);
        let ours = *tag == [LOG_DATA, Claim::BYTES as u8] && *secret == self.secret;
        ours.then_some((u64::from_le_bytes(*sequence), claim))
    }

    fn verdict(self) -> Verdict {
        match (self.hole, self.behind) {
            (Some(hole), Some(claim)) if claim >= self.next && claim > 0 => Verdict::Damaged(hole),
            (Some(hole), Some(_)) => Verdict::Cut(hole),
            _ => Verdict::Sound,
        }
    }
}

/// The sequence number after a batch.
fn after(head: &[u8]) -> Option<u64> {
    let (sequence, rest) = head.split_first_chunk::<8>()?;
    let count = u32::from_le_bytes(*rest.first_chunk()?);
    u64::from_le_bytes(*sequence).checked_add(u64::from(count))
}

/// A record of the log that is whole.
struct Fragment<'a> {
    kind: u8,
    payload: &'a [u8],
}

impl<'a> Fragment<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let [c0, c1, c2, c3, l0, l1, kind] = *header;
        let payload = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
        let known = matches!(kind, 1..=4 | 9 | 10 | 130);
        let checked = bytes.get(HEADER - 1..HEADER + payload.len())?;
        (known && unmask(u32::from_le_bytes([c0, c1, c2, c3])) == crc32c(checked)).then_some(Self { kind, payload })
    }

    fn length(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// Full or first.
    fn is_first(&self) -> bool {
        matches!(self.kind, 1 | 2)
    }

    /// Full or last.
    fn is_last(&self) -> bool {
        matches!(self.kind, 1 | 4)
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
