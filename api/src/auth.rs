//! Who asks: the bearer key in front of everything under `/v1`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};

use crate::app::App;
use crate::problem::{Kind, Problem};

/// Lets the tenant in, once the view is restored: before, everything would seem not to be there.
pub(crate) async fn require(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Problem> {
    check(&app, request.headers())?;
    if !*app.ready.borrow() {
        return Err(Problem::new(Kind::Unavailable, "the server is starting: ask /readyz"));
    }
    let mut response = next.run(request).await;
    // Answers hold a tenant's data, and one of them a secret: no cache keeps them.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Is the key there, and the right one?
pub(crate) fn check(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    if bearer(headers).is_some_and(|key| app.config.key.opens(key)) {
        return Ok(());
    }
    Err(Problem::new(Kind::Unauthorized, "send the key as `Authorization: Bearer <key>`"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
