//! `fpaas get`, `status` and `topics`: what the server says, as it was asked for.

use reqwest::Method;
use serde_json::Value;

use super::Client;
use super::render::{self, Column};
use crate::args::{Get, Server, Topics};
use crate::exit::Failure;

const SUBSCRIPTIONS: &[Column] = &[
    ("ID", "/id"),
    ("STATE", "/state"),
    ("SOURCE", "/source/topic"),
    ("WEBHOOK", "/processor/webhook/url"),
    ("OUTPUT", "/output/topic"),
    ("LANES", "/lanes"),
];
const STATUSES: &[Column] = &[
    ("ID", "/id"),
    ("STATE", "/state"),
    ("BEHIND", "/lag/source"),
    ("WAITING", "/lag/deliveries"),
    ("MATCHED", "/counters/matched"),
    ("ACKNOWLEDGED", "/counters/acknowledged"),
    ("DEAD", "/counters/deadLetters"),
    ("LAST", "/lastOutcome/outcome"),
    ("REASON", "/reason"),
];
const TOPICS: &[Column] = &[
    ("NAME", "/name"),
    ("PARTITIONS", "/partitions"),
    ("KEPT MS", "/retentionMs"),
    ("KEPT BYTES", "/retentionBytes"),
    ("COMPACTED", "/compacted"),
];

pub(crate) async fn get(server: &Server, get: &Get) -> Result<(), Failure> {
    let found = found(&Client::find(server)?, "/v1/subscriptions", get.id.as_deref()).await?;
    render::all(get.output, SUBSCRIPTIONS, &found)
}

pub(crate) async fn topics(server: &Server, topics: &Topics) -> Result<(), Failure> {
    let found = found(&Client::find(server)?, "/v1/topics", topics.name.as_deref()).await?;
    render::all(topics.output, TOPICS, &found)
}

/// The status of one subscription, or of each.
pub(crate) async fn status(server: &Server, status: &Get) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let ids = match &status.id {
        Some(id) => vec![segment(id)?.to_owned()],
        None => {
            let all = list(&client, "/v1/subscriptions").await?;
            all.iter().filter_map(|item| item.get("id")?.as_str().map(str::to_owned)).collect()
        }
    };
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let mut status = client.call(Method::GET, &format!("/v1/subscriptions/{id}/status"), None).await?;
        if let Some(fields) = status.as_object_mut() {
            fields.insert("id".to_owned(), id.into());
        }
        found.push(status);
    }
    render::all(status.output, STATUSES, &found)
}

/// The one of that name, or all.
async fn found(client: &Client, path: &str, one: Option<&str>) -> Result<Vec<Value>, Failure> {
    match one {
        Some(id) => Ok(vec![client.call(Method::GET, &format!("{path}/{}", segment(id)?), None).await?]),
        None => list(client, path).await,
    }
}

/// All pages of a list.
pub(super) async fn list(client: &Client, path: &str) -> Result<Vec<Value>, Failure> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = client.call(Method::GET, &format!("{path}?limit=1000{cursor}"), None).await?;
        if let Some(more) = page.get_mut("items").and_then(Value::as_array_mut) {
            items.append(more);
        }
        match page.get("cursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

/// A name goes into the path as it is, or not at all.
pub(super) fn segment(name: &str) -> Result<&str, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !name.is_empty() && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(Failure::Usage(format!("{name:?} is not a name: names are of a–z, 0–9, -, . and _")))
}
