//! A request's body: JSON, of a bounded size, in a bounded time.

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use fpaas_core::limits;
use futures_util::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::caller::Caller;
use crate::problem::{Kind, Problem};
use crate::share::Share;

/// What is read and thrown away of a body that is too large, so that its sender gets to read the answer.
const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What more room is made of.
const GROWTH_BYTES: usize = 64 * 1024;

/// Reads it whole.
pub(crate) async fn read(request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    read_parts(&parts, body).await
}

/// The same of a request whose head is needed afterwards.
pub(crate) async fn read_parts(parts: &Parts, body: Body) -> Result<Bytes, Problem> {
    Ok(read_kept(parts, body).await?.0)
}

/// The same of one that waits for its turn with it: what it takes is counted until the second part is dropped.
pub(crate) async fn read_kept(parts: &Parts, body: Body) -> Result<(Bytes, Option<Share>), Problem> {
    check_headers(&parts.headers)?;
    let share = parts.extensions.get::<Caller>().map(|caller| caller.app.bodies.of(&caller.tenant));
    let collected = tokio::time::timeout(limits::API_BODY_WAIT, collect(body, share)).await;
    collected.map_err(|_| {
        let seconds = limits::API_BODY_WAIT.as_secs();
        Problem::new(Kind::RequestTimeout, format!("the body did not arrive within {seconds} s"))
    })?
}

/// A body of which nothing is said is taken as JSON, and so is what `curl -d` calls a form without being told.
fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail| Err(Problem::new(Kind::UnsupportedMediaType, detail));
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if essence.is_some_and(|essence| !is_json(&essence)) {
        return refuse("send the body as JSON, with `Content-Type: application/json`");
    }
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refuse("send the body as it is, without Content-Encoding");
    }
    Ok(())
}

fn is_json(essence: &str) -> bool {
    matches!(essence, "application/json" | "text/json" | "application/x-www-form-urlencoded")
        || essence.ends_with("+json")
}

/// What it takes is counted in `share`.
async fn collect(body: Body, mut share: Option<Share>) -> Result<(Bytes, Option<Share>), Problem> {
    let (mut chunks, mut whole, mut seen) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Kind::InvalidRequest, "the body broke off"))?;
        seen += chunk.len();
        if seen <= limits::API_BODY_BYTES_MAX {
            if let Some(share) = &mut share {
                let grown = share.grow(chunk.len());
                grown.map_err(|full| Problem::full(&full, "bytes of bodies that arrive"))?;
            }
            // Never twice as much as there is.
            if whole.capacity() - whole.len() < chunk.len() {
                whole.reserve_exact(chunk.len().max(GROWTH_BYTES));
            }
            whole.extend_from_slice(&chunk);
        } else if seen > DISCARD_BYTES_MAX {
            break;
        }
    }
    if seen > limits::API_BODY_BYTES_MAX {
        let detail = format!("the body must be at most {} bytes", limits::API_BODY_BYTES_MAX);
        return Err(Problem::new(Kind::ContentTooLarge, detail));
    }
    Ok((whole.into(), share))
}
