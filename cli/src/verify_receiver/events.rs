//! The events that batches are made of: likes, unless others are given, and the kinds that receivers stumble over.

use bytes::Bytes;
use fpaas_core::event::{self, Kind};
use fpaas_core::limits::VERIFY_BATCH_BYTES_MAX;
use fpaas_dispatcher::SampleEvent;
use serde_json::{Value, json};

/// What `collector.maxBytes` is where nothing else is said.
const BATCH_BYTES_DEFAULT: usize = 1024 * 1024;
const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
const REV: &str = "3mbkvjqwzxc2a";
const TIME_US: i64 = 1_763_930_000_000_000;

/// Where batches take theirs from.
#[derive(Debug, Default)]
pub(super) struct Events {
    given: Vec<Value>,
}

/// Of a batch.
pub(super) type Made = fn(&Events) -> Vec<SampleEvent>;

impl Events {
    pub(super) const fn new(given: Vec<Value>) -> Self {
        Self { given }
    }

    /// So many, the given ones over and over.
    fn some(&self, count: usize) -> Vec<SampleEvent> {
        if self.given.is_empty() {
            return (0..count).map(like).collect();
        }
        self.given.iter().cycle().take(count).enumerate().map(|(at, value)| given(at, value)).collect()
    }

    pub(super) fn one(&self) -> Vec<SampleEvent> {
        self.some(1)
    }

    pub(super) fn three(&self) -> Vec<SampleEvent> {
        self.some(3)
    }

    pub(super) fn hundred(&self) -> Vec<SampleEvent> {
        self.some(100)
    }
}

fn given(at: usize, value: &Value) -> SampleEvent {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let id = match text("/commit/rkey") {
        "" => event::record_id("sample", 0, 0, u64::try_from(at).unwrap_or(u64::MAX)),
        rkey => event::commit_id(text("/did"), text("/commit/collection"), rkey, text("/commit/rev")),
    };
    SampleEvent { id, value: Some(value.to_string().into()) }
}

fn sample(id: String, value: &Value) -> SampleEvent {
    SampleEvent { id, value: Some(value.to_string().into()) }
}

fn rkey(at: usize) -> String {
    format!("3mbkvjqw{at:05}")
}

fn commit(collection: &str, at: usize, record: &Value) -> SampleEvent {
    let rkey = rkey(at);
    let value = json!({"did": DID, "time_us": TIME_US, "kind": "commit", "commit": {
        "rev": REV, "operation": "create", "collection": collection, "rkey": rkey, "record": record,
        "cid": "bafyreidc6sydkkbchcyg62v77wbhzvb2mvytlmsychqgwf2xojjtirmzj4"}});
    sample(event::commit_id(DID, collection, &rkey, REV), &value)
}

fn like(at: usize) -> SampleEvent {
    let subject = json!({"uri": format!("at://{DID}/app.bsky.feed.post/{}", rkey(at)),
        "cid": "bafyreibjifzpqj6o6wcq3hejh7y4z4z2vmiklkvykc57tw3pcbx3kxifpm"});
    let record = json!({"$type": "app.bsky.feed.like", "createdAt": "2026-11-23T20:00:00.000Z", "subject": subject});
    commit("app.bsky.feed.like", at, &record)
}

fn post(at: usize, text: &str) -> SampleEvent {
    let record = json!({"$type": "app.bsky.feed.post", "createdAt": "2026-11-23T20:00:00.000Z", "text": text});
    commit("app.bsky.feed.post", at, &record)
}

/// Posts, up to so many bytes of a body.
fn posts(bytes_max: usize) -> Vec<SampleEvent> {
    let (text, mut bytes) = ("la ".repeat(1000), 0);
    let fits = |event: &SampleEvent| {
        bytes += event.id.len() + event.value.as_ref().map_or(0, Bytes::len) + r#"{"id":"","event":},"#.len();
        bytes <= bytes_max
    };
    (0..).map(|at| post(at, &text)).take_while(fits).collect()
}

/// As large as a batch is where nothing is said of it.
pub(super) fn default_batch(_: &Events) -> Vec<SampleEvent> {
    posts(BATCH_BYTES_DEFAULT)
}

/// As large as one can be.
pub(super) fn largest_batch(_: &Events) -> Vec<SampleEvent> {
    posts(VERIFY_BATCH_BYTES_MAX)
}

