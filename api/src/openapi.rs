//! The OpenAPI 3.1 document and a page to read it on: made from the table of routes and from the very types that are
//! read and written, so that it cannot say what is not so.
//!
//! What a type cannot say of an operation (its name, its parameters, which problems it answers) stands in
//! [`operations`]. What does not work yet is not in it. Tests check every answer they get against it.

mod operation;
pub(crate) mod operations;
mod page;
mod patched;
mod schemas;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse};
use http::header;
use serde_json::{Map, Value, json};

use crate::app::{App, Served};
use crate::params::Params;
use crate::problem::{self, Problem};
pub(crate) use operation::{Described, Operation};
use schemas::Schemas;

const ABOUT: &str = "The ATProto firehose as configuration: a filter, a collector, a processor, and a topic for the \
results. Changes are answered once they are applied and durable.";

/// `/openapi.json`.
pub(crate) async fn json(State(app): State<Arc<App>>, params: Params) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    Ok(([(header::CONTENT_TYPE, "application/json")], app.served.json.as_str()))
}

/// `/docs`.
pub(crate) async fn read(State(app): State<Arc<App>>, params: Params) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    // Nothing on it comes from elsewhere, and nothing on it runs.
    let policy = [(header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'")];
    Ok((policy, Html(app.served.page.as_str())))
}

/// What is served of it.
pub(crate) fn served(document: &Value) -> Served {
    Served { json: document.to_string(), page: page::render(document) }
}

/// Of these operations.
pub(crate) fn document(operations: impl Iterator<Item = Described>) -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    let problem = schemas.answer::<problem::Body>();
    for Described { method, path, needs, describe } in operations {
        let operation = describe(Operation::new(needs, &mut schemas)).finish();
        let path = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(method.to_ascii_lowercase(), operation);
        }
    }
    let responses = operation::problem_responses(&problem);
    let (mut settled, schemas) = schemas.settle(json!({"paths": paths, "responses": responses}));
    let mut settled = |name: &str| settled.get_mut(name).map(Value::take);
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "FPaaS",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": operation::TAGS.iter().map(|(name, about)| json!({"name": name, "description": about})).collect::<Value>(),
        "paths": settled("paths"),
        "components": {
            "schemas": schemas,
            "responses": settled("responses"),
            "securitySchemes": {"key": {
                "type": "http",
                "scheme": "bearer",
                "description": "The operator's key, or a tenant's: `fpaas_<id>_<secret>`",
            }},
        },
    })
}
