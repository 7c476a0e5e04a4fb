//! An OpenAPI 3.1 document as a contract: is this answer one that it allows?
//!
//! Owns nothing of what the document says. JSON Schema 2020-12 is checked by the `jsonschema` crate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

/// See the module's head.
#[derive(Debug)]
pub struct Contract {
    document: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// What was asked, and what came back.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// `GET` and so on.
    pub method: &'a str,
    /// With its query, if it has one.
    pub path: &'a str,
    /// Of the answer.
    pub status: u16,
    /// Of the answer.
    pub content_type: Option<&'a str>,
    /// The names of the answer's headers, in lower case.
    pub headers: Vec<&'a str>,
    /// Of the answer.
    pub body: &'a [u8],
}

/// Headers that are about how an answer comes, and not about what it says: they are not documented.
const TRANSPORT: [&str; 9] = [
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "trailer",
    "transfer-encoding",
    "vary",
];

impl Contract {
    /// Of a document.
    pub fn new(document: Value) -> Self {
        Self { document, validators: Mutex::default() }
    }

    /// What of the answer is not as the document says.
    pub fn check(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let Exchange { method, path, status, .. } = exchange;
        self.checked(exchange).map_err(|why| format!("{method} {path} was answered {status}: {why}"))
    }

    /// A part of an answer is what a schema of the document's components says, such as an event of a tail.
    pub fn part(&self, schema: &str, value: &Value) -> Result<(), String> {
        let whole = json!({"$ref": format!("#/components/schemas/{schema}")});
        let body = serde_json::to_vec(value).map_err(|error| error.to_string())?;
        self.valid(schema, &whole, "application/json", &body).map_err(|error| format!("{schema}: {error}"))
    }

    fn checked(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let path = exchange.path.split('?').next().unwrap_or_default();
        let Some((template, methods)) = self.template(path) else { return self.refused(exchange) };
        let method = if exchange.method == "HEAD" { "GET" } else { exchange.method };
        let Some(operation) = methods.get(method.to_ascii_lowercase()) else { return self.refused(exchange) };
        let responses = operation.get("responses").unwrap_or(&Value::Null);
        let found = responses.get(exchange.status.to_string()).ok_or("no such status is documented")?;
        let response = match found.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).ok_or("a broken reference")?,
            None => found,
        };
        headers(exchange, response)?;
        if exchange.method == "HEAD" {
            return Ok(());
        }
        let Some(content) = response.get("content").and_then(Value::as_object) else {
            let empty = exchange.body.is_empty();
            return if empty { Ok(()) } else { Err("it has a body, and none is documented".to_owned()) };
        };
        let sent = exchange.content_type.unwrap_or_default();
        let essence = sent.split(';').next().unwrap_or_default().trim();
        let media = content.get(essence).ok_or_else(|| format!("the content type {sent:?} is not documented"))?;
        let name = format!("{template} {method} {} {essence}", exchange.status);
        self.valid(&name, media.get("schema").unwrap_or(&Value::Bool(true)), essence, exchange.body)
    }

    /// What is behind no operation is one of these problems.
    fn refused(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let name = match exchange.status {
            401 => "unauthorized",
            404 => "not-found",
            405 => "method-not-allowed",
            503 => "unavailable",
            _ => return Err("no such operation is documented".to_owned()),
        };
        let response = self.document.pointer(&format!("/components/responses/{name}"));
        headers(exchange, response.unwrap_or(&Value::Null))?;
        if exchange.method == "HEAD" {
            return Ok(());
        }
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        self.valid("problem", &schema, "application/problem+json", exchange.body)
    }

    /// The path of the document that `path` is one of, the one with the longest literal text.
    fn template(&self, path: &str) -> Option<(&str, &Value)> {
        let paths = self.document.get("paths")?.as_object()?;
        let matching = paths.iter().filter(|(template, _)| matches(template, path));
        let literal = |template: &str| template.split(['{', '}']).step_by(2).map(str::len).sum::<usize>();
        matching.max_by_key(|(template, _)| literal(template)).map(|(template, methods)| (template.as_str(), methods))
    }

    fn valid(&self, name: &str, schema: &Value, media_type: &str, body: &[u8]) -> Result<(), String> {
        if !media_type.ends_with("json") {
            return std::str::from_utf8(body).map(|_| ()).map_err(|error| error.to_string());
        }
        let value: Value = serde_json::from_slice(body).map_err(|error| format!("its body is no JSON: {error}"))?;
        let validator = self.validator(name, schema)?;
        let found: Vec<_> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if found.is_empty() { Ok(()) } else { Err(format!("{}\n{value:#}", found.join("\n"))) }
    }

    fn validator(&self, name: &str, schema: &Value) -> Result<Arc<Validator>, String> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = validators.get(name) {
            return Ok(Arc::clone(validator));
        }
        let whole = json!({"components": self.document.get("components"), "allOf": [schema]});
        let built = jsonschema::options().should_validate_formats(true).build(&whole);
        let validator = Arc::new(built.map_err(|error| format!("the schema is none: {error}"))?);
        validators.insert(name.to_owned(), Arc::clone(&validator));
        Ok(validator)
    }
}

