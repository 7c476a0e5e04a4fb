//! JSON, byte by byte, onto the end of a buffer: strings with their escapes, numbers, base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Appends `text` as a string with its quotes.
#[inline]
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_to_escape(rest) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        escape(out, *byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Where the first quote, backslash or control character is. Eight bytes at a time: most text has none.
#[inline]
fn first_to_escape(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    let clean = words.iter().take_while(|word| !any_to_escape(u64::from_le_bytes(**word))).count();
    if clean < words.len() || tail.iter().any(|byte| needs_escape(*byte)) {
        let from = clean * 8;
        return bytes.iter().skip(from).position(|byte| needs_escape(*byte)).map(|at| from + at);
    }
    None
}

/// Whether a byte of `word` is below 0x20, a quote or a backslash: a borrow into a byte's high bit that was not set
/// (graphics.stanford.edu/~seander/bithacks.html, "Determine if a word has a byte less than n").
#[inline]
const fn any_to_escape(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const fn zero_byte(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (control | zero_byte(word ^ (ONES * b'"' as u64)) | zero_byte(word ^ (ONES * b'\\' as u64))) & HIGHS != 0
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cold]
fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            const HEX: [u8; 16] = *b"0123456789abcdef";
            let low = HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends an integer.
#[inline]
pub(crate) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `bytes` in base64 without padding, without quotes.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let from = out.len();
    out.resize(from + base64::encoded_len(bytes.len(), false).unwrap_or(0), 0);
    // The length was computed above, so the space suffices.
    let written = STANDARD_NO_PAD.encode_slice(bytes, out.get_mut(from..).unwrap_or_default()).unwrap_or(0);
    out.truncate(from + written);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_reads_back_as_itself(text in "\\PC*|[\\x00-\\x7f]*|(\\PC{0,9}[\\x00-\\x22\\\\]){0,9}") {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(&out, &serde_json::to_vec(&text).unwrap());
        }

        #[test]
        fn base64_is_the_librarys(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            let mut out = b"x".to_vec();
            base64(&mut out, &bytes);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("x{}", STANDARD_NO_PAD.encode(&bytes)));
        }
    }

    #[test]
    fn every_single_byte_at_every_place_of_a_word_is_escaped_as_needed() {
        for byte in 0..0x80u8 {
            for at in 0..17 {
                let text = format!("{}{}{}", "é".repeat(at), char::from(byte), "z".repeat(17 - at));
                let mut out = Vec::new();
                string(&mut out, &text);
                assert_eq!(out, serde_json::to_vec(&text).unwrap(), "{byte} at {at}");
            }
        }
    }
}
