//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): how a request that is sent again is known.

use axum::response::Response;
use fpaas_core::{Incarnation, Violation, hash, limits};
use fpaas_state::Once;
use http::{HeaderMap, HeaderValue, header};

use crate::problem::Problem;

const NAME: &str = "idempotency-key";
/// Of the answer to a request that is not done again.
const REPLAYED: &str = "idempotent-replayed";
const DIGITS: usize = 32;

/// What the request is called, if it is, and what it asks for: its path, its body, and, where it is about a
/// subscription, which one of that name.
pub(crate) fn of(
    headers: &HeaderMap,
    path: &str,
    body: &[u8],
    about: Option<Incarnation>,
) -> Result<Option<Once>, Problem> {
    let mut given = headers.get_all(NAME).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let graphic = key.as_bytes().iter().all(u8::is_ascii_graphic);
    let fits = (1..=limits::ONCE_KEY_BYTES_MAX).contains(&key.len());
    if !graphic || !fits || given.next().is_some() {
        let most = limits::ONCE_KEY_BYTES_MAX;
        let detail = format!("Idempotency-Key must be given once, as 1 to {most} printable ASCII characters");
        return Err(Problem::invalid(vec![Violation::new("", detail)]));
    }
    let key = hash::hex(&[key.as_bytes()], DIGITS);
    // What it depends on is part of what it asks for.
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH];
    let conditions = conditions.iter().map(|name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes));
    let about = about.map(|of| of.to_string());
    let about = about.iter().map(String::as_bytes);
    let parts: Vec<_> = [path.as_bytes(), body].into_iter().chain(about).chain(conditions).collect();
    Ok(Some(Once { key, fingerprint: hash::hex(&parts, DIGITS) }))
}

/// Says of an answer whether it is to a request that was done before.
pub(crate) fn marked(repeated: bool, mut response: Response) -> Response {
    if repeated {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
