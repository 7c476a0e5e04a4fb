//! `fpaas get`, `delete`, `status` and `topics`: what the server says, as JSON that a person can read.

use reqwest::Method;
use serde_json::Value;

use super::Client;
use crate::args::{Delete, Get, Server, Topics};
use crate::exit::Failure;
use crate::out;

pub(crate) async fn get(server: &Server, get: &Get) -> Result<(), Failure> {
    show(&Client::find(server)?, "/v1/subscriptions", get.id.as_deref(), "").await
}

pub(crate) async fn topics(server: &Server, topics: &Topics) -> Result<(), Failure> {
    show(&Client::find(server)?, "/v1/topics", topics.name.as_deref(), "").await
}

/// The status of one subscription, or of each.
pub(crate) async fn status(server: &Server, status: &Get) -> Result<(), Failure> {
    let client = Client::find(server)?;
    if let Some(id) = &status.id {
        return show(&client, "/v1/subscriptions", Some(id), "/status").await;
    }
    let all = list(&client, "/v1/subscriptions").await?;
    for id in all.iter().filter_map(|item| item.get("id").and_then(Value::as_str)) {
        let path = format!("/v1/subscriptions/{id}/status");
        let mut status = client.call(Method::GET, &path, None).await?;
        if let Some(fields) = status.as_object_mut() {
            fields.insert("id".to_owned(), id.into());
        }
        print(&status)?;
    }
    Ok(())
}

pub(crate) async fn delete(server: &Server, delete: &Delete) -> Result<(), Failure> {
    let client = Client::find(server)?;
    client.send(Method::DELETE, &format!("/v1/subscriptions/{}", segment(&delete.id)?), None).await?;
    out::line(format_args!("subscription {} deleted", delete.id)).map(drop)
}

async fn show(client: &Client, path: &str, one: Option<&str>, part: &str) -> Result<(), Failure> {
    match one {
        Some(id) => print(&client.call(Method::GET, &format!("{path}/{}{part}", segment(id)?), None).await?),
        None => list(client, path).await?.iter().try_for_each(print),
    }
}

/// All pages of a list.
async fn list(client: &Client, path: &str) -> Result<Vec<Value>, Failure> {
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

fn print(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    out::line(text).map(drop)
}
