//! Headers that make a request depend on a revision (RFC 9110 section 13): what a change expects to find, and whether a
//! reader has it already.

use axum::response::{IntoResponse as _, Response};
use fpaas_core::{Violation, limits};
use fpaas_state::Expects;
use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::etag::tag;
use crate::problem::{Kind, Problem};

/// What a change expects of the resource. Whether it holds is decided where the change is applied.
pub(crate) fn expects(headers: &HeaderMap) -> Result<Expects, Problem> {
    if headers.contains_key(header::IF_UNMODIFIED_SINCE) {
        return refuse(
            &header::IF_UNMODIFIED_SINCE,
            "is not taken, as a second may hold several changes: send If-Match",
        );
    }
    match (Tags::of(headers, &header::IF_MATCH)?, Tags::of(headers, &header::IF_NONE_MATCH)?) {
        (None, None) => Ok(Expects::Anything),
        (Some(Tags::Any), None) => Ok(Expects::Present),
        (Some(Tags::These(revisions)), None) => Ok(Expects::OneOf(revisions)),
        (None, Some(Tags::Any)) => Ok(Expects::Absent),
        (None, Some(Tags::These(revisions))) => Ok(Expects::NoneOf(revisions)),
        (Some(_), Some(_)) => refuse(&header::IF_NONE_MATCH, "cannot be sent beside If-Match"),
    }
}

/// The answer to a reader, or that it has it already: 304, and 412 where it expects another. What nobody can change has
/// no revision.
pub(crate) fn answer(
    headers: &HeaderMap,
    revision: Option<u64>,
    whole: impl FnOnce() -> Response,
) -> Result<Response, Problem> {
    let is = |revisions: &[u64]| revision.is_some_and(|revision| revisions.contains(&revision));
    if let Some(Tags::These(expected)) = Tags::of(headers, &header::IF_MATCH)?
        && !is(&expected)
    {
        let none = || Problem::new(Kind::PreconditionFailed, "it has no revision, since nobody can change it");
        return Err(revision.map_or_else(none, |revision| Problem::unexpected(Some(revision))));
    }
    let known = match Tags::of(headers, &header::IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(known)) => is(&known),
    };
    match revision {
        Some(revision) if known => Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag(revision))]).into_response()),
        None if known => Ok(StatusCode::NOT_MODIFIED.into_response()),
        _ => Ok(whole()),
    }
}

enum Tags {
    /// `*`.
    Any,
    /// Those of them that can be ours.
    These(Vec<u64>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut revisions = Vec::new();
        let mut lines = headers.get_all(name).iter().peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        let mut count = 0;
        for line in lines {
            let Ok(line) = line.to_str() else { return refuse(name, "is not made of entity tags") };
            if line.trim() == "*" {
                return Ok(Some(Self::Any));
            }
            for tag in line.split(',').map(str::trim) {
                count += 1;
                if count > limits::API_TAGS_MAX {
                    return refuse(name, format!("names more than {} entity tags", limits::API_TAGS_MAX));
                }
                let Some(quoted) = strip(tag) else {
                    return refuse(name, "must be entity tags such as \"7\", with their quotes, or *");
                };
                revisions.extend(quoted.parse::<u64>());
            }
        }
        Ok(Some(Self::These(revisions)))
    }
}

/// What is in the quotes. We make no weak tags: one is somebody's on the way, who has weakened ours.
fn strip(tag: &str) -> Option<&str> {
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    let quoted = strong.strip_prefix('"')?.strip_suffix('"')?;
    (!quoted.contains('"')).then_some(quoted)
}

fn refuse<T>(name: &HeaderName, detail: impl std::fmt::Display) -> Result<T, Problem> {
    Err(Problem::invalid(vec![Violation::new("", format!("the header {name} {detail}"))]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_a_change_expects_is_what_its_headers_say() {
        let (matching, none) = (header::IF_MATCH, header::IF_NONE_MATCH);
        for (lines, expected) in [
            (vec![], Expects::Anything),
            (vec![(matching.clone(), "*")], Expects::Present),
            (vec![(none.clone(), "*")], Expects::Absent),
            (vec![(matching.clone(), "\"7\"")], Expects::OneOf(vec![7])),
            (vec![(matching.clone(), "\"7\", W/\"8\""), (matching.clone(), "\"x\"")], Expects::OneOf(vec![7, 8])),
            (vec![(matching.clone(), "\"of-another-server\"")], Expects::OneOf(vec![])),
            (vec![(none.clone(), "\"7\"")], Expects::NoneOf(vec![7])),
        ] {
            assert_eq!(expects(&headers(&lines)).unwrap(), expected, "{lines:?}");
        }
        for wrong in [
            vec![(matching.clone(), "7")],
            vec![(matching.clone(), "")],
            vec![(matching.clone(), "\"7")],
            vec![(matching.clone(), "*"), (none, "*")],
            vec![(header::IF_UNMODIFIED_SINCE, "Sat, 29 Oct 1994 19:43:31 GMT")],
        ] {
            assert!(expects(&headers(&wrong)).is_err(), "{wrong:?}");
        }
        let many = vec![(matching, "\"1\""); limits::API_TAGS_MAX + 1];
        assert!(expects(&headers(&many)).is_err());
    }

    #[test]
    fn who_has_a_revision_already_is_told_so() {
        let status = |lines: &[_]| {
            let answer = answer(&headers(lines), Some(3), || StatusCode::OK.into_response());
            answer.into_response().status().as_u16()
        };
        let (matching, none) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(status(&[]), 200);
        assert_eq!(status(&[(none.clone(), "\"2\", \"3\"")]), 304);
        assert_eq!(status(&[(none.clone(), "*")]), 304);
        assert_eq!(status(&[(none, "\"4\"")]), 200);
        assert_eq!(status(&[(matching.clone(), "\"3\"")]), 200);
        assert_eq!(status(&[(matching, "\"4\"")]), 412);
    }

    #[test]
    fn what_has_no_revision_is_read_under_the_same_conditions() {
        let status = |name: &HeaderName, value: &'static str| {
            let answer = answer(&headers(&[(name.clone(), value)]), None, || StatusCode::OK.into_response());
            answer.into_response().status().as_u16()
        };
        for (value, matching, none) in [("*", 200, 304), ("\"4\"", 412, 200), ("{}", 400, 400)] {
            assert_eq!(status(&header::IF_MATCH, value), matching, "{value}");
            assert_eq!(status(&header::IF_NONE_MATCH, value), none, "{value}");
        }
    }
}
