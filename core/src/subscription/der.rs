//! As much of DER (X.690) as says when a certificate ends. Takes any bytes. Pure.

use crate::{Timestamp, rfc3339};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a certificate (RFC 5280 section 4.1): none of anything else.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (whole, after) = of(SEQUENCE, certificate)?;
    let (mut fields, _) = of(SEQUENCE, whole)?;
    if let Some((_, rest)) = of(VERSION, fields) {
        fields = rest;
    }
    // The serial number, the signature's algorithm and the issuer stand before it.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (validity, _) = of(SEQUENCE, fields)?;
    let (_, _, validity) = element(validity)?;
    let (tag, end, _) = element(validity)?;
    time(tag, std::str::from_utf8(end).ok()?).filter(|_| after.is_empty())
}

/// RFC 5280 section 4.1.2.5: in UTC, to the second; two digits of a year are of 1950 to 2049.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        GENERALIZED_TIME => text.split_at_checked(4).map(|(year, rest)| (year.to_owned(), rest))?,
        _ => return None,
    };
    let digits = rest.strip_suffix('Z').filter(|digits| digits.len() == 10 && digits.is_ascii())?;
    let part = |at: usize| digits.get(at..at + 2);
    let [month, day, hour, minute, second] = [part(0)?, part(2)?, part(4)?, part(6)?, part(8)?];
    rfc3339::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

/// The content of the element at the front, if that is its tag, and what is behind it.
fn of(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag and content of the element at the front, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // Indefinite (0x80) is no DER, and nothing here is longer than three bytes say.
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of_time(tag: u8, text: &str) -> Vec<u8> {
        let wrapped = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let validity =
            wrapped(SEQUENCE, &[wrapped(UTC_TIME, b"200101000000Z"), wrapped(tag, text.as_bytes())].concat());
        let (version, empty) = (wrapped(VERSION, &[2, 1, 2]), wrapped(SEQUENCE, &[]));
        let fields = [version, wrapped(2, &[1]), empty.clone(), empty, validity].concat();
        wrapped(SEQUENCE, &wrapped(SEQUENCE, &fields))
    }

    #[test]
    fn times_are_those_of_rfc_5280() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59.000Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00.000Z")),
            (GENERALIZED_TIME, "99991231235959Z", Some("9999-12-31T23:59:59.000Z")),
            (GENERALIZED_TIME, "20500229000000Z", None),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "491231235959", None),
            (UTC_TIME, "é", None),
            (0x0c, "491231235959Z", None),
        ] {
            let found = not_after(&of_time(tag, text)).map(rfc3339::format);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        let cut = of_time(UTC_TIME, "491231235959Z");
        assert!((0..cut.len()).all(|length| not_after(&cut[..length]).is_none()));
        assert_eq!(not_after(&[&cut[..], &[0]].concat()), None, "something is behind it");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_never_panic(
            at in 0..80usize, byte: u8, bytes in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let mut certificate = of_time(UTC_TIME, "491231235959Z");
            let length = certificate.len();
            certificate[at % length] = byte;
            not_after(&certificate);
            not_after(&bytes);
        }
    }
}
