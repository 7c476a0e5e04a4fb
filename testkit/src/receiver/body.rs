//! What a call's body holds, in whatever format and compression its headers say.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Its events as they stand in the list of a JSON body, `{"id","event"}`; of a CloudEvent its data is the event.
pub(super) fn events(kind: Option<&str>, encoding: Option<&str>, body: &[u8]) -> Result<Vec<Value>> {
    let body = decoded(encoding, body)?;
    match kind {
        Some("application/x-ndjson") => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
        }
        Some("application/cloudevents-batch+json") => {
            let mut events: Vec<Value> = serde_json::from_slice(&body)?;
            for event in events.iter_mut().filter_map(Value::as_object_mut) {
                let data = event.remove("data").unwrap_or_default();
                event.insert("event".to_owned(), data);
            }
            Ok(events)
        }
        _ => {
            let body: Value = serde_json::from_slice(&body)?;
            body.get("events").and_then(Value::as_array).cloned().context("a body without events")
        }
    }
}

fn decoded(encoding: Option<&str>, body: &[u8]) -> Result<Vec<u8>> {
    let mut decoded = Vec::new();
    match encoding {
        None => decoded.extend_from_slice(body),
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut decoded)?),
        Some("zstd") => decoded = zstd::stream::decode_all(body)?,
        Some(other) => bail!("a body in {other}"),
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_events_of_every_format_are_the_same() {
        let expected = vec![json!({"id": "a", "event": 1}), json!({"id": "b", "event": {"x": 2}})];
        let check = |kind: &str, body: &str, strip: &[&str]| {
            let mut found = events(Some(kind), None, body.as_bytes()).unwrap();
            for event in found.iter_mut().filter_map(Value::as_object_mut) {
                strip.iter().for_each(|name| drop(event.remove(*name)));
            }
            assert_eq!(found, expected, "{kind}");
        };
        check("application/json", r#"{"events":[{"id":"a","event":1},{"id":"b","event":{"x":2}}]}"#, &[]);
        check("application/x-ndjson", "{\"id\":\"a\",\"event\":1}\n{\"id\":\"b\",\"event\":{\"x\":2}}\n", &[]);
        let cloud = r#"[{"specversion":"1.0","id":"a","data":1},{"specversion":"1.0","id":"b","data":{"x":2}}]"#;
        check("application/cloudevents-batch+json", cloud, &["specversion"]);
        let packed = zstd::stream::encode_all(&br#"{"events":[]}"#[..], 0).unwrap();
        assert_eq!(events(Some("application/json"), Some("zstd"), &packed).unwrap(), Vec::<Value>::new());
        assert!(events(Some("application/json"), Some("br"), &packed).is_err());
        assert!(events(None, Some("gzip"), &packed).is_err());
    }
}
