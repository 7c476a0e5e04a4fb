//! What decoding the records of one commit has cost, in bytes hashed, read and written, and what it may. Pure.
//!
//! The bound is `limits::FRAME_WORK_FACTOR` times the commit's own bytes and `limits::FRAME_WORK_BYTES_MIN`, whatever
//! its ops say: what was dropped counts like what was taken. Only records count; the rest is one pass over the frame,
//! and some kilobytes for each of at most 200 ops. Invariant: bounded.

use fpaas_core::limits;

use crate::cid::RecordCid;
use crate::frame::Commit;
use crate::gate::DropReason;

/// Of one commit.
#[derive(Debug)]
pub(crate) struct Work {
    spent: usize,
    max: usize,
}

impl Work {
    /// Nothing is done yet.
    pub(crate) const fn of(commit: &Commit<'_>) -> Self {
        let bytes = commit.ops.len() + commit.blocks.len();
        Self { spent: 0, max: bytes * limits::FRAME_WORK_FACTOR + limits::FRAME_WORK_BYTES_MIN }
    }

    /// The bytes so far.
    pub(crate) const fn spent(&self) -> usize {
        self.spent
    }

    /// `block`, if it is what `cid` says.
    pub(crate) fn hash<'a>(&mut self, cid: RecordCid<'_>, block: &'a [u8]) -> Result<&'a [u8], DropReason> {
        self.begin(block.len())?;
        if cid.is_of(block) { Ok(block) } else { Err(DropReason::OpBlockHash) }
    }

    /// So many bytes will be looked at, if they still may.
    pub(crate) const fn begin(&mut self, bytes: usize) -> Result<(), DropReason> {
        if self.spent + bytes > self.max {
            return Err(DropReason::OpTooCostly);
        }
        self.done(bytes);
        Ok(())
    }

    /// So many bytes were written.
    pub(crate) const fn done(&mut self, bytes: usize) {
        self.spent += bytes;
    }
}
