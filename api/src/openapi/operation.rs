//! One operation of the document, put together from its route and from what is said of it.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use crate::auth::Needs;
use crate::problem::Kind;

/// What operations are grouped by.
pub(super) const TAGS: &[(&str, &str)] = &[
    ("Subscriptions", "What is wanted of a source, how it is grouped, and where it goes."),
    ("Topics", "Records that are kept: the firehose, and results."),
    ("JMESPath", "Trying expressions."),
    ("Keys", "What opens the API for a tenant."),
    ("Tenants", "The operator's alone."),
    ("Node", "How a node is."),
];

/// An operation that is still to be said everything of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) needs: Needs,
    pub(crate) describe: for<'s> fn(Operation<'s>) -> Operation<'s>,
}

/// See the module's head.
pub(crate) struct Operation<'s> {
    schemas: &'s mut Schemas,
    needs: Needs,
    fields: Map<String, Value>,
    parameters: Vec<Value>,
    answers: Map<String, Value>,
    /// Of answers with statuses that begin like this: a header's name, and what it is.
    headers: Vec<(&'static str, &'static str, Value)>,
    problems: BTreeSet<u16>,
}

impl<'s> Operation<'s> {
    pub(super) fn new(needs: Needs, schemas: &'s mut Schemas) -> Self {
        let (fields, parameters, answers, headers) = (Map::new(), Vec::new(), Map::new(), Vec::new());
        let operation = Self { schemas, needs, fields, parameters, answers, headers, problems: BTreeSet::new() };
        operation.guarded()
    }

    /// What its key has to do with it.
    fn guarded(mut self) -> Self {
        let (security, problems): (Value, &[Kind]) = match self.needs {
            Needs::Nothing => (json!([]), &[Kind::InvalidRequest]),
            Needs::Metrics => {
                (json!([{}, {"key": []}]), &[Kind::InvalidRequest, Kind::Unauthorized, Kind::NotFound, Kind::Internal])
            }
            _ => (json!([{"key": []}]), GUARDED),
        };
        self.fields.insert("security".to_owned(), security);
        let mut operation = self.problems(problems);
        if matches!(operation.needs, Needs::Scope(_) | Needs::Change) {
            operation = operation.problems(&[Kind::InsufficientScope]);
            operation = operation.header("FPaaS-Tenant", "With the operator's key: the tenant that it is about", false);
        }
        operation
    }

    /// Its name for programs, the group it is in, and what it does.
    pub(super) fn named(mut self, id: &str, tag: &str, summary: &str) -> Self {
        self.fields.insert("operationId".to_owned(), id.into());
        self.fields.insert("tags".to_owned(), json!([tag]));
        self.fields.insert("summary".to_owned(), summary.into());
        self
    }

    /// What else there is to say, as Markdown.
    pub(super) fn about(mut self, text: &str) -> Self {
        self.fields.insert("description".to_owned(), text.into());
        self
    }

    /// A name in its path.
    pub(super) fn names<T: JsonSchema>(self, name: &str, example: &str) -> Self {
        let schema = self.schemas.request::<T>();
        self.parameter(json!({"name": name, "in": "path", "required": true, "schema": schema, "example": example}))
    }

    /// A parameter of its query.
    pub(super) fn query(self, name: &str, schema: Value, about: &str) -> Self {
        self.parameter(json!({"name": name, "in": "query", "description": about, "schema": schema}))
    }

