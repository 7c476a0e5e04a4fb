//! Pages of records: of one partition, or of all of them, one after the other.
//!
//! A page that is not the last one is never empty and never says that there is more when there is not: before a cursor
//! is given, the record it stands at was seen. Bounded in records and bytes.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use fpaas_core::{Offset, TopicPartition, Violation, limits};
use fpaas_log::{FetchBounds, Log, Stored};
use http::header;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::Readable;
use crate::cursor::{Cursor, From};
use crate::item::Item;
use crate::params::Params;
use crate::problem::Problem;
use crate::starts;

const FOREIGN: &str = "is not a cursor of this topic, or of one that had its name before: begin anew";

/// Which page is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    partition: u32,
    /// Absent where `from` says it.
    offset: Option<Offset>,
    from: From,
    /// True when no other partition is read.
    only: bool,
    limit: usize,
    /// Of which topic it is a later page.
    making: Option<String>,
}

impl Wanted {
    pub(crate) fn parse(mut params: Params, partitions: u32) -> Result<Self, Problem> {
        let limit = params.limit();
        let cursor = params.text("cursor");
        let from = from_param(&mut params, From::Earliest);
        let partition = params.number("partition", 0..=partitions.saturating_sub(1));
        let offset = params.number("offset", 0..=u64::MAX).map(Offset);
        let mut wanted = Self {
            partition: partition.unwrap_or_default(),
            offset,
            from: from.unwrap_or(From::Earliest),
            only: partition.is_some(),
            limit,
            making: None,
        };
        if offset.is_some() && partition.is_none() && partitions > 1 {
            params.wrong("offset", "needs a partition, since each counts its own");
        }
        if offset.is_some() && from.is_some() {
            params.wrong("from", "cannot stand beside offset: both say where to begin");
        }
        if let Some(text) = cursor {
            // It holds what the first page was asked with, so that what is repeated beside it changes nothing.
            match Cursor::decode(&text).filter(|cursor| cursor.partition < partitions) {
                Some(cursor) => wanted.go_on(cursor),
                None => params.wrong("cursor", FOREIGN),
            }
        }
        params.finish()?;
        Ok(wanted)
    }

    fn go_on(&mut self, cursor: Cursor) {
        self.partition = cursor.partition;
        self.offset = Some(cursor.offset);
        self.only = cursor.then.is_none();
        self.from = cursor.then.unwrap_or(From::Earliest);
        self.making = Some(cursor.making);
    }

    fn cursor(&self, readable: &Readable, partition: u32, offset: Offset) -> Cursor {
        Cursor { making: readable.making.clone(), partition, offset, then: (!self.only).then_some(self.from) }
    }

    /// A later page is of the same topic as the one before it, whatever has its name now, and begins where that ended.
    async fn check(&self, log: &dyn Log, readable: &Readable) -> Result<(), Problem> {
        let Some(making) = &self.making else { return Ok(()) };
        let refuse = |detail: &str| Err(Problem::invalid(vec![Violation::new("/cursor", detail)]));
        if *making != readable.making {
            return refuse(FOREIGN);
        }
        let at = TopicPartition::new(Arc::clone(&readable.topic), self.partition);
        if self.offset > Some(log.watermarks(&at).await?.end) {
            return refuse("is of records that the topic does not hold: begin anew");
        }
        Ok(())
    }
}

/// Takes `from`; what is none is noted.
pub(crate) fn from_param(params: &mut Params, default: From) -> Option<From> {
    let text = params.text("from")?;
    let from = From::parse(&text);
    if from.is_none() {
        params.wrong("from", "must be earliest, latest or a time such as 2026-11-23T20:00:00Z");
    }
    Some(from.unwrap_or(default))
}

/// Records, and where to go on.
#[derive(Debug, Default)]
pub(crate) struct Page {
    records: Vec<(u32, Stored)>,
    bytes: usize,
    cursor: Option<Cursor>,
    /// In the partition of the last record; where there is none, in the last one that was read.
    next: Offset,
    lost: Vec<Lost>,
}

/// Offsets of records that retention removed before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "LostRecords")]
pub(crate) struct Lost {
    pub(crate) partition: u32,
    /// The first of them.
    pub(crate) from: Offset,
    /// Where reading goes on.
    pub(crate) to: Offset,
}

