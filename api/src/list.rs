//! Lists by name: a page goes on behind the last name it gave, so that what is made or removed meanwhile moves nothing.

use std::borrow::Borrow;
use std::marker::PhantomData;

use fpaas_core::{Violation, limits};
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
    /// What that page was of; none for the first one.
    of: Option<String>,
    limit: usize,
}

/// Between what a list is of and a name, neither of which has it.
const BORDER: char = '/';
const FOREIGN: &str = "is not a cursor of this list";

impl Wanted {
    pub(crate) fn parse(mut params: Params) -> Result<Self, Problem> {
        let limit = params.limit();
        let cursor =
            params.text("cursor").map(|cursor| cursor::decode(&cursor).and_then(|name| String::from_utf8(name).ok()));
        if cursor == Some(None) {
            params.wrong("cursor", FOREIGN);
        }
        params.finish()?;
        let cursor = cursor.flatten();
        // One that names no list is of none.
        let named = |cursor: &String| cursor.split_once(BORDER).map(|(of, after)| (of.to_owned(), after.to_owned()));
        let cursor = cursor.map(|cursor| named(&cursor).unwrap_or_default());
        let (of, after) = cursor.unzip();
        Ok(Self { after: after.unwrap_or_default(), of, limit })
    }

    /// `all` in the order of their names, from behind `after` on: up to the limit, or so many bytes.
    pub(crate) fn page<T: Serialize + JsonSchema>(
        &self,
        all: impl Iterator<Item = (String, impl Borrow<T>)>,
    ) -> Result<Page<T>, Problem> {
        let kind = T::schema_name();
        if self.of.as_ref().is_some_and(|of| *of != kind) {
            return Err(Problem::invalid(vec![Violation::new("/cursor", FOREIGN)]));
        }
        let (mut items, mut bytes, mut all) = (Vec::new(), 0, all.peekable());
        let mut cursor = None;
        while let Some((name, item)) = all.next() {
            let item = to_raw_value(item.borrow()).map_err(|error| Problem::internal(&error))?;
            bytes += item.get().len();
            items.push(item);
            let full = items.len() >= self.limit || bytes >= limits::PAGE_BYTES_MAX;
            if full {
                cursor = all.peek().map(|_| cursor::encode(format!("{kind}{BORDER}{name}").as_bytes()));
                break;
            }
        }
        Ok(Page { items, cursor, of: PhantomData })
    }
}