    fn header(self, name: &str, about: &str, quoted: bool) -> Self {
        // What is no header, or names no tenant, is refused: a fuzzer that makes texts up learns that from the pattern.
        let pattern = if quoted { r#"^(\*|"[0-9]+"(, ?"[0-9]+")*)$"# } else { "^[a-z0-9][a-z0-9-]{0,62}$" };
        let schema = json!({"type": "string", "pattern": pattern});
        self.parameter(json!({"name": name, "in": "header", "description": about, "schema": schema}))
    }

    /// A header of its own.
    pub(super) fn sends(self, name: &str, schema: Value, about: &str) -> Self {
        self.parameter(json!({"name": name, "in": "header", "description": about, "schema": schema}))
    }

    fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// `limit` and `cursor`.
    pub(super) fn paged(self) -> Self {
        let most = fpaas_core::limits::PAGE_ITEMS_MAX;
        let limit = json!({"type": "integer", "minimum": 1, "maximum": most, "default": 100});
        self.query("limit", limit, "The most items of a page").query(
            "cursor",
            json!({"type": "string", "pattern": "^[A-Za-z0-9_-]*$"}),
            "Of the page before this one",
        )
    }

    /// It can depend on the revision that is there.
    pub(super) fn conditional(self) -> Self {
        self.header("If-Match", "The `ETag` that the change is based on, or `*`", true)
            .header("If-None-Match", "`*`: only where it is not there yet", true)
            .problems(&[Kind::PreconditionFailed])
    }

    /// Nothing is sent again to whoever has it.
    pub(super) fn cached(mut self) -> Self {
        self.answers.insert("304".to_owned(), json!({"description": "It is still as `If-None-Match` says"}));
        self.headers.push(("304", "ETag", etag()));
        self.header("If-None-Match", "The `ETag` that is known", true)
            .header("If-Match", "The `ETag` that is expected", true)
            .problems(&[Kind::PreconditionFailed])
    }

    /// It is done once, however often it is sent.
    pub(super) fn repeatable(self) -> Self {
        let schema = json!({"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"});
        let about = "Of your choice: sent again within a day with the same request, that is not done again";
        self.sends("Idempotency-Key", schema, about).problems(&[Kind::IdempotencyKeyReused])
    }

    /// JSON that is sent, and an example that works.
    pub(super) fn takes<T: JsonSchema>(self, required: bool, example: &Value) -> Self {
        self.takes_as::<T>(&["application/json"], required, example)
    }

    /// The same under several names.
    pub(super) fn takes_as<T: JsonSchema>(mut self, media_types: &[&str], required: bool, example: &Value) -> Self {
        let schema = self.schemas.request::<T>();
        let media = json!({"schema": schema, "example": example});
        let content: Map<_, _> = media_types.iter().map(|name| ((*name).to_owned(), media.clone())).collect();
        self.fields.insert("requestBody".to_owned(), json!({"required": required, "content": content}));
        let body = [
            Kind::RequestTimeout,
            Kind::ContentTooLarge,
            Kind::UnsupportedMediaType,
            Kind::NotSupportedYet,
            Kind::TooManyRequests,
        ];
        self.problems(&body)
    }

    /// An answer of JSON.
    pub(super) fn answers<T: JsonSchema>(self, status: u16, about: &str) -> Self {
        let schema = json!(self.schemas.answer::<T>());
        self.gives(status, about, "application/json", &schema)
    }

    /// How a type looks in answers.
    pub(super) fn answer_schema<T: JsonSchema>(&mut self) -> Schema {
        self.schemas.answer::<T>()
    }

    /// An answer of anything else.
    pub(super) fn gives(mut self, status: u16, about: &str, media_type: &str, schema: &Value) -> Self {
        let content = json!({media_type: {"schema": schema}});
        self.answers.insert(status.to_string(), json!({"description": about, "content": content}));
        self
    }

    /// An answer without a body.
    pub(super) fn done(mut self, about: &str) -> Self {
        self.answers.insert("204".to_owned(), json!({"description": about}));
        self
    }

    /// Answers that have succeeded say which revision it is.
    pub(super) fn tagged(self) -> Self {
        self.heads("2", "ETag", etag())
    }

    /// Those to a request that was done before say so.
    pub(super) fn marked(self) -> Self {
        let about = "There where it was done before, when the same request was sent with this `Idempotency-Key`";
        self.heads("2", "Idempotent-Replayed", json!({"description": about, "schema": {"const": "true"}}))
    }

    /// What is new has a place.
    pub(super) fn located(self) -> Self {
        let schema = json!({"type": "string", "format": "uri-reference"});
        self.heads("201", "Location", json!({"description": "Where it is", "schema": schema}))
    }

    /// A header of those answers whose statuses begin like this.
    pub(super) fn heads(mut self, statuses: &'static str, name: &'static str, header: Value) -> Self {
        self.headers.push((statuses, name, header));
        self
    }

    /// What it may refuse besides what every operation does.
    pub(super) fn problems(mut self, kinds: &[Kind]) -> Self {
        self.problems.extend(kinds.iter().map(|kind| kind.status().as_u16()));
        self
    }

    pub(super) fn finish(self) -> Value {
        let Self { mut fields, parameters, mut answers, headers, problems, .. } = self;
        for (statuses, name, header) in headers {
            for (_, answer) in answers.iter_mut().filter(|(status, _)| status.starts_with(statuses)) {
                let Some(answer) = answer.as_object_mut() else { continue };
                let known = answer.entry("headers").or_insert_with(|| json!({}));
                known.as_object_mut().into_iter().for_each(|known| drop(known.insert(name.to_owned(), header.clone())));
            }
        }
        for status in problems {
            let reference = json!({"$ref": format!("#/components/responses/{}", name_of(status))});
            answers.entry(status.to_string()).or_insert(reference);
        }
        if !parameters.is_empty() {
            fields.insert("parameters".to_owned(), parameters.into());
        }
        fields.insert("responses".to_owned(), answers.into());
        fields.into()
    }
}

/// What everything behind a key may answer.
const GUARDED: &[Kind] = &[Kind::InvalidRequest, Kind::Unauthorized, Kind::NotFound, Kind::Internal, Kind::Unavailable];

fn etag() -> Value {
    json!({"description": "The revision, in quotes", "schema": {"type": "string", "pattern": "^\"[0-9]+\"$"}})
}

fn name_of(status: u16) -> String {
    let kinds: Vec<_> = Kind::ALL.iter().filter(|kind| kind.status() == status).map(|kind| kind.name()).collect();
    kinds.join("-or-")
}

/// The answers that are problems, by the names of their kinds.
pub(super) fn problem_responses(schema: &Schema) -> Value {
    let statuses: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.status().as_u16()).collect();
    let response = |&status: &u16| {
        let kinds: Vec<_> = Kind::ALL.iter().filter(|kind| kind.status() == status).collect();
        let titles: Vec<_> = kinds.iter().map(|kind| format!("`{}`: {}", kind.name(), kind.title())).collect();
        let content = json!({"application/problem+json": {"schema": schema}});
        let headers = headers_of(status).unwrap_or_else(|| json!({}));
        (name_of(status), json!({"description": titles.join("; "), "content": content, "headers": headers}))
    };
    statuses.iter().map(response).collect::<Map<_, _>>().into()
}

fn headers_of(status: u16) -> Option<Value> {
    let header = |name: &str, about: &str| json!({name: {"description": about, "schema": {"type": "string"}}});
    match status {
        405 => Some(header("Allow", "The methods that it takes")),
        412 => Some(json!({"ETag": etag()})),
        401 => Some(header("WWW-Authenticate", "`Bearer`")),
        429 | 503 => Some(header("Retry-After", "Seconds")),
        _ => None,
    }
}
