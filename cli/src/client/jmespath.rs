//! `fpaas jmespath`: what an expression makes of events, one JSON object a line.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::render::{Column, Stream};
use super::{Client, apply};
use crate::args::{Jmespath, Server};
use crate::exit::Failure;

/// What one request takes.
const EVENTS_MAX: usize = fpaas_core::limits::EVALUATE_EVENTS_MAX;
/// What the server takes, with room for what is around the events.
const BYTES_MAX: usize = fpaas_core::limits::API_BODY_BYTES_MAX - 16 * 1024;

/// Each with its width.
const RESULTS: &[(Column, usize)] =
    &[(("MATCHES", "/matches"), 7), (("VALUE", "/value"), 30), (("ERROR", "/error"), 0)];

pub(crate) async fn run(server: &Server, asked: &Jmespath) -> Result<(), Failure> {
    let (client, events) = (Client::find(server)?, read(&asked.file)?);
    let mut results = Stream::new(asked.output, RESULTS);
    for events in pages(&events) {
        let body = json!({"expression": asked.expression, "events": events});
        let answer = client.call(Method::POST, "/v1/jmespath:evaluate", Some(&body)).await?;
        for result in answer.get("results").and_then(Value::as_array).into_iter().flatten() {
            if results.item(&result.to_string())?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

pub(crate) fn read(file: &Path) -> Result<Vec<Value>, Failure> {
    let name = file.display();
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("{name} cannot be read: {error}"));
    let text = apply::text(file)?;
    let events: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
    let events: Vec<_> = events.map_err(|error| wrong(&error))?.into_iter().map(event).collect();
    if events.is_empty() { Err(Failure::Usage(format!("{name}: there is no event in it"))) } else { Ok(events) }
}

/// An item of a topic has its place beside its value.
fn event(mut value: Value) -> Value {
    let is_item = ["partition", "offset", "value"].iter().all(|field| value.get(field).is_some());
    match value.get_mut("value") {
        Some(inner) if is_item => inner.take(),
        _ => value,
    }
}

/// As many at a time as a request takes.
fn pages(events: &[Value]) -> Vec<&[Value]> {
    let (mut pages, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, event) in events.iter().enumerate() {
        let size = event.to_string().len() + 1;
        if at > from && (at - from >= EVENTS_MAX || bytes + size > BYTES_MAX) {
            pages.extend(events.get(from..at));
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    pages.extend(events.get(from..).filter(|page| !page.is_empty()));
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_of_a_topic_is_its_value_and_an_event_is_itself() {
        assert_eq!(event(json!({"partition": 1, "offset": 2, "value": {"kind": "commit"}})), json!({"kind": "commit"}));
        assert_eq!(event(json!({"value": 1})), json!({"value": 1}));
        assert_eq!(event(json!(7)), json!(7));
    }

    #[test]
    fn a_page_has_as_many_events_as_a_request_takes_and_no_more_bytes() {
        let small = vec![json!(1); 2 * EVENTS_MAX + 1];
        assert_eq!(pages(&small).iter().map(|page| page.len()).collect::<Vec<_>>(), [EVENTS_MAX, EVENTS_MAX, 1]);
        let large = vec![json!("x".repeat(BYTES_MAX / 2)); 3];
        assert_eq!(pages(&large).iter().map(|page| page.len()).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(pages(&[]).is_empty());
    }
}
