//! What stands in the path and the query. A query is read as an object: its pointers are `/limit` and so on.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use fpaas_core::{Violation, limits};
use http::request::Parts;

use crate::problem::Problem;

/// The name in the path; whether it is one is for the handler to say.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|_| Problem::not_found("route", parts.uri.path()))
    }
}

/// The two names in a path.
#[derive(Debug)]
pub(crate) struct Names(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        path.map(|Path((one, other))| Self(one, other)).map_err(|_| Problem::not_found("route", parts.uri.path()))
    }
}

/// A query, and what is wrong with it so far.
#[derive(Debug)]
pub(crate) struct Params {
    given: BTreeMap<String, String>,
    pub(crate) found: Vec<Violation>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::of(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    fn of(query: &str) -> Self {
        let (mut given, mut found) = (BTreeMap::new(), Vec::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if given.insert(name.to_string(), value.into_owned()).is_some() {
                found.push(Violation::new(format!("/{name}"), "is given twice"));
            }
        }
        Self { given, found }
    }

    /// Takes a parameter.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.given.remove(name)
    }

    /// Takes a parameter that must be a number in `range`.
    pub(crate) fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let number = self.text(name)?.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(name, format!("must be a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// Takes `limit`.
    pub(crate) fn limit(&mut self) -> usize {
        self.number("limit", 1..=limits::PAGE_ITEMS_MAX).unwrap_or(limits::PAGE_ITEMS_DEFAULT)
    }

    /// Takes a parameter that is `true` or `false`; absent, it is false.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.wrong(name, "must be true or false");
                false
            }
        }
    }

    /// Notes what is wrong with a parameter.
    pub(crate) fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        self.found.push(Violation::new(format!("/{name}"), detail));
    }

    /// Nothing may be left that nobody took.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        let unknown = self.given.keys().map(|name| {
            let shown: String = name.chars().take(100).collect();
            Violation::new(format!("/{shown}"), "is not a parameter of this route")
        });
        self.found.extend(unknown.take(limits::API_VIOLATIONS_MAX));
        self.found.truncate(limits::API_VIOLATIONS_MAX);
        if self.found.is_empty() { Ok(()) } else { Err(Problem::invalid(self.found)) }
    }
}
