//! `/metrics`: OpenMetrics text, pulled together when it is asked for from what the stages count anyhow.
//!
//! `docs/metrics.md` is the same list for people; a test holds the two together. Owns how numbers look, and counts
//! nothing but the API's own requests. Labels are bounded: names of code, routes of this crate, and subscriptions.

mod subscriptions;

use std::fmt;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, header};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::app::App;
use crate::auth;
use crate::family::{Family, Kind, Labels, Pulled};
use crate::params::Params;
use crate::problem::Problem;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Open to whoever can reach it where the configuration says so; otherwise with the operator's key.
pub(crate) async fn get(State(app): State<Arc<App>>, headers: HeaderMap, params: Params) -> Result<Response, Problem> {
    if !app.config.open_metrics {
        auth::operator(&app, &headers)?;
    }
    params.finish()?;
    // One at a time: a scrape reads as many positions as there are subscriptions.
    let _turn = app.scrapes.lock().await;
    let text = render(&app).await.map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

async fn render(app: &App) -> Result<String, fmt::Error> {
    let mut families = vec![build(app)];
    families.extend(app.config.sources.families());
    families.extend(subscriptions::families(app).await);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Pulled(families)));
    app.requests.register(&mut registry);
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

fn build(app: &App) -> Family {
    let labels: Labels = Arc::new([("version", app.config.version.clone()), ("commit", app.config.commit.clone())]);
    Family::new("fpaas_build", Kind::Info, "What is running").with(&labels, 1)
}

/// Around every route: counts what comes out of it.
pub(crate) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    // What is behind no route is one line, whatever its path says.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    app.requests.note(method, route, response.status(), begun.elapsed().as_secs_f64());
    response
}

/// Methods can be any word: those that no route takes are one.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
