//! Cursors: opaque to who holds them, of `[A-Za-z0-9_-]`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fpaas_core::{Offset, Timestamp, rfc3339};
use serde::{Deserialize, Serialize};

/// Where to begin where no offset is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum From {
    /// With what is still there.
    Earliest,
    /// With the next record.
    Latest,
    /// With the first record received at or after this time.
    At(Timestamp),
}

/// Where the next page of records begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Of which topic.
    #[serde(rename = "t")]
    pub(crate) making: String,
    #[serde(rename = "p")]
    pub(crate) partition: u32,
    #[serde(rename = "o")]
    pub(crate) offset: Offset,
    /// Where the partitions behind this one begin; absent when only this one is read.
    #[serde(rename = "f")]
    pub(crate) then: Option<From>,
}

impl From {
    /// `earliest`, `latest` or an RFC 3339 time. In a query, a `+` that was not escaped arrives as a space.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            _ => rfc3339::parse(text).or_else(|| rfc3339::parse(&text.replace(' ', "+"))).map(Self::At),
        }
    }
}

impl Cursor {
    pub(crate) fn encode(&self) -> String {
        encode(&serde_json::to_vec(self).unwrap_or_default())
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&decode(text)?).ok()
    }
}

/// Any bytes as a cursor.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a cursor was made of.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_others_are_refused() {
        let at = Some(From::At(Timestamp::from_millis(-5)));
        for then in [None, Some(From::Earliest), Some(From::Latest), at] {
            let cursor = Cursor { making: "0123456789ab".to_owned(), partition: 3, offset: Offset(u64::MAX), then };
            let text = cursor.encode();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{text}");
            assert_eq!(Cursor::decode(&text), Some(cursor));
        }
        for text in ["", "x", "e30", "=", "{}", &encode(b"{\"t\":\"\",\"p\":1,\"o\":1,\"f\":null,\"x\":1}")] {
            assert_eq!(Cursor::decode(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_with_an_unescaped_plus() {
        let expected = From::parse("2026-11-23T20:00:00+01:00");
        assert!(expected.is_some());
        assert_eq!(From::parse("2026-11-23T20:00:00 01:00"), expected);
        assert_eq!(From::parse("now"), None);
    }
}
