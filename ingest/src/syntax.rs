//! The syntax of atproto's identifiers, as yes or no. Pure, no allocation; checked against the protocol's own vectors.
//!
//! What passes needs no escape in JSON: none of these alphabets has a quote, a backslash or a control character.

use fpaas_core::limits;

/// atproto.com/specs/did: `did:method:identifier`.
pub fn is_did(text: &str) -> bool {
    let Some((method, identifier)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'%' | b'-');
    text.len() <= limits::DID_BYTES_MAX
        && !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_lowercase())
        && identifier.bytes().all(allowed)
        && !identifier.is_empty()
        && !identifier.ends_with([':', '%'])
}

/// atproto.com/specs/nsid: a reversed domain of at least two labels, then a name of letters and digits.
pub fn is_nsid(text: &str) -> bool {
    let Some((domain, name)) = text.rsplit_once('.') else { return false };
    text.len() <= 317
        && (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && starts_with_letter(name)
        && starts_with_letter(domain)
        && is_domain(domain)
}

/// atproto.com/specs/handle: a domain name whose last label does not start with a digit.
pub fn is_handle(text: &str) -> bool {
    text.len() <= 253 && is_domain(text) && text.rsplit('.').next().is_some_and(starts_with_letter)
}

/// atproto.com/specs/record-key: 1 to 512 of `A-Za-z0-9.-_:~`, and neither `.` nor `..`.
pub fn is_record_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'~');
    (1..=512).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

/// atproto.com/specs/tid: 13 digits of sortable base32, the first of which leaves the highest bit clear.
pub fn is_tid(text: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'2'..=b'7' | b'a'..=b'z');
    text.len() == 13 && text.bytes().all(digit) && text.bytes().next().is_some_and(|first| first <= b'j')
}

/// The string form of a CID where a Lexicon asks for one: any multibase, never version 0 (its text starts with `Qm`).
pub fn is_cid(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'=');
    (8..=256).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with("Qm")
}

/// atproto.com/specs/at-uri-scheme, in its restricted form: `at://authority[/collection[/record key]]`.
pub fn is_at_uri(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("at://") else { return false };
    let mut parts = rest.splitn(3, '/');
    let authority = parts.next().is_some_and(|authority| is_did(authority) || is_handle(authority));
    text.len() <= 8192 && authority && parts.next().is_none_or(is_nsid) && parts.next().is_none_or(is_record_key)
}

/// At least two labels of letters, digits and inner hyphens (RFC 1035).
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.contains('.') && text.split('.').all(label)
}

fn starts_with_letter(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
}
