//! A CAR (version 1) read in place: its blocks one after another, borrowed. No index, no allocation.
//!
//! Who looks for a block compares CIDs while passing over them; whether a block hashes to its CID is checked where it
//! is used (ipld.io/specs/transport/car/carv1).

use crate::cbor::{Item, Reader};
use crate::cid;
use crate::gate::DropReason;

/// What stands behind one block's length: CID, then data, not yet told apart.
pub(crate) struct Block<'a>(&'a [u8]);

impl<'a> Block<'a> {
    /// CID and data, where the CID has the 36 bytes that a record's has.
    pub(crate) fn split(&self) -> Option<(&'a [u8; 36], &'a [u8])> {
        self.0.split_first_chunk::<36>()
    }
}

/// The blocks of `car`, in their order. Ends after the first error.
pub(crate) fn blocks(car: &[u8]) -> Result<Blocks<'_>, DropReason> {
    let (header, rest) = section(car)?;
    let mut version = None;
    let mut reader = Reader::new(header);
    reader.map(|key, reader| match key {
        "version" => reader.item().map(|item| version = Some(item)),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    if version == Some(Item::Integer(1)) { Ok(Blocks { rest }) } else { Err(DropReason::FrameCar) }
}

/// See [`blocks`].
pub(crate) struct Blocks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, DropReason>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = section(self.rest);
        self.rest = taken.map_or(&[], |(_, rest)| rest);
        Some(taken.map(|(block, _)| Block(block)))
    }
}

/// A length, that many bytes, and the rest.
#[inline]
fn section(bytes: &[u8]) -> Result<(&[u8], &[u8]), DropReason> {
    let (length, rest) = cid::varint(bytes).ok_or(DropReason::FrameCar)?;
    let length = usize::try_from(length).map_err(|_| DropReason::FrameCar)?;
    rest.split_at_checked(length).ok_or(DropReason::FrameCar)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"\x11\xa2\x65roots\x80\x67version\x01";

    fn count(car: &[u8]) -> Result<usize, DropReason> {
        blocks(car)?.try_fold(0, |count, block| block.map(|_| count + 1))
    }

    #[test]
    fn blocks_are_counted_and_broken_framing_is_refused() {
        let with = |blocks: &[u8]| [HEADER, blocks].concat();
        assert_eq!(count(&with(b"")), Ok(0));
        assert_eq!(count(&with(b"\x01a\x02bc")), Ok(2));
        assert_eq!(count(&with(b"\x01a\x03bc")), Err(DropReason::FrameCar));
        assert_eq!(count(&with(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), Err(DropReason::FrameCar));
        assert_eq!(count(b""), Err(DropReason::FrameCar));
        assert_eq!(count(b"\x11\xa2\x65roots\x80\x67version\x02"), Err(DropReason::FrameCar));
    }
}
