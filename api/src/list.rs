//! Lists by name: a page goes on behind the last name it gave, so that what is made or removed meanwhile moves nothing.

use std::borrow::Borrow;
use std::marker::PhantomData;

use fpaas_core::limits;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::cursor;
use crate::params::Params;
use crate::problem::Problem;

/// One page.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(crate) struct Page<T> {
    #[schemars(with = "Vec<T>")]
    items: Vec<Box<RawValue>>,
    /// Of the next page; null at the end.
    cursor: Option<String>,
    #[serde(skip)]
    of: PhantomData<T>,
}

/// Which page is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The name of the last item before it; empty for the first page.
    pub(crate) after: String,
    limit: usize,
}

impl Wanted {
    pub(crate) fn parse(mut params: Params) -> Result<Self, Problem> {
        let limit = params.limit();
        let cursor =
            params.text("cursor").map(|cursor| cursor::decode(&cursor).and_then(|name| String::from_utf8(name).ok()));
        if cursor == Some(None) {
            params.wrong("cursor", "is not a cursor of this list");
        }
        params.finish()?;
        Ok(Self { after: cursor.flatten().unwrap_or_default(), limit })
    }

    /// `all` in the order of their names, from behind `after` on: up to the limit, or so many bytes.
    pub(crate) fn page<T: Serialize>(
        &self,
        all: impl Iterator<Item = (String, impl Borrow<T>)>,
    ) -> Result<Page<T>, Problem> {
        let (mut items, mut bytes, mut all) = (Vec::new(), 0, all.peekable());
        let mut cursor = None;
        while let Some((name, item)) = all.next() {
            let item = to_raw_value(item.borrow()).map_err(|error| Problem::internal(&error))?;
            bytes += item.get().len();
            items.push(item);
            let full = items.len() >= self.limit || bytes >= limits::PAGE_BYTES_MAX;
            if full {
                cursor = all.peek().map(|_| cursor::encode(name.as_bytes()));
                break;
            }
        }
        Ok(Page { items, cursor, of: PhantomData })
    }
}
