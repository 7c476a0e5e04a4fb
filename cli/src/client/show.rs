//! `fpaas get`, `status` and `topics`: what the server says, as it was asked for.

use reqwest::Method;
use serde_json::Value;

use super::render::{self, Column};
use super::{Answer, Client};
use crate::args::{Get, Server, Status, Topics};
use crate::exit::Failure;
use crate::out;

pub(super) const SUBSCRIPTIONS: &[Column] = &[
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
    let client = Client::find(server)?;
    if get.etag {
        return tag(&one(&client, "/v1/subscriptions", get.id.as_deref().unwrap_or_default()).await?);
    }
    let found = found(&client, "/v1/subscriptions", get.id.as_deref()).await?;
    render::all(get.shown.output, SUBSCRIPTIONS, &found)
}

pub(crate) async fn topics(server: &Server, topics: &Topics) -> Result<(), Failure> {
    let client = Client::find(server)?;
    if topics.etag {
        return tag(&one(&client, "/v1/topics", topics.name.as_deref().unwrap_or_default()).await?);
    }
    let found = found(&client, "/v1/topics", topics.name.as_deref()).await?;
    render::all(topics.shown.output, TOPICS, &found)
}

/// What `--if-match` takes.
pub(super) fn tag(found: &Answer) -> Result<(), Failure> {
    let none = || Failure::NotFound("it has no ETag, since nobody can change it".to_owned());
    out::line(found.tag.as_ref().ok_or_else(none)?).map(drop)
}

/// The status of one subscription, or of each.
pub(crate) async fn status(server: &Server, asked: &Status) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let ids = match &asked.id {
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
    render::all(asked.shown.output, STATUSES, &found)
}

/// The one of that name, or all.
async fn found(client: &Client, path: &str, name: Option<&str>) -> Result<Vec<Value>, Failure> {
    match name {
        Some(name) => Ok(vec![one(client, path, name).await?.value]),
        None => list(client, path).await,
    }
}

async fn one(client: &Client, path: &str, name: &str) -> Result<Answer, Failure> {
    client.request(Method::GET, &format!("{path}/{}", segment(name)?)).answer().await
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
