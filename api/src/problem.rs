//! Problems (RFC 9457): the one list of what the API refuses, and how each looks.
//!
//! `docs/errors.md` is the same list for people; a test holds the two together. A problem never says what went on
//! inside.

use axum::Json;
use axum::response::{IntoResponse, Response};
use fpaas_core::{Scope, Violation};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::error;

use crate::etag;
use crate::share::Full;

/// What the `type` of every problem starts with.
pub(crate) const TYPE_PREFIX: &str = "urn:fpaas:problem:";

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:ident, $title:literal;)*) => {
        /// The catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The last part of the `type`: never changes.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Of the answer.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// The same for every problem of the kind.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

kinds! {
    /// Body, query or name; each field that is wrong has a pointer.
    InvalidRequest = "invalid-request", BAD_REQUEST, "The request is not valid";
    /// Right by the documentation of the whole, and not built yet.
    NotSupportedYet = "not-supported-yet", BAD_REQUEST, "This is not supported yet";
    /// No key, or not the right one.
    Unauthorized = "unauthorized", UNAUTHORIZED, "The API key is missing or wrong";
    /// The key is right, and does not permit this.
    InsufficientScope = "insufficient-scope", FORBIDDEN, "The API key does not permit this";
    /// There are too many of them already.
    QuotaExceeded = "quota-exceeded", FORBIDDEN, "A quota is used up";
    /// Of this tenant, there is no such thing; or there is no such route.
    NotFound = "not-found", NOT_FOUND, "There is no such resource";
    /// The route is there and does not take this method; `Allow` says which.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// The body did not arrive in time.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// It cannot be so beside what is there.
    Conflict = "conflict", CONFLICT, "The request conflicts with what is there";
    /// The resource is in another revision than the request expects, or is there, or is not; `ETag` is what it is in.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "The resource is not as the request expects";
    /// The body is above the limit.
    ContentTooLarge = "content-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The same `Idempotency-Key` with another request.
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The Idempotency-Key is another request's";
    /// The body is not said to be JSON, or is compressed.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body must be JSON";
    /// As many tails as a tenant may have are open.
    TooManyTails = "too-many-tails", TOO_MANY_REQUESTS, "Too many tails are open";
    /// A tenant has as much under way as one may have.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "The tenant asks for too much at a time";
    /// Our fault; the log of the process says more.
    Internal = "internal-error", INTERNAL_SERVER_ERROR, "Something went wrong inside";
    /// Not now: it is starting, or the log is not available for a moment.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The service is not available for a moment";
}

/// One refusal.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<Violation>,
    /// The revision that is there.
    revision: Option<u64>,
}

/// Why a request was refused (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Body<'a> {
    /// Which kind of problem it is: never changes.
    #[schemars(extend("enum" = types()))]
    r#type: String,
    /// The same for every problem of the kind.
    title: &'a str,
    /// As the answer's.
    status: u16,
    /// A sentence for the person who asked.
    detail: &'a str,
    /// What is wrong, where.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Option<Vec<Violation>>")]
    errors: &'a [Violation],
}

fn types() -> Vec<String> {
    Kind::ALL.iter().map(|kind| format!("{TYPE_PREFIX}{}", kind.name())).collect()
}

