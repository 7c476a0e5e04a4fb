//! SHA-256 as lower-case hex: ids that are derived, never random.

use sha2::{Digest, Sha256};

/// The first `digits` (at most 64) hex digits of the SHA-256 of `parts`, each part preceded by its length, so that
/// no two lists of parts hash the same bytes.
pub fn hex(parts: &[&[u8]], digits: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    to_hex(&hasher.finalize(), digits)
}

/// The first `digits` hex digits of `bytes`, in lower case.
pub fn to_hex(bytes: &[u8], digits: usize) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).take(digits).collect()
}

/// What [`to_hex`] was made of; `None` of anything else.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hex(&[b"ab", b"c"], 32), hex(&[b"a", b"bc"], 32));
        assert_eq!(hex(&[b"ab"], 32).len(), 32);
    }

    #[test]
    fn hex_is_read_back_and_nothing_else_is_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes, 512)), Some(bytes));
        for wrong in ["0", "0g", "0A", "é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
