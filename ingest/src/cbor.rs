//! A reader of strict DAG-CBOR: one item after another, borrowed from the bytes. No tree, no allocation.
//!
//! Strict as ipld.io/specs/codecs/dag-cbor and atproto.com/specs/data-model ask: definite and shortest lengths, text in
//! UTF-8, no tag but 42, no floats. Order of keys is the business of who reads a map: frames are lenient, records not.

use fpaas_core::limits;

use crate::cid;
use crate::gate::DropReason;

/// One item; what is inside an array or a map follows as items of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Array(u64),
    Map(u64),
    /// The bytes of a CIDv1, well-formed.
    Link(&'a [u8]),
    Bool(bool),
    Null,
}

/// Reads items from the front of some bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Nothing may be left.
    pub(crate) const fn finish(&self) -> Result<(), DropReason> {
        if self.rest.is_empty() { Ok(()) } else { Err(DropReason::CborTrailing) }
    }

    /// The next item.
    #[inline]
    pub(crate) fn item(&mut self) -> Result<Item<'a>, DropReason> {
        let (major, argument) = self.head()?;
        match major {
            0 => i64::try_from(argument).map(Item::Integer).map_err(|_| DropReason::CborInteger),
            1 => i64::try_from(argument).map(|n| Item::Integer(-1 - n)).map_err(|_| DropReason::CborInteger),
            2 => self.take(argument).map(Item::Bytes),
            3 => self.take(argument).and_then(text).map(Item::Text),
            4 => Ok(Item::Array(argument)),
            5 => Ok(Item::Map(argument)),
            6 => self.link(argument),
            _ => simple(argument),
        }
    }

    /// The next item must be a map's key.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<&'a str, DropReason> {
        match self.head()? {
            (3, length) => self.take(length).and_then(text),
            _ => Err(DropReason::CborKey),
        }
    }

    /// Passes over one item with everything inside it.
    pub(crate) fn skip(&mut self) -> Result<(), DropReason> {
        self.skip_nested(0)
    }

    /// The bytes of the next item with everything inside it.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], DropReason> {
        let from = self.rest;
        self.skip()?;
        from.get(..from.len() - self.rest.len()).ok_or(DropReason::CborTruncated)
    }

    /// Calls `visit` with each key of a map; it must read or skip the value.
    pub(crate) fn map(
        &mut self,
        mut visit: impl FnMut(&'a str, &mut Self) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        let Item::Map(entries) = self.item()? else { return Err(DropReason::FrameField) };
        for _ in 0..entries {
            let key = self.key()?;
            visit(key, self)?;
        }
        Ok(())
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), DropReason> {
        let inside = match self.head()? {
            (2, length) => return self.take(length).map(drop),
            (3, length) => return self.take(length).and_then(text).map(drop),
            (4, items) => items,
            (5, entries) => entries.checked_mul(2).ok_or(DropReason::CborTruncated)?,
            (6, tag) => return self.link(tag).map(drop),
            (7, value) => return simple(value).map(drop),
            _ => return Ok(()),
        };
        deeper(depth)?;
        (0..inside).try_for_each(|_| self.skip_nested(depth + 1))
    }

    /// Major type and argument. A float's major type is 7 like a simple value's: it is told apart here, by its length.
    #[inline]
    fn head(&mut self) -> Result<(u8, u64), DropReason> {
        let (&first, rest) = self.rest.split_first().ok_or(DropReason::CborTruncated)?;
        self.rest = rest;
        match (first >> 5, first & 31) {
            (major, info @ 0..=23) => Ok((major, u64::from(info))),
            (7, 24) => Err(DropReason::CborSimple),
            (7, 25..=27) => Err(DropReason::CborFloat),
            (major, 24) => self.argument::<1>(23).map(|argument| (major, argument)),
            (major, 25) => self.argument::<2>(0xff).map(|argument| (major, argument)),
            (major, 26) => self.argument::<4>(0xffff).map(|argument| (major, argument)),
            (major, 27) => self.argument::<8>(0xffff_ffff).map(|argument| (major, argument)),
            _ => Err(DropReason::CborNotCanonical),
        }
    }

    /// A big-endian number that would not have fitted into fewer bytes: it is above `shorter_max`.
    #[inline]
    fn argument<const N: usize>(&mut self, shorter_max: u64) -> Result<u64, DropReason> {
        let (digits, rest) = self.rest.split_first_chunk::<N>().ok_or(DropReason::CborTruncated)?;
        self.rest = rest;
        let number = digits.iter().fold(0u64, |number, digit| number << 8 | u64::from(*digit));
        if number > shorter_max { Ok(number) } else { Err(DropReason::CborNotCanonical) }
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], DropReason> {
        let length = usize::try_from(length).map_err(|_| DropReason::CborTruncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DropReason::CborTruncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Tag 42 around a byte string: a zero byte, then the CID.
    fn link(&mut self, tag: u64) -> Result<Item<'a>, DropReason> {
        let (42, (2, length)) = (tag, self.head()?) else { return Err(DropReason::CborBadLink) };
        match self.take(length)?.split_first() {
            Some((0, bytes)) if cid::is_well_formed(bytes) => Ok(Item::Link(bytes)),
            _ => Err(DropReason::CborBadLink),
        }
    }
}

/// One level further down, or too deep.
pub(crate) const fn deeper(depth: usize) -> Result<usize, DropReason> {
    if depth < limits::RECORD_DEPTH_MAX { Ok(depth + 1) } else { Err(DropReason::CborTooDeep) }
}

fn text(bytes: &[u8]) -> Result<&str, DropReason> {
    std::str::from_utf8(bytes).map_err(|_| DropReason::CborNotUtf8)
}

const fn simple<'a>(value: u64) -> Result<Item<'a>, DropReason> {
    match value {
        20 => Ok(Item::Bool(false)),
        21 => Ok(Item::Bool(true)),
        22 => Ok(Item::Null),
        _ => Err(DropReason::CborSimple),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of RFC 8949, appendix A, and what DAG-CBOR forbids of them.
    #[test]
    fn items_are_read_as_the_rfc_says_and_only_in_their_canonical_form() {
        let cases: [(&[u8], Result<Item<'_>, DropReason>); 22] = [
            (&[0x00], Ok(Item::Integer(0))),
            (&[0x17], Ok(Item::Integer(23))),
            (&[0x18, 0x18], Ok(Item::Integer(24))),
            (&[0x18, 0x17], Err(DropReason::CborNotCanonical)),
            (&[0x19, 0x03, 0xe8], Ok(Item::Integer(1000))),
            (&[0x19, 0x00, 0xff], Err(DropReason::CborNotCanonical)),
            (&[0x1b, 0x7f, 255, 255, 255, 255, 255, 255, 255], Ok(Item::Integer(i64::MAX))),
            (&[0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0], Err(DropReason::CborInteger)),
            (&[0x3b, 0x7f, 255, 255, 255, 255, 255, 255, 255], Ok(Item::Integer(i64::MIN))),
            (&[0x29], Ok(Item::Integer(-10))),
            (&[0x44, 1, 2, 3, 4], Ok(Item::Bytes(&[1, 2, 3, 4]))),
            (&[0x62, 0xc3, 0xbc], Ok(Item::Text("ü"))),
            (&[0x61, 0xff], Err(DropReason::CborNotUtf8)),
            (&[0x83], Ok(Item::Array(3))),
            (&[0x9f], Err(DropReason::CborNotCanonical)),
            (&[0xf4], Ok(Item::Bool(false))),
            (&[0xf6], Ok(Item::Null)),
            (&[0xf7], Err(DropReason::CborSimple)),
            (&[0xf9, 0x3c, 0x00], Err(DropReason::CborFloat)),
            (&[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a], Err(DropReason::CborFloat)),
            (&[0xc0, 0x60], Err(DropReason::CborBadLink)),
            (&[0x42, 1], Err(DropReason::CborTruncated)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Reader::new(bytes).item(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
        assert_eq!(Reader::new(&nested(limits::RECORD_DEPTH_MAX)).skip(), Ok(()));
        assert_eq!(Reader::new(&nested(limits::RECORD_DEPTH_MAX + 1)).skip(), Err(DropReason::CborTooDeep));
    }

    #[test]
    fn a_claimed_length_costs_nothing() {
        for bytes in
            [&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255][..], &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255]]
        {
            assert_eq!(Reader::new(bytes).skip(), Err(DropReason::CborTruncated));
        }
    }
}
