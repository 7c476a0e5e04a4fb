//! Lists by name: a page goes on behind the last name it gave, so that what is made or removed meanwhile moves nothing.

use serde::Serialize;

use crate::cursor;
use crate::params::Params;
use crate::problem::Problem;

/// One page.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// Null at the end.
    cursor: Option<String>,
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

    /// `all` in the order of their names, from behind `after` on.
    pub(crate) fn page<T>(&self, mut all: impl Iterator<Item = (String, T)>) -> Page<T> {
        let mut named: Vec<_> = all.by_ref().take(self.limit).collect();
        let more = all.next().is_some();
        let cursor = named.last_mut().filter(|_| more).map(|(name, _)| cursor::encode(name.as_bytes()));
        Page { items: named.into_iter().map(|(_, item)| item).collect(), cursor }
    }
}
