//! `fpaas tap` and `fpaas dead-letters`: records, one JSON object a line; what is there first, then what comes.

use serde_json::value::RawValue;

use super::render::{Column, Stream};
use super::show::segment;
use super::{Client, follow};
use crate::args::{Attempts, DeadLetters, Form, Server, Tap, Where};
use crate::exit::Failure;

/// Each with its width.
const RECORDS: &[(Column, usize)] = &[
    (("PARTITION", "/partition"), 9),
    (("OFFSET", "/offset"), 10),
    (("TIMESTAMP", "/timestamp"), 24),
    (("KEY", "/key"), 32),
    (("VALUE", "/value"), 0),
];
const DEAD_LETTERS: &[(Column, usize)] = &[
    (("PARTITION", "/partition"), 9),
    (("OFFSET", "/offset"), 10),
    (("TIMESTAMP", "/timestamp"), 24),
    (("KEY", "/key"), 32),
    (("REASON", "/reason"), 16),
    (("ATTEMPTS", "/error/attempts"), 8),
    (("MESSAGE", "/error/message"), 0),
];

const ATTEMPTS: &[(Column, usize)] = &[
    (("TIME", "/time"), 24),
    (("BATCH", "/batch"), 38),
    (("TRY", "/attempt"), 3),
    (("EVENTS", "/events"), 6),
    (("STATUS", "/status"), 6),
    (("OUTCOME", "/outcome"), 12),
    (("MS", "/timings/totalMs"), 6),
    (("MESSAGE", "/message"), 0),
];

/// A page of records; the items' bytes are passed on untouched.
#[derive(Debug, serde::Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    cursor: Option<String>,
    /// Offsets whose records retention has removed.
    #[serde(default)]
    lost: Vec<Box<RawValue>>,
}

/// What is still to be printed.
#[derive(Debug)]
pub(super) struct Out {
    left: u64,
    stream: Stream,
}

pub(crate) async fn run(server: &Server, tap: &Tap) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let mut out = Out::new(tap.limit, tap.output, RECORDS);
    if tap.follow {
        let from = tap.place.from.as_deref().unwrap_or("earliest");
        let path = format!("/v1/topics/{}/tail?from={}", tap.topic, escape(from));
        return follow::run(&client, &path, tap.topic.as_str(), &mut out).await;
    }
    pages(&client, &format!("/v1/topics/{}/records", tap.topic), &first(&tap.place), &mut out).await
}

/// `fpaas dead-letters`.
pub(crate) async fn dead_letters(server: &Server, asked: &DeadLetters) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/deadLetters", segment(&asked.id)?);
    let mut out = Out::new(asked.limit, asked.output, DEAD_LETTERS);
    pages(&Client::find(server)?, &path, &first(&asked.place), &mut out).await
}

/// `fpaas attempts`.
pub(crate) async fn attempts(server: &Server, asked: &Attempts) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/attempts", segment(&asked.id)?);
    let numbers = [("status", asked.status.map(u32::from)), ("lane", asked.lane)];
    let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name, number?.to_string())));
    let texts =
        [("outcome", &asked.outcome), ("batch", &asked.batch), ("from", &asked.from), ("to", &asked.to)].into_iter();
    let texts = texts.filter_map(|(name, text)| Some((name, text.clone()?)));
    let wanted: Vec<_> = numbers.chain(texts).map(|(name, text)| format!("{name}={}", escape(&text))).collect();
    let mut out = Out::new(Some(asked.limit), asked.output, ATTEMPTS);
    let wanted = wanted.join("&");
    // Every page is asked for with the same.
    pages_of(&Client::find(server)?, &format!("{path}?{wanted}&"), "", &mut out).await
}

/// What the first page is asked for with.
fn first(place: &Where) -> String {
    let partition = place.partition.map(|partition| format!("partition={partition}"));
    let begin = match place.offset {
        Some(offset) => format!("offset={offset}"),
        None => format!("from={}", escape(place.from.as_deref().unwrap_or("earliest"))),
    };
    partition.into_iter().chain([begin]).collect::<Vec<_>>().join("&")
}

async fn pages(client: &Client, path: &str, first: &str, out: &mut Out) -> Result<(), Failure> {
    pages_of(client, &format!("{path}?"), first, out).await
}

/// `always` ends where parameters may follow.
async fn pages_of(client: &Client, always: &str, first: &str, out: &mut Out) -> Result<(), Failure> {
    let mut query = first.to_owned();
    while out.left > 0 {
        let text = client.text(&format!("{always}limit={}&{query}", out.left.min(1000))).await?;
        let page: Page = serde_json::from_str(&text)
            .map_err(|error| Failure::Failed(format!("the server's answer is not a page: {error}")))?;
        for lost in &page.lost {
            eprintln!("fpaas: records are lost to this page, since retention has removed them: {}", lost.get());
        }
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

impl Out {
    const fn new(limit: Option<u64>, form: Form, columns: &'static [(Column, usize)]) -> Self {
        let left = match limit {
            Some(limit) => limit,
            None => u64::MAX,
        };
        Self { left, stream: Stream::new(form, columns) }
    }

    pub(super) fn print(&mut self, item: &str) -> Result<(), Failure> {
        if self.left > 0 {
            self.left -= 1;
            if self.stream.item(item)?.is_break() {
                self.left = 0;
            }
        }
        Ok(())
    }

    /// True once nobody wants more.
    pub(super) const fn is_enough(&self) -> bool {
        self.left == 0
    }
}

/// A time holds `:` and `+`, which a query would change.
fn escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_page_begins_where_it_is_said() {
        let place =
            |from: Option<&str>, partition, offset| first(&Where { from: from.map(str::to_owned), partition, offset });
        assert_eq!(place(None, None, None), "from=earliest");
        assert_eq!(
            place(Some("2026-11-23T20:00:00+01:00"), Some(3), None),
            "partition=3&from=2026-11-23T20%3A00%3A00%2B01%3A00"
        );
        assert_eq!(place(None, Some(3), Some(7)), "partition=3&offset=7");
    }
}
