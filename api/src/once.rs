//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): how a request that is sent again is known.

use fpaas_core::{Violation, hash, limits};
use fpaas_state::Once;
use http::{HeaderMap, HeaderValue, header};

use crate::problem::Problem;

const NAME: &str = "idempotency-key";
const DIGITS: usize = 32;

/// What the request is called, if it is, and what it asks for: its path and its body.
pub(crate) fn of(headers: &HeaderMap, path: &str, body: &[u8]) -> Result<Option<Once>, Problem> {
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
    let parts: Vec<_> = [path.as_bytes(), body].into_iter().chain(conditions).collect();
    Ok(Some(Once { key, fingerprint: hash::hex(&parts, DIGITS) }))
}
