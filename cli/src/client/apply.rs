//! `fpaas apply`: YAML documents, each one resource, put one after the other, or only compared.

use std::path::Path;

use reqwest::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::{Client, diff};
use crate::args::{Apply, Server};
use crate::exit::Failure;
use crate::out;

/// One document of the file.
#[derive(Debug)]
struct Document {
    kind: &'static str,
    id: String,
    body: Value,
}

/// What a file holds, checked as far as it can be without a server.
#[derive(Debug)]
pub(crate) struct Documents(Vec<Document>);

pub(crate) async fn run(server: &Server, apply: &Apply) -> Result<(), Failure> {
    let documents = read(&apply.file)?;
    let client = Client::find(server)?;
    if apply.dry_run { compare_all(&client, documents).await } else { put_all(&client, documents).await }
}

/// Reads all documents before the first is applied: a typo in the last one changes nothing.
pub(crate) fn read(file: &Path) -> Result<Documents, Failure> {
    let text =
        if file.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let name = file.display();
    let text = text.map_err(|error| Failure::Usage(format!("{name} cannot be read: {error}")))?;
    parse(&text).map(Documents).map_err(|why| Failure::Usage(format!("{name}: {why}")))
}

/// Puts them one after the other.
pub(crate) async fn put_all(client: &Client, documents: Documents) -> Result<(), Failure> {
    for Document { kind, id, body } in documents.0 {
        let answer = client.send(Method::PUT, &format!("/v1/{kind}s/{id}"), Some(&body)).await?;
        let done = if answer.status() == reqwest::StatusCode::CREATED { "created" } else { "updated" };
        if out::line(format_args!("{kind} {id} {done}"))?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Says of each what would change. A subscription is tried by the server, on recent events of its source, too.
async fn compare_all(client: &Client, documents: Documents) -> Result<(), Failure> {
    for document in documents.0 {
        let path = format!("/v1/{}s/{}", document.kind, document.id);
        let before = match client.call(Method::GET, &path, None).await {
            Err(Failure::NotFound(_)) => None,
            found => Some(found?),
        };
        let tried = match document.kind {
            "subscription" => client.call(Method::PUT, &format!("{path}?dryRun=true"), Some(&document.body)).await?,
            _ => Value::Null,
        };
        for line in compared(&document, before.as_ref(), &tried) {
            if out::line(line)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What the server sets by itself with every change.
const OF_THE_SERVER: [&str; 4] = ["revision", "createdAt", "updatedAt", "secret"];

fn compared(Document { kind, id, body }: &Document, before: Option<&Value>, tried: &Value) -> Vec<String> {
    let after = tried.get("subscription").unwrap_or(body);
    let changes = match before {
        None => Vec::new(),
        // A document of a topic says only what it wants: what it leaves out is as it was made.
        Some(before) => diff::lines(&own(before, after), &own(after, after)),
    };
    let would = match before {
        None => "would be created",
        Some(_) if changes.is_empty() => "stays as it is",
        Some(_) => "would change",
    };
    let mut lines = vec![format!("{kind} {id} {would}")];
    lines.extend(changes.into_iter().map(|change| format!("  {change}")));
    if let Some(recent) = tried.get("recent") {
        let number = |name: &str| recent.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (matched, events, failed) = (number("matched"), number("events"), number("matchErrors"));
        let failed = if failed == 0 { String::new() } else { format!(", its match fails for {failed}") };
        lines.push(format!("  it would have got {matched} of the {events} most recent events{failed}"));
    }
    lines
}

/// The fields of `value` that `wanted` has, without those of the server.
fn own(value: &Value, wanted: &Value) -> Value {
    let Some(fields) = value.as_object() else { return Value::Null };
    let kept = fields.iter().filter(|(name, _)| !OF_THE_SERVER.contains(&name.as_str()) && wanted.get(name).is_some());
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn parse(text: &str) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for (at, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let value = value(document).map_err(|error| format!("document {}: {error}", at + 1))?;
        // What stands behind the last `---`, or only a comment, is no document.
        if !value.is_null() {
            documents.push(resource(value).map_err(|why| format!("document {}: {why}", at + 1))?);
        }
    }
    if documents.is_empty() { Err("there is nothing in it".to_owned()) } else { Ok(documents) }
}

/// By way of YAML's own value, which refuses a key that is there twice: in JSON's, the last one would win.
fn value(document: serde_norway::Deserializer<'_>) -> Result<Value, serde_norway::Error> {
    serde_norway::from_value(serde_norway::Value::deserialize(document)?)
}

fn resource(value: Value) -> Result<Document, String> {
    const SHAPE: &str = "must be one `subscription: {…}` or one `topic: {…}`";
    let Value::Object(fields) = value else { return Err(SHAPE.to_owned()) };
    let mut fields = fields.into_iter();
    let (Some((name, mut body)), None) = (fields.next(), fields.next()) else { return Err(SHAPE.to_owned()) };
    let (kind, id_field) = match name.as_str() {
        "subscription" => ("subscription", "id"),
        "topic" => ("topic", "name"),
        _ => return Err(SHAPE.to_owned()),
    };
    let id = match body.get(id_field) {
        None | Some(Value::Null) => return Err(format!("{kind}: {id_field} is missing")),
        Some(Value::String(id)) => id,
        Some(other) => return Err(format!("{kind}: {id_field} {other} is not text: write \"{other}\" in quotes")),
    };
    // It becomes a part of the URL's path: the server says what is wrong with a name, but it must arrive as one.
    let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if id.is_empty() || !id.bytes().all(well_formed) {
        return Err(format!("{kind}: {id_field} {id:?} must be of a–z, 0–9 and -"));
    }
    let id = id.to_owned();
    if kind == "topic"
        && let Some(fields) = body.as_object_mut()
    {
        fields.remove(id_field);
    }
    Ok(Document { kind, id, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_one_resource_each() {
        let documents = parse("subscription: {id: likes}\n---\ntopic: {name: out, partitions: 2}\n---\n").unwrap();
        let shape: Vec<_> = documents.iter().map(|document| (document.kind, document.id.as_str())).collect();
        assert_eq!(shape, [("subscription", "likes"), ("topic", "out")]);
        assert_eq!(documents[1].body.to_string(), r#"{"partitions":2}"#);
    }

    #[test]
    fn what_would_change_is_said_of_each() {
        let of = |text: &str| parse(text).unwrap().remove(0);
        let topic = of("topic: {name: out, partitions: 2}");
        assert_eq!(compared(&topic, None, &Value::Null), ["topic out would be created"]);
        let same = serde_json::json!({"name": "out", "partitions": 2, "retentionMs": 5, "revision": 7});
        assert_eq!(compared(&topic, Some(&same), &Value::Null), ["topic out stays as it is"]);
        let other = serde_json::json!({"partitions": 1});
        let said = ["topic out would change", "  /partitions: 1 -> 2"];
        assert_eq!(compared(&topic, Some(&other), &Value::Null), said);
        let likes = of("subscription: {id: likes, lanes: 2}");
        let tried = serde_json::json!({"subscription": {"id": "likes", "lanes": 2, "revision": 9},
            "recent": {"events": 994, "matched": 121, "matchErrors": 3}});
        let before = serde_json::json!({"id": "likes", "lanes": 1, "revision": 8});
        let got = "  it would have got 121 of the 994 most recent events, its match fails for 3";
        let said = ["subscription likes would change", "  /lanes: 1 -> 2", got];
        assert_eq!(compared(&likes, Some(&before), &tried), said);
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        for (text, expected) in [
            ("", "there is nothing"),
            ("likes", "document 1: must be one"),
            ("subscription: {id: a}\ntopic: {name: b}", "document 1: must be one"),
            ("subscription: {id: a}\n---\nother: {}", "document 2: must be one"),
            ("subscription: {}", "subscription: id is missing"),
            ("topic: {name: }", "topic: name is missing"),
            ("subscription: {id: 123}", r#"id 123 is not text: write "123" in quotes"#),
            ("topic: {name: true}", r#"name true is not text: write "true" in quotes"#),
            ("subscription: {id: a, id: b}", r#"duplicate entry with key "id""#),
            ("subscription: {id: a}\nsubscription: {id: b}", r#"duplicate entry with key "subscription""#),
            (
                "subscription:\n  id: a\n  collector: {maxEvents: 1, maxEvents: 2}",
                r#"duplicate entry with key "maxEvents""#,
            ),
            ("subscription: {id: a, lanes: 1}\n---\ntopic: {name: b, partitions: 1, partitions: 1}", "document 2: "),
            ("subscription: {id: ../x}", "must be of"),
            ("subscription: [", "document 1"),
        ] {
            let Err(why) = parse(text) else { panic!("{text:?} was accepted") };
            assert!(why.contains(expected), "{text:?}: {why}");
        }
    }
}
