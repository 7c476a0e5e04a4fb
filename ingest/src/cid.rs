//! CIDs as bytes: their checks, their base32 text, and whether a block is what its CID says.
//!
//! Records, and all blocks of a repo, are CIDv1, DAG-CBOR, SHA-256 (atproto.com/specs/data-model, "blessed" formats).
//! Links within a record may be of other codecs and hashes, to come: they are passed on as they are.

use sha2::{Digest, Sha256};

/// Version 1, DAG-CBOR, SHA-256 of 32 bytes.
const RECORD_PREFIX: [u8; 4] = [0x01, 0x71, 0x12, 0x20];
/// A hash of up to 64 bytes, and four varints.
const BYTES_MAX: usize = 100;

/// The CID of a record, in its 36 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordCid<'a>(&'a [u8; 36]);

impl<'a> RecordCid<'a> {
    /// The bytes as a record's CID, if they are one.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; 36] = bytes.try_into().ok()?;
        bytes.starts_with(&RECORD_PREFIX).then_some(Self(bytes))
    }

    pub(crate) const fn as_bytes(self) -> &'a [u8; 36] {
        self.0
    }

    /// Whether `block` hashes to it.
    pub(crate) fn is_of(self, block: &[u8]) -> bool {
        self.0.ends_with(&Sha256::digest(block))
    }
}

/// True of `<1><codec><hash><length><digest>`, where the digest has that length.
pub(crate) fn is_well_formed(bytes: &[u8]) -> bool {
    if bytes.len() == 36 && (bytes.starts_with(&RECORD_PREFIX) || bytes.starts_with(&[0x01, 0x55, 0x12, 0x20])) {
        return true;
    }
    bytes.len() <= BYTES_MAX && general(bytes).is_some()
}

fn general(bytes: &[u8]) -> Option<()> {
    let rest = bytes.strip_prefix(&[0x01])?;
    let (_codec, rest) = varint(rest)?;
    let (_hash, rest) = varint(rest)?;
    let (length, digest) = varint(rest)?;
    (length == digest.len() as u64 && !digest.is_empty()).then_some(())
}

/// An unsigned varint of at most 9 bytes, in its shortest form, and what follows
/// (github.com/multiformats/unsigned-varint).
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let shortest = *byte != 0 || at == 0;
            return if shortest { Some((number, bytes.get(at + 1..)?)) } else { None };
        }
    }
    None
}

/// Appends the CID as text: multibase base32, lower-case, without padding.
pub(crate) fn write(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'b');
    let (groups, tail) = bytes.as_chunks::<5>();
    for group in groups {
        out.extend_from_slice(&base32(*group));
    }
    if !tail.is_empty() {
        let mut group = [0; 5];
        group.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        let digits = (tail.len() * 8).div_ceil(5);
        out.extend(base32(group).iter().take(digits));
    }
}

/// Five bytes as eight digits.
fn base32(group: [u8; 5]) -> [u8; 8] {
    let [a, b, c, d, e] = group.map(u64::from);
    let bits = a << 32 | b << 24 | c << 16 | d << 8 | e;
    [35, 30, 25, 20, 15, 10, 5, 0].map(|shift| digit((bits >> shift & 31) as u8))
}

/// `a`–`z`, `2`–`7` (RFC 4648, lower-case).
const fn digit(value: u8) -> u8 {
    if value < 26 { b'a' + value } else { b'2' + value - 26 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_agrees_with_the_cid_library(digest in any::<[u8; 32]>(), codec in 0x55u64..0x72) {
            let cid = cid::Cid::new_v1(codec, cid::multihash::Multihash::wrap(0x12, &digest).unwrap());
            let mut text = Vec::new();
            write(&mut text, &cid.to_bytes());
            prop_assert_eq!(String::from_utf8(text).unwrap(), cid.to_string());
            prop_assert!(is_well_formed(&cid.to_bytes()));
        }

        #[test]
        fn what_is_well_formed_is_a_cid_to_the_library_too(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            prefixed in any::<bool>(),
        ) {
            let bytes = if prefixed { [&[1, 0x71, 0x12, 0x20][..], &bytes].concat() } else { bytes };
            if is_well_formed(&bytes) {
                prop_assert!(cid::Cid::try_from(&bytes[..]).is_ok());
            }
        }
    }

    #[test]
    fn a_record_cid_is_of_the_block_that_hashes_to_it_and_of_no_other() {
        let bytes = [&RECORD_PREFIX[..], &Sha256::digest(b"block")].concat();
        let cid = RecordCid::from_bytes(&bytes).unwrap();
        assert!(cid.is_of(b"block"));
        assert!(!cid.is_of(b"blocc"));
        assert_eq!(RecordCid::from_bytes(&bytes[..35]), None);
        assert_eq!(RecordCid::from_bytes(&[&[1, 0x55, 0x12, 0x20][..], &bytes[4..]].concat()), None);
    }
}