impl Problem {
    /// With a sentence for the person who asked.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), revision: None }
    }

    /// What is wrong, field by field. It is `not-supported-yet` when nothing else is wrong.
    pub(crate) fn invalid(errors: Vec<Violation>) -> Self {
        let only_not_yet = !errors.is_empty() && errors.iter().all(|violation| violation.not_supported_yet);
        let kind = if only_not_yet { Kind::NotSupportedYet } else { Kind::InvalidRequest };
        Self::with_errors(kind, errors)
    }

    /// What cannot be, field by field.
    pub(crate) fn conflict(errors: Vec<Violation>) -> Self {
        Self::with_errors(Kind::Conflict, errors)
    }

    /// It is in this revision, or not there, and something else was expected.
    pub(crate) fn unexpected(revision: Option<u64>) -> Self {
        let detail = match revision {
            Some(revision) => format!("it is there, in the revision \"{revision}\": read it again, and decide again"),
            None => "it is not there".to_owned(),
        };
        Self { revision, ..Self::new(Kind::PreconditionFailed, detail) }
    }

    /// There is no more of `what`, such as "webhooks that are tried": for the tenant, whose limit is said, or for all.
    pub(crate) fn full(full: &Full, what: &str) -> Self {
        match full {
            Full::Own { tenant, most } => {
                let detail = format!("the tenant {tenant} may have {most} {what} at a time: ask again in a moment");
                Self::new(Kind::TooManyRequests, detail)
            }
            Full::All => Self::new(Kind::Unavailable, format!("all tenants together have too many {what}: ask again")),
        }
    }

    /// True of [`Self::unexpected`].
    pub(crate) fn is_unexpected(&self) -> bool {
        self.kind == Kind::PreconditionFailed
    }

    /// What is there, where that is the problem.
    pub(crate) fn revision(&self) -> Option<u64> {
        self.revision
    }

    /// The key would have to have this scope.
    pub(crate) fn insufficient(needed: Scope) -> Self {
        Self::new(Kind::InsufficientScope, format!("this needs a key with the scope {}", needed.as_str()))
    }

    /// There is no `what` of that name.
    pub(crate) fn not_found(what: &str, name: &str) -> Self {
        let shown: String = name.chars().take(100).collect();
        Self::new(Kind::NotFound, format!("there is no {what} {shown}"))
    }

    /// Logged here; the answer says nothing of it.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        error!(%error, "a request failed");
        Self::new(Kind::Internal, "the request failed; the log of the server says why")
    }

    fn with_errors(kind: Kind, errors: Vec<Violation>) -> Self {
        let sentence = |violation: &Violation| match violation.pointer.as_str() {
            "" => violation.detail.clone(),
            pointer => format!("{pointer} {}", violation.detail),
        };
        let detail = match errors.as_slice() {
            [one] => sentence(one),
            several => format!("{} fields are wrong", several.len()),
        };
        Self { kind, detail, errors, revision: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let body = Body {
            r#type: format!("{TYPE_PREFIX}{}", self.kind.name()),
            title: self.kind.title(),
            status: status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(revision) = self.revision {
            headers.insert(header::ETAG, etag::tag(revision));
        }
        match self.kind {
            Kind::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fpaas\""));
            }
            Kind::Unavailable | Kind::TooManyTails | Kind::TooManyRequests => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<fpaas_log::Error> for Problem {
    fn from(error: fpaas_log::Error) -> Self {
        match error {
            error if error.may_pass() => Self::new(Kind::Unavailable, "the log is not available for a moment"),
            // Between the look at the view and the look at the log it was removed.
            fpaas_log::Error::NoSuchTopic(_) => Self::new(Kind::NotFound, "it is no longer there"),
            // An operator's matter, which the sentence says.
            fpaas_log::Error::Refused(why) => Self::new(Kind::Unavailable, format!("the log refuses: {why}")),
            error => Self::internal(&error),
        }
    }
}

impl From<fpaas_state::Error> for Problem {
    fn from(error: fpaas_state::Error) -> Self {
        match error {
            fpaas_state::Error::Log(error) => error.into(),
            fpaas_state::Error::NotApplied => {
                let detail = "the change was not applied in time and may still be: ask again, it does no harm";
                Self::new(Kind::Unavailable, detail)
            }
            error @ fpaas_state::Error::Corrupt { .. } => Self::internal(&error),
        }
    }
}

/// What is behind no route.
pub(crate) async fn no_such_route(uri: http::Uri) -> Problem {
    Problem::not_found("route", uri.path())
}

/// What a route does not take.
pub(crate) async fn method_not_allowed(method: http::Method) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{method} is not a method of this route; see Allow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headings of the page are "## `name` (status)".
    #[test]
    fn the_page_of_errors_lists_exactly_what_the_code_answers() {
        let page = include_str!("../../docs/errors.md");
        let documented: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let heading = |kind: &Kind| format!("`{}` ({})", kind.name(), kind.status().as_u16());
        let coded: Vec<_> = Kind::ALL.iter().map(heading).collect();
        assert_eq!(documented, coded);
        assert!(page.contains(TYPE_PREFIX));
    }

    #[test]
    fn what_is_only_not_built_yet_is_said_to_be_so() {
        let (wrong, not_yet) = (Violation::new("/a", "is wrong"), Violation::not_yet("/b", "is not built"));
        assert_eq!(Problem::invalid(vec![not_yet.clone()]).kind, Kind::NotSupportedYet);
        assert_eq!(Problem::invalid(vec![not_yet, wrong]).kind, Kind::InvalidRequest);
    }
}
