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

fn to_hex(bytes: &[u8], digits: usize) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).take(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hex(&[b"ab", b"c"], 32), hex(&[b"a", b"bc"], 32));
        assert_eq!(hex(&[b"ab"], 32).len(), 32);
    }
}