impl Page {
    /// As JSON, each record made into an item by `item`.
    pub(crate) fn answer(&self, item: for<'a> fn(u32, &'a Stored) -> Item<'a>) -> Response {
        let items = self.records.iter().map(|(partition, stored)| item(*partition, stored)).collect();
        let cursor = self.cursor.as_ref().map(Cursor::encode);
        match serde_json::to_vec(&Body { items, cursor, next_offset: self.next, lost: &self.lost }) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        }
    }

    fn is_full(&self, limit: usize) -> bool {
        self.records.len() >= limit || self.bytes >= limits::PAGE_BYTES_MAX
    }

    /// What the next fetch may bring: at least one record, to see whether there is more.
    fn room(&self, limit: usize) -> FetchBounds {
        let records = limit.saturating_sub(self.records.len()).clamp(1, limits::FETCH_RECORDS_MAX);
        let bytes = limits::PAGE_BYTES_MAX.saturating_sub(self.bytes).clamp(1, limits::FETCH_BYTES_MAX);
        FetchBounds { records, bytes, ..FetchBounds::now() }.of_guest()
    }

    fn push(&mut self, partition: u32, records: Vec<Stored>) {
        self.bytes += records.iter().map(|stored| stored.record.bytes()).sum::<usize>();
        self.records.extend(records.into_iter().map(|stored| (partition, stored)));
    }
}

/// A page as JSON.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PageOfRecords")]
pub(crate) struct Body<'a> {
    items: Vec<Item<'a>>,
    /// Of the next page; null at the end.
    cursor: Option<String>,
    /// Where the last partition that was read goes on.
    next_offset: Offset,
    /// What retention removed behind the place at which the page was to begin; absent where that is nothing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Option<Vec<Lost>>")]
    lost: &'a [Lost],
}

/// Reads the page.
pub(crate) async fn page(log: &dyn Log, readable: &Readable, wanted: Wanted) -> Result<Page, Problem> {
    wanted.check(log, readable).await?;
    let mut page = Page::default();
    let end = if wanted.only { wanted.partition + 1 } else { readable.partitions };
    for partition in wanted.partition..end {
        let at = TopicPartition::new(Arc::clone(&readable.topic), partition);
        let begin = match wanted.offset.filter(|_| partition == wanted.partition) {
            Some(offset) => offset,
            None => starts::resolve(log, &at, wanted.from).await?,
        };
        if let Some(more) = read(log, &at, begin, wanted.limit, &mut page).await? {
            page.cursor = Some(wanted.cursor(readable, partition, more));
            break;
        }
    }
    Ok(page)
}

/// Fills the page from one partition. Answers the first record that had no room, or none at the partition's end.
async fn read(
    log: &dyn Log,
    at: &TopicPartition,
    begin: Offset,
    limit: usize,
    page: &mut Page,
) -> Result<Option<Offset>, Problem> {
    let mut next = begin;
    loop {
        let fetched = log.fetch(at, next, page.room(limit)).await?;
        if let Some(to) = fetched.lost_until {
            page.lost.push(Lost { partition: at.partition.0, from: next, to });
        }
        if let Some(first) = fetched.records.first().filter(|_| page.is_full(limit)) {
            return Ok(Some(first.offset));
        }
        let stuck = fetched.records.is_empty() && fetched.next <= next;
        next = fetched.next.max(next);
        page.push(at.partition.0, fetched.records);
        if page.records.last().is_none_or(|(partition, _)| *partition == at.partition.0) {
            page.next = next;
        }
        if stuck || next >= fetched.end {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::FromRequestParts as _;
    use http::Request;

    async fn check(query: &str, expected: Result<Wanted, u16>) {
        let (mut parts, ()) = Request::get(format!("/x?{query}")).body(()).unwrap().into_parts();
        let params = Params::from_request_parts(&mut parts, &()).await.unwrap();
        let wanted = Wanted::parse(params, 4).map_err(|problem| problem.into_response().status().as_u16());
        assert_eq!(wanted, expected, "{query}");
    }

    #[tokio::test]
    async fn what_cannot_stand_together_is_refused() {
        let all = || Wanted { partition: 0, offset: None, from: From::Earliest, only: false, limit: 100, making: None };
        check("", Ok(all())).await;
        check("limit=1000&from=latest", Ok(Wanted { limit: 1000, from: From::Latest, ..all() })).await;
        check("partition=3&offset=7", Ok(Wanted { partition: 3, offset: Some(Offset(7)), only: true, ..all() })).await;
        for query in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "partition=4",
            "partition=-1",
            "offset=1",
            "partition=0&offset=1&from=earliest",
            "from=now",
            "cursor=x",
            "limit=1&limit=2",
            "page=2",
        ] {
            check(query, Err(400)).await;
        }
    }

    #[tokio::test]
    async fn a_cursor_holds_all_but_the_limit() {
        let making = || "0123456789ab".to_owned();
        let cursor = Cursor { making: making(), partition: 2, offset: Offset(5), then: Some(From::Latest) };
        let (offset, making) = (Some(Offset(5)), Some(making()));
        let wanted =
            || Wanted { partition: 2, offset, from: From::Latest, only: false, limit: 9, making: making.clone() };
        check(&format!("limit=9&cursor={}", cursor.encode()), Ok(wanted())).await;
        // What the first page was asked with may be repeated beside it.
        check(&format!("limit=9&partition=1&from=earliest&cursor={}", cursor.encode()), Ok(wanted())).await;
        check(&format!("cursor={}", Cursor { partition: 4, ..cursor }.encode()), Err(400)).await;
    }
}
