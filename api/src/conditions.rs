//! Headers that make a request depend on a revision: refused until they are kept.

use fpaas_core::Violation;
use http::{HeaderMap, header};

use crate::problem::Problem;

/// Until revisions can be compared, whoever asks for it must not believe that they were.
pub(crate) fn refuse(headers: &HeaderMap) -> Result<(), Problem> {
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];
    let found = conditions.iter().filter(|name| headers.contains_key(*name));
    let found: Vec<_> = found.map(|name| Violation::not_yet("", format!("{name} is not supported yet"))).collect();
    if found.is_empty() { Ok(()) } else { Err(Problem::invalid(found)) }
}
