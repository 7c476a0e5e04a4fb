//! `fpaas tap`: a topic's records, one JSON object a line; what is there first, then what comes.

use reqwest::Method;
use serde_json::value::RawValue;

use super::Client;
use super::show::segment;
use crate::args::{DeadLetters, Server, Tap};
use crate::exit::Failure;
use crate::out;

/// A page of records; the items' bytes are passed on untouched.
#[derive(Debug, serde::Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    cursor: Option<String>,
}

/// What is still to be printed.
struct Out {
    left: u64,
}

pub(crate) async fn run(server: &Server, tap: &Tap) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let mut out = Out { left: tap.limit.unwrap_or(u64::MAX) };
    if tap.follow { follow(&client, tap, &mut out).await } else { browse(&client, tap, &mut out).await }
}

async fn browse(client: &Client, tap: &Tap, out: &mut Out) -> Result<(), Failure> {
    let path = format!("/v1/topics/{}/records", tap.topic);
    pages(client, &path, &format!("from={}", escape(&tap.from)), out).await
}

/// `fpaas dead-letters`.
pub(crate) async fn dead_letters(server: &Server, asked: &DeadLetters) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/deadLetters", segment(&asked.id)?);
    let mut out = Out { left: asked.limit.unwrap_or(u64::MAX) };
    pages(&Client::find(server)?, &path, "from=earliest", &mut out).await
}

async fn pages(client: &Client, path: &str, first: &str, out: &mut Out) -> Result<(), Failure> {
    let mut query = first.to_owned();
    while out.left > 0 {
        let path = format!("{path}?limit={}&{query}", out.left.min(1000));
        let text = client.send(Method::GET, &path, None).await?.text().await;
        let text = text.map_err(|error| Failure::Unreachable(error.to_string()))?;
        let page: Page = serde_json::from_str(&text)
            .map_err(|error| Failure::Failed(format!("the server's answer is not a page: {error}")))?;
        for item in &page.items {
            out.print(item.get())?;
        }
        match page.cursor {
            Some(cursor) => query = format!("cursor={cursor}"),
            None => break,
        }
    }
    Ok(())
}

/// The tail is a stream of server-sent events whose data are the items.
async fn follow(client: &Client, tap: &Tap, out: &mut Out) -> Result<(), Failure> {
    let path = format!("/v1/topics/{}/tail?from={}", tap.topic, escape(&tap.from));
    let mut answer = client.send(Method::GET, &path, None).await?;
    let mut line = Vec::new();
    let broken = |error: reqwest::Error| Failure::Unreachable(format!("the tail broke off: {error}"));
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        for byte in chunk {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            if let Some(data) = line.strip_prefix(b"data:") {
                out.print(String::from_utf8_lossy(data).trim_start())?;
            }
            line.clear();
            if out.left == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Out {
    fn print(&mut self, item: &str) -> Result<(), Failure> {
        if self.left > 0 {
            self.left -= 1;
            if out::line(item)?.is_break() {
                self.left = 0;
            }
        }
        Ok(())
    }
}

/// A time holds `:` and `+`, which a query would change.
fn escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
