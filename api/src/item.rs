//! A record as JSON: what pages and tails are made of.
//!
//! A value that is JSON is passed on byte for byte, without being parsed into anything. What is no text or no JSON
//! stands in base64 under a name of its own: `keyBase64`, `headersBase64`, `valueBase64`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fpaas_core::event::header::ERROR_PREFIX;
use fpaas_core::{Headers, Offset, limits, rfc3339};
use fpaas_log::{Record, Stored};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One record.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Record")]
pub(crate) struct Item<'a> {
    partition: u32,
    offset: Offset,
    timestamp: String,
    /// Null where the record has none, and where it is in `key_base64`.
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    headers: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers_base64: BTreeMap<&'a str, String>,
    /// Absent where the record has none (a removal in a compacted topic), and where it is in `value_base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(flatten)]
    dead: Option<Dead<'a>>,
}

/// What a dead letter has besides.
#[derive(Debug, Serialize, JsonSchema)]
struct Dead<'a> {
    reason: Option<&'a str>,
    /// The `fpaas.error.*` headers without their prefix.
    error: BTreeMap<&'a str, Value>,
}

/// A topic's record.
pub(crate) fn plain(partition: u32, stored: &Stored) -> Item<'_> {
    let Stored { offset, record } = stored;
    let (key, key_base64) = text_or_base64(record.key.as_deref());
    let (headers, headers_base64) = split_headers(&record.headers);
    let value = value_of(record);
    let value_base64 = record.value.as_ref().filter(|_| value.is_none()).map(|bytes| STANDARD.encode(bytes));
    let (offset, timestamp) = (*offset, rfc3339::format(record.timestamp));
    Item { partition, offset, timestamp, key, key_base64, headers, headers_base64, value, value_base64, dead: None }
}

/// A dead letter, with its reasons.
pub(crate) fn dead_letter(partition: u32, stored: &Stored) -> Item<'_> {
    let plain = plain(partition, stored);
    let fields = plain.headers.iter().filter_map(|(name, text)| Some((name.strip_prefix(ERROR_PREFIX)?, *text)));
    let error = fields.map(|(name, text)| (name, number_or_text(name, text))).collect();
    let reason = stored.record.headers.get_str(&[ERROR_PREFIX, "reason"].concat());
    Item { dead: Some(Dead { reason, error }), ..plain }
}

fn number_or_text(name: &str, text: &str) -> Value {
    let number = text.parse::<u64>().ok().filter(|_| matches!(name, "status" | "attempts"));
    number.map_or_else(|| Value::from(text), Value::from)
}

fn text_or_base64(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text), None),
        Some((bytes, Err(_))) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// Of equal names the last counts.
fn split_headers(headers: &Headers) -> (BTreeMap<&str, &str>, BTreeMap<&str, String>) {
    let (mut texts, mut others) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in headers.iter() {
        if let Ok(text) = std::str::from_utf8(value) {
            texts.insert(name, text);
            others.remove(name);
        } else {
            others.insert(name, STANDARD.encode(value));
            texts.remove(name);
        }
    }
    (texts, others)
}

/// The value, if it is JSON that a reader's parser can be expected to take.
fn value_of(record: &Record) -> Option<&RawValue> {
    let bytes = record.value.as_deref()?;
    let shallow = depth(bytes) <= limits::PAGE_DEPTH_MAX;
    shallow.then(|| serde_json::from_slice(bytes).ok()).flatten()
}

/// How deep brackets nest in what may be JSON.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use fpaas_core::{HeadersBuilder, Timestamp};

    fn stored(key: Option<&[u8]>, value: Option<&[u8]>, headers: HeadersBuilder) -> Stored {
        let bytes = |part: Option<&[u8]>| part.map(bytes::Bytes::copy_from_slice);
        let timestamp = Timestamp::from_millis(1_763_930_000_123);
        let record = Record { key: bytes(key), value: bytes(value), headers: headers.build(), timestamp };
        Stored { offset: Offset(7), record }
    }

    fn json(stored: &Stored) -> String {
        serde_json::to_string(&plain(3, stored)).unwrap()
    }

    #[test]
    fn a_value_that_is_json_is_passed_on_byte_for_byte() {
        let value = br#"{"b":1.10, "a" : [1e2,"\u00e9",  null],"b":2}"#;
        let item = json(&stored(Some(b"did:x:y"), Some(value), HeadersBuilder::new().with("kind", "commit")));
        expect![[r#"{"partition":3,"offset":7,"timestamp":"2025-11-23T20:33:20.123Z","key":"did:x:y","headers":{"kind":"commit"},"value":{"b":1.10, "a" : [1e2,"\u00e9",  null],"b":2}}"#]].assert_eq(&item);
    }

    #[test]
    fn what_is_no_text_and_no_json_is_base64_under_its_own_name() {
        let headers = HeadersBuilder::new().with("a", "1").with("a", "2").with("b", "x").with("b", b"\xff");
        let item = json(&stored(Some(b"\xfe"), Some(b"plain text"), headers));
        expect![[r#"{"partition":3,"offset":7,"timestamp":"2025-11-23T20:33:20.123Z","key":null,"keyBase64":"/g==","headers":{"a":"2"},"headersBase64":{"b":"/w=="},"valueBase64":"cGxhaW4gdGV4dA=="}"#]].assert_eq(&item);
    }

    #[test]
    fn a_record_without_key_and_value_has_neither() {
        let item = json(&stored(None, None, HeadersBuilder::new()));
        expect![[r#"{"partition":3,"offset":7,"timestamp":"2025-11-23T20:33:20.123Z","key":null,"headers":{}}"#]]
            .assert_eq(&item);
    }

    #[test]
    fn json_that_nests_deeper_than_parsers_go_is_base64() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        for (value, shown) in [
            (nested(limits::PAGE_DEPTH_MAX), true),
            (nested(limits::PAGE_DEPTH_MAX + 1), false),
            ("[".repeat(1_000_000), false),
            (format!("\"{}\\\"[\"", "[".repeat(200)), true),
        ] {
            let stored = stored(None, Some(value.as_bytes()), HeadersBuilder::new());
            assert_eq!(plain(0, &stored).value.is_some(), shown);
            assert_eq!(plain(0, &stored).value_base64.is_some(), !shown);
        }
    }

    #[test]
    fn a_dead_letter_says_why() {
        let headers = HeadersBuilder::new()
            .with("fpaas.error.reason", "status")
            .with("fpaas.error.status", "503")
            .with("fpaas.error.message", "503");
        let stored = stored(None, Some(b"1"), headers);
        let item = serde_json::to_value(dead_letter(0, &stored)).unwrap();
        assert_eq!(item["reason"], "status");
        assert_eq!(item["error"], serde_json::json!({"reason": "status", "status": 503, "message": "503"}));
        assert_eq!(item["value"], 1);
    }
}