/// Every header that says something is documented.
fn headers(exchange: &Exchange<'_>, response: &Value) -> Result<(), String> {
    let documented = response.get("headers").and_then(Value::as_object);
    let is_known = |name: &str| documented.is_some_and(|all| all.keys().any(|known| known.eq_ignore_ascii_case(name)));
    let unknown = exchange.headers.iter().find(|name| !TRANSPORT.contains(name) && !is_known(name));
    unknown.map_or(Ok(()), |name| Err(format!("the header {name} is not documented")))
}

/// Is it what the schema says?
pub fn is_valid(schema: &Value, value: &Value) -> bool {
    jsonschema::is_valid(schema, value)
}

/// `{name}` stands for what is between two slashes, up to an action behind a colon.
fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if segment(wanted, given) => {}
            _ => return false,
        }
    }
}

fn segment(wanted: &str, given: &str) -> bool {
    let Some((before, rest)) = wanted.split_once('{') else { return wanted == given };
    let after = rest.split_once('}').map_or("", |(_, after)| after);
    given.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        let thing = json!({"type": "object", "required": ["id"], "additionalProperties": false,
            "properties": {"id": {"type": "string"}}});
        let answer = json!({"description": "", "content": {"application/json":
            {"schema": {"$ref": "#/components/schemas/Thing"}}}, "headers": {"ETag": {}}});
        Contract::new(json!({
            "paths": {
                "/things/{id}": {"get": {"responses": {"200": answer, "304": {"description": ""}}}},
                "/things/{id}:go": {"post": {"responses": {"204": {"description": ""}}}},
            },
            "components": {
                "schemas": {"Thing": thing, "Problem": {"required": ["type"]}},
                "responses": {"method-not-allowed": {"headers": {"Allow": {}}}},
            },
        }))
    }

    fn check(method: &str, path: &str, status: u16, content_type: Option<&str>, body: &str) -> bool {
        checked(method, path, status, content_type, &[], body)
    }

    fn checked(method: &str, path: &str, status: u16, content_type: Option<&str>, more: &[&str], body: &str) -> bool {
        let headers = ["date", "content-type"].iter().chain(more).copied().collect();
        let exchange = Exchange { method, path, status, content_type, headers, body: body.as_bytes() };
        contract().check(&exchange).is_ok()
    }

    #[test]
    fn a_header_that_is_documented_passes_and_any_other_does_not() {
        let (json, problem) = (Some("application/json"), Some("application/problem+json"));
        assert!(checked("GET", "/things/a", 200, json, &["etag"], r#"{"id":"a"}"#));
        assert!(checked("POST", "/things/a", 405, problem, &["allow"], r#"{"type":"x"}"#));
        for (method, path, status, header) in [
            ("GET", "/things/a", 200, "location"),
            ("HEAD", "/things/a", 200, "location"),
            ("GET", "/things/a", 304, "etag"),
            ("POST", "/things/a", 404, "allow"),
        ] {
            let body = if status == 404 { r#"{"type":"x"}"# } else { r#"{"id":"a"}"# };
            let body = if status == 304 { "" } else { body };
            let content_type = if status == 404 { problem } else { json };
            assert!(checked(method, path, status, content_type, &[], body), "{method} {path} {status}");
            assert!(!checked(method, path, status, content_type, &[header], body), "{method} {path} {status} {header}");
        }
    }

    #[test]
    fn a_part_is_of_a_schema_of_the_document() {
        let contract = contract();
        assert_eq!(contract.part("Thing", &json!({"id": "a"})), Ok(()));
        assert!(contract.part("Thing", &json!({"id": 1})).is_err());
        assert!(contract.part("Nothing", &json!({})).is_err());
    }

    #[test]
    fn an_answer_that_is_documented_passes_and_any_other_does_not() {
        let json = Some("application/json");
        assert!(check("GET", "/things/a?x=1", 200, json, r#"{"id":"a"}"#));
        assert!(check("GET", "/things/a", 304, None, ""));
        assert!(check("HEAD", "/things/a", 200, json, ""));
        assert!(check("POST", "/things/a:go", 204, None, ""));
        assert!(check("POST", "/things/a", 405, Some("application/problem+json"), r#"{"type":"x"}"#));
        for (method, path, status, content_type, body) in [
            ("GET", "/things/a", 201, json, r#"{"id":"a"}"#),
            ("GET", "/things/a", 200, json, r#"{"id":1}"#),
            ("GET", "/things/a", 200, json, r#"{"id":"a","more":1}"#),
            ("GET", "/things/a", 200, json, "{"),
            ("GET", "/things/a", 200, Some("text/plain"), r#"{"id":"a"}"#),
            ("GET", "/things/a", 304, None, "x"),
            ("POST", "/things/a:go", 200, json, "{}"),
            ("GET", "/others", 200, json, "{}"),
            ("GET", "/others", 404, json, "{}"),
        ] {
            assert!(!check(method, path, status, content_type, body), "{method} {path} {status} {body}");
        }
    }
}
