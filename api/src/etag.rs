//! A revision as `ETag` has it.

use http::HeaderValue;

/// Its digits in quotes: a strong tag.
pub(crate) fn tag(revision: u64) -> HeaderValue {
    // Digits and quotes can always stand in a header.
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}
