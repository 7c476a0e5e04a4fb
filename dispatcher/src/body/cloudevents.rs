//! An event as a CloudEvent 1.0 in the JSON format of a batch
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! | attribute | of an event of the firehose | of any other record |
//! |---|---|---|
//! | `id` | its event id | the same |
//! | `source` | the DID | the topic it first stood in |
//! | `type` | collection and operation, or the message of `com.atproto.sync.subscribeRepos` | `fpaas.record` |
//! | `subject` | collection and rkey, of a commit | its key, where that is text |
//! | `time` | when it was received | when it was written |

use fpaas_core::event::{Kind, header};
use fpaas_core::rfc3339;

use super::format::{Value, put};
use super::{Delivery, Form};

/// Of what is no event of the firehose.
const RECORD: &str = "fpaas.record";
const STREAM: &str = "com.atproto.sync.subscribeRepos";

const JSON: &[u8] = br#","datacontenttype":"application/json","data":"#;
const BYTES: &[u8] = br#","datacontenttype":"application/octet-stream","data_base64":"#;

/// What stands around the attributes and the value, a comma to the next one included.
pub(super) const fn frame(form: Form) -> usize {
    let value = match form {
        Form::Json => JSON.len(),
        Form::Base64 => BYTES.len(),
        Form::Tombstone => 0,
    };
    value + "},".len()
}

/// The whole event.
pub(super) fn write(body: &mut Vec<u8>, event: &Delivery, value: &Value<'_>) {
    put(body, &[attributes(event).as_bytes()]);
    match value {
        Value::Json(json) => put(body, &[JSON, json]),
        Value::Payload(json) => put(body, &[JSON, json.as_bytes()]),
        Value::Base64(text) => put(body, &[BYTES, b"\"", text.as_bytes(), b"\""]),
        // A deletion of its key: there is no data.
        Value::Nothing => {}
    }
    body.push(b'}');
}

/// `{"specversion":"1.0",…`, without what says of the data.
pub(super) fn attributes(event: &Delivery) -> String {
    let id = event.id();
    let About { source, kind, subject } = about(event, &id);
    let mut text = format!(r#"{{"specversion":"1.0","id":{}"#, event.id);
    let time = rfc3339::format(event.record.timestamp);
    let attributes = [("source", Some(source)), ("type", Some(kind)), ("subject", subject), ("time", Some(time))];
    for (name, value) in attributes {
        if let Some(value) = value {
            let value = serde_json::Value::String(value);
            text.push_str(&format!(r#","{name}":{value}"#));
        }
    }
    text
}

struct About {
    source: String,
    kind: String,
    subject: Option<String>,
}

fn about(event: &Delivery, id: &str) -> About {
    let headers = &event.record.headers;
    let key = event.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).filter(|key| is_text(key));
    // `<did>/<collection>/<rkey>@<rev>`, `<did>/<kind>@<hash>`.
    let path = key.and_then(|did| id.strip_prefix(did)?.strip_prefix('/')?.rsplit_once('@')).map(|(path, _)| path);
    match (headers.get_str(header::KIND), key, path) {
        (Some(kind), Some(did), Some(path)) if kind == Kind::Commit.as_str() => {
            let named = |name| headers.get_str(name).unwrap_or_default();
            let kind = format!("{}.{}", named(header::COLLECTION), named(header::OPERATION));
            About { source: did.to_owned(), kind, subject: Some(path.to_owned()).filter(|path| is_text(path)) }
        }
        (Some(kind), Some(did), Some(_)) => {
            About { source: did.to_owned(), kind: format!("{STREAM}#{kind}"), subject: None }
        }
        _ => {
            let place = id.rsplit_once('/').map_or(RECORD, |(topic, _)| topic);
            let source = headers.get_str(header::SOURCE_TOPIC).unwrap_or(place);
            About { source: source.to_owned(), kind: RECORD.to_owned(), subject: key.map(str::to_owned) }
        }
    }
}

/// An attribute is not empty and has no control characters.
fn is_text(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}
