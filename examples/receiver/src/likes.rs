//! The work: a batch of likes in, one record per like out.

use serde_json::{Value, json};

/// `{"records":[{"key":<who liked>,"value":{"id":<event id>,"subject":<what was liked>}}]}`; `None` when the body is no
/// batch. An event that is null (a tombstone) or no JSON has no record.
pub(crate) fn records(body: &[u8]) -> Option<Value> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let events = body.get("events")?.as_array()?;
    let all_named = events.iter().all(|event| event.get("id").is_some());
    all_named.then(|| json!({ "records": events.iter().filter_map(record).collect::<Vec<_>>() }))
}

fn record(event: &Value) -> Option<Value> {
    let (id, did) = (event.get("id")?, event.pointer("/event/did")?);
    let subject = event.pointer("/event/commit/record/subject/uri");
    Some(json!({"key": did, "value": {"id": id, "subject": subject}}))
}

/// The event ids of a batch.
pub(crate) fn ids(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let events = body.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
    events.iter().filter_map(|event| event.get("id")?.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_like_becomes_a_record_under_the_key_of_who_liked() {
        let body = json!({"subscription": "likes", "events": [{"id": "did:x:a/app.bsky.feed.like/1@2", "event":
            {"did": "did:x:a", "commit": {"record": {"subject": {"uri": "at://post"}}}}}]});
        let expected = json!({"records": [
            {"key": "did:x:a", "value": {"id": "did:x:a/app.bsky.feed.like/1@2", "subject": "at://post"}}]});
        assert_eq!(records(body.to_string().as_bytes()), Some(expected));
        assert_eq!(ids(body.to_string().as_bytes()), ["did:x:a/app.bsky.feed.like/1@2"]);
        let null = br#"{"events":[{"id":"a","event":null},{"id":"b","eventBase64":"AA=="}]}"#;
        assert_eq!(records(null), Some(json!({"records": []})));
        assert_eq!(records(b"{}"), None);
        assert_eq!(records(br#"{"events":[{}]}"#), None);
    }
}
