//! A file as documents, each one resource: what can be said of it without a server.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::Value;

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Topic,
    Subscription,
}

/// One document of the file.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) body: Value,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Subscription => "subscription",
        }
    }
}

impl Document {
    pub(super) fn path(&self) -> String {
        format!("/v1/{}s/{}", self.kind.as_str(), self.id)
    }

    /// A text of the body.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer)?.as_str()
    }
}

/// Topics come first, since subscriptions read and write them; otherwise they stay in their order, so that one may read
/// what another writes.
pub(super) fn parse(text: &str) -> Result<Vec<Document>, String> {
    let mut documents: Vec<Document> = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let at = at + 1;
        let value = value(document).map_err(|error| format!("document {at}: {error}"))?;
        // What stands behind the last `---`, or only a comment, is no document.
        if value.is_null() {
            continue;
        }
        let document = resource(value).map_err(|why| format!("document {at}: {why}"))?;
        if !seen.insert((document.kind, document.id.clone())) {
            return Err(format!("document {at}: the {} {} is there twice", document.kind.as_str(), document.id));
        }
        documents.push(document);
    }
    documents.sort_by_key(|document| document.kind);
    if documents.is_empty() { Err("there is nothing in it".to_owned()) } else { Ok(documents) }
}

/// By way of YAML's own value, which refuses a key that is there twice: in JSON's, the last one would win.
pub(in crate::client) fn value(document: serde_norway::Deserializer<'_>) -> Result<Value, serde_norway::Error> {
    serde_norway::from_value(serde_norway::Value::deserialize(document)?)
}

fn resource(value: Value) -> Result<Document, String> {
    const SHAPE: &str = "must be one `subscription: {…}` or one `topic: {…}`";
    let Value::Object(fields) = value else { return Err(SHAPE.to_owned()) };
    let mut fields = fields.into_iter();
    let (Some((name, mut body)), None) = (fields.next(), fields.next()) else { return Err(SHAPE.to_owned()) };
    let (kind, id_field) = match name.as_str() {
        "subscription" => (Kind::Subscription, "id"),
        "topic" => (Kind::Topic, "name"),
        _ => return Err(SHAPE.to_owned()),
    };
    let id = match body.get(id_field) {
        None | Some(Value::Null) => return Err(format!("{name}: {id_field} is missing")),
        Some(Value::String(id)) => id,
        Some(other) => return Err(format!("{name}: {id_field} {other} is not text: write \"{other}\" in quotes")),
    };
    // It becomes a part of the URL's path: the server says what is wrong with a name, but it must arrive as one.
    let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if id.is_empty() || !id.bytes().all(well_formed) {
        return Err(format!("{name}: {id_field} {id:?} must be of a–z, 0–9 and -"));
    }
    let id = id.to_owned();
    if let (Kind::Topic, Some(fields)) = (kind, body.as_object_mut()) {
        fields.remove(id_field);
    }
    Ok(Document { kind, id, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_one_resource_each_and_topics_come_first() {
        let text =
            "subscription: {id: likes}\n---\nsubscription: {id: a}\n---\ntopic: {name: out, partitions: 2}\n---\n";
        let documents = parse(text).unwrap();
        let shape: Vec<_> = documents.iter().map(|document| (document.kind, document.id.as_str())).collect();
        assert_eq!(shape, [(Kind::Topic, "out"), (Kind::Subscription, "likes"), (Kind::Subscription, "a")]);
        assert_eq!(documents[0].body.to_string(), r#"{"partitions":2}"#);
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        for (text, expected) in [
            ("", "there is nothing"),
            ("likes", "document 1: must be one"),
            ("subscription: {id: a}\ntopic: {name: b}", "document 1: must be one"),
            ("subscription: {id: a}\n---\nother: {}", "document 2: must be one"),
            ("subscription: {id: a}\n---\nsubscription: {id: a}", "document 2: the subscription a is there twice"),
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