/// Nothing that a receiver could know.
pub(super) fn strange(_: &Events) -> Vec<SampleEvent> {
    vec![commit("com.example.unheard.of", 0, &json!({"$type": "com.example.unheard.of"}))]
}

/// Events without a commit.
pub(super) fn other_kinds(_: &Events) -> Vec<SampleEvent> {
    let time = "2026-11-23T20:00:00.000Z";
    let identity = json!({"did": DID, "time_us": TIME_US, "kind": "identity",
        "identity": {"did": DID, "handle": "bsky.app", "seq": 1, "time": time}});
    let account = json!({"did": DID, "time_us": TIME_US, "kind": "account",
        "account": {"active": false, "did": DID, "seq": 2, "time": time, "status": "deactivated"}});
    let sync = json!({"did": DID, "time_us": TIME_US, "kind": "sync", "sync": {"did": DID, "rev": REV}});
    let statement = |kind| event::statement_id(DID, kind, &[time.as_bytes()]);
    vec![
        sample(statement(Kind::Identity), &identity),
        sample(statement(Kind::Account), &account),
        sample(event::sync_id(DID, REV), &sync),
    ]
}

/// A like that is taken back: no record.
pub(super) fn deletion(_: &Events) -> Vec<SampleEvent> {
    let (collection, rkey) = ("app.bsky.feed.like", rkey(0));
    let value = json!({"did": DID, "time_us": TIME_US, "kind": "commit",
        "commit": {"rev": REV, "operation": "delete", "collection": collection, "rkey": rkey}});
    vec![sample(event::commit_id(DID, collection, &rkey, REV), &value)]
}

/// `"event": null`, beside one that is none.
pub(super) fn tombstone(_: &Events) -> Vec<SampleEvent> {
    vec![SampleEvent { id: event::record_id("sample", 0, 0, 7), value: None }, like(0)]
}

/// `"eventBase64"` in place of `"event"`.
pub(super) fn bytes(_: &Events) -> Vec<SampleEvent> {
    let value = Some(Bytes::from_static(b"\xff\x00 no JSON"));
    vec![SampleEvent { id: event::record_id("sample", 0, 0, 8), value }, like(0)]
}

/// Scripts, escapes, controls and what looks like the end of a line or of a string.
pub(super) fn unicode(_: &Events) -> Vec<SampleEvent> {
    let text = "\"\\/\u{8}\u{0}\u{7f} \u{2028}\u{2029} é e\u{301} 漢字 שלום \u{202e}abc \u{1f469}\u{200d}\u{1f680} \u{ffff} </script>";
    let SampleEvent { id, value } = post(1, "X");
    // The same once more, as escapes of JSON.
    let escapes = br#"\u00e9 \ud83d\ude00 \u0000 \/ \b\f\n\r\t"#;
    let spelt = value.as_deref().unwrap_or_default();
    let spelt = String::from_utf8_lossy(spelt).replace(r#""X""#, &format!("\"{}\"", String::from_utf8_lossy(escapes)));
    vec![post(0, text), SampleEvent { id, value: Some(spelt.into()) }]
}

/// Fields that may be there one day.
pub(super) fn fields(events: &Events) -> Vec<SampleEvent> {
    let with = |SampleEvent { id, value }| {
        let text = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
        let value = text.strip_prefix('{').map(|rest| format!("{{\"addedLater\":{{\"a\":[1]}},{rest}"));
        SampleEvent { id, value: Some(value.unwrap_or(text).into()) }
    };
    events.one().into_iter().map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_json_but_those_that_are_to_be_none() {
        let events = Events::default();
        let made: [Made; 9] = [
            Events::one,
            Events::hundred,
            default_batch,
            largest_batch,
            strange,
            other_kinds,
            deletion,
            unicode,
            fields,
        ];
        for event in made.iter().flat_map(|made| made(&events)) {
            let value: Value = serde_json::from_slice(event.value.as_deref().unwrap()).unwrap();
            assert!(value["did"] == DID && event.id.starts_with(DID), "{value}");
        }
    }

    #[test]
    fn given_events_are_taken_over_and_over_under_their_own_ids() {
        let like = json!({"did": "did:a", "commit": {"collection": "x.y", "rkey": "k", "rev": "r"}});
        let events = Events::new(vec![like, json!(5)]);
        let ids: Vec<_> = events.three().into_iter().map(|event| event.id).collect();
        assert_eq!(ids, ["did:a/x.y/k@r", "sample/0@1", "did:a/x.y/k@r"]);
    }
}
