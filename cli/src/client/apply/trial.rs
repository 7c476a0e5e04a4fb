//! What would come of a document: the server is asked, which tries it and changes nothing (`?dryRun=true`).
//!
//! In a dry run nothing of the file is there when the next document is tried. What earlier ones would make is taken as
//! there, and what could not be tried for that reason is said.

use std::collections::BTreeMap;

use fpaas_core::TopicName;
use fpaas_core::subscription::{Processor, Secret, Subscription};
use fpaas_core::topic::TopicSettings;
use reqwest::Method;
use serde_json::{Value, json};

use super::report::{Done, Outcome};
use super::{Answer, Client, Document, Kind};
use crate::client::diff::{self, Change, HEADERS, MASK};
use crate::client::show::segment;
use crate::exit::Failure;

const SECRET: &str = "/processor/webhook/secret";

/// One pass over a file.
#[derive(Debug)]
pub(super) struct Trial<'c> {
    client: &'c Client,
    /// True where nothing is put.
    is_dry: bool,
    /// False where the server's defaults are those of this program: it is not asked for them.
    asks: bool,
    /// Topics that earlier documents would make, by what Kafka cannot tell apart.
    made: BTreeMap<String, String>,
}

/// What the server says a document would be.
#[derive(Debug, Default)]
struct Tried {
    after: Value,
    recent: Option<Value>,
    notes: Vec<String>,
}

impl<'c> Trial<'c> {
    /// For documents that are put afterwards.
    pub(super) fn real(client: &'c Client) -> Self {
        Self { client, is_dry: false, asks: true, made: BTreeMap::new() }
    }

    /// For documents that a node is given, which is this program: nothing of them is tried.
    pub(super) fn none(client: &'c Client) -> Self {
        Self { asks: false, ..Self::real(client) }
    }

    /// For documents that are not.
    pub(super) fn dry(client: &'c Client) -> Self {
        Self { is_dry: true, ..Self::real(client) }
    }

    /// What would come of the next document of a file of which nothing is put.
    pub(super) async fn tried(&mut self, mut document: Document) -> Result<Done, Failure> {
        let before = self.client.find_one(&document.path()).await?;
        if document.kind == Kind::Topic {
            self.check_name("/name", &document.id)?;
        }
        let done = self.compared(&mut document, before.as_ref()).await?;
        if before.is_none() && document.kind == Kind::Topic {
            self.made.insert(collision_key(&document.id), document.id);
        }
        Ok(done)
    }

    /// What would change. The document becomes what is to be put.
    pub(super) async fn compared(&mut self, document: &mut Document, before: Option<&Answer>) -> Result<Done, Failure> {
        let before = before.map(|before| &before.value);
        let kept = before.and_then(|before| keep_state(document, before));
        let said = before.filter(|_| !self.is_dry).and_then(|before| said(document, before));
        let is_known = said.is_some();
        let Tried { mut after, recent, notes } = match (document.kind, before) {
            // What is there already does not have to be tried.
            (_, Some(before)) if said.as_ref().is_some_and(|said| diff::changes(before, said).is_empty()) => {
                Tried { after: before.clone(), ..Tried::default() }
            }
            // What this program cannot read is put all the same: the server says what is wrong with it.
            (_, Some(_)) if !self.asks => Tried { after: said.unwrap_or_default(), ..Tried::default() },
            (Kind::Topic, _) => self.topic(document).await?,
            (Kind::Subscription, _) => self.subscription(document, before.is_none()).await?,
        };
        let mut done = Done::new(document, self.is_dry, Outcome::Created);
        (done.recent, done.notes) = (recent.filter(|_| self.is_dry), notes);
        done.notes.extend(kept);
        if let Some(before) = before {
            done.notes.extend(forget_start(document, before, &mut after));
            // What was not tried is compared as far as the document says something.
            let of_it = if after.is_null() { own(before, &document.body) } else { before.clone() };
            done.changes = diff::changes(&of_it, if after.is_null() { &document.body } else { &after });
            self.compare_headers(document, before, &mut done);
            self.compare_secrets(document, &mut done).await?;
            let is_same = done.changes.is_empty() && (self.asks || is_known);
            done.outcome = if is_same { Outcome::Unchanged } else { Outcome::Updated };
        }
        Ok(done)
    }

    async fn topic(&self, document: &Document) -> Result<Tried, Failure> {
        match self.put_dry(&document.path(), &document.body).await {
            Ok(after) => Ok(Tried { after, ..Tried::default() }),
            Err(Failure::Key(why)) if self.is_dry => {
                Ok(Tried { notes: vec![format!("it could not be tried: {why}")], ..Tried::default() })
            }
            Err(why) => Err(why),
        }
    }

    async fn subscription(&mut self, document: &Document, is_new: bool) -> Result<Tried, Failure> {
        let source = document.text("/source/topic").filter(|name| is_new && self.would_make(name));
        let mut body = document.body.clone();
        if let (Some(topic), true) = (body.pointer_mut("/source/topic"), source.is_some()) {
            // Everything about it can be tried but what it would get of that topic.
            *topic = json!(TopicName::FIREHOSE);
        }
        let mut tried = self.put_dry(&document.path(), &body).await?;
        let mut part = |name: &str| tried.get_mut(name).map(Value::take);
        let (mut after, mut recent) = (part("subscription").unwrap_or_default(), part("recent"));
        let mut notes = Vec::new();
        if let Some(source) = source {
            after.pointer_mut("/source/topic").into_iter().for_each(|topic| *topic = json!(source));
            recent = None;
            notes.push(format!("its filter could not be tried: its source {source} is still to be made by this file"));
        }
        if self.is_dry {
            notes.extend(self.try_output(&after).await?);
        }
        Ok(Tried { after, recent, notes })
    }

    /// The topic that would be made with a subscription.
    async fn try_output(&mut self, after: &Value) -> Result<Option<String>, Failure> {
        let Some(name) = after.pointer("/output/topic").and_then(Value::as_str) else { return Ok(None) };
        let path = format!("/v1/topics/{}", segment(name)?);
        if self.would_make(name) || self.client.find_one(&path).await?.is_some() {
            return Ok(None);
        }
        self.check_name("/output/topic", name)?;
        match self.put_dry(&path, &json!({})).await {
            Ok(_) => {
                self.made.insert(collision_key(name), name.to_owned());
                Ok(None)
            }
            Err(Failure::Key(why)) => Ok(Some(format!("its output topic {name} could not be tried: {why}"))),
            Err(why) => Err(why.saying(format!("its output topic {name}: {why}"))),
        }
    }

    async fn put_dry(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.client.call(Method::PUT, &format!("{path}?dryRun=true"), Some(body)).await
    }

    /// A key that may only read is shown masks. Whether what is there is what the document says is found out by putting
    /// it, which such a key may not.
    fn compare_headers(&self, document: &Document, before: &Value, done: &mut Done) {
        for name in unseen(document, before) {
            let pointer = format!("{HEADERS}/{}", diff::escaped(name));
            if done.changes.iter().any(|change| change.pointer == pointer) {
                continue;
            }
            if self.is_dry {
                done.notes.push(format!("its header {name} could not be compared: this key is not shown its value"));
            } else {
                done.changes.push(Change::hidden(&pointer));
            }
        }
    }

    /// A secret is shown nowhere but where it is asked for.
    async fn compare_secrets(&self, document: &Document, done: &mut Done) -> Result<(), Failure> {
        let Some(given) = document.text(SECRET) else { return Ok(()) };
        let given = Secret::parse(given).map_or_else(|_| given.to_owned(), |secret| secret.reveal());
        match self.client.call(Method::GET, &format!("{}/secret", document.path()), None).await {
            Ok(there) if there.get("secret").is_some_and(|secret| *secret == given) => {}
            Ok(_) => done.changes.push(Change::hidden(SECRET)),
            Err(Failure::Key(why)) if self.is_dry => {
                done.notes.push(format!("its secret could not be compared: {why}"));
            }
            Err(why) => return Err(why),
        }
        Ok(())
    }

    fn would_make(&self, name: &str) -> bool {
        self.made.get(&collision_key(name)).is_some_and(|made| made == name)
    }

    /// As the server would say it, were the earlier document applied.
    fn check_name(&self, pointer: &str, name: &str) -> Result<(), Failure> {
        match self.made.get(&collision_key(name)).filter(|made| *made != name) {
            Some(other) => Err(Failure::Conflict(format!(
                "{pointer}: this file makes the topic {other}: names that differ only in . and _ cannot both exist"
            ))),
            None => Ok(()),
        }
    }
}

/// What the document says, with the defaults that this program knows. Where that is not what is there, another server
/// may know others. None where this program cannot read it.
fn said(document: &Document, before: &Value) -> Option<Value> {
    let body = document.body.clone();
    let mut said = match document.kind {
        Kind::Topic => serde_json::to_value(serde_json::from_value::<TopicSettings>(body).ok()?).ok()?,
        Kind::Subscription => serde_json::to_value(shown(serde_json::from_value(body).ok()?)?).ok()?,
    };
    // What a topic's name is stands in the path.
    let name = before.get("name").filter(|_| document.kind == Kind::Topic);
    for (field, value) in [("name", name), ("startFrom", before.get("startFrom"))] {
        if let (Some(fields), Some(value)) = (said.as_object_mut(), value) {
            fields.insert(field.to_owned(), value.clone());
        }
    }
    Some(said)
}

/// As it is given back. A certificate has one key: where it is the same, its key is, too. None where the key is of
/// another one.
fn shown(mut said: Subscription) -> Option<Subscription> {
    if let Some(Processor::Webhook(webhook)) = &mut said.processor {
        webhook.secret = None;
        if let Some(certificate) = &mut webhook.client_certificate {
            let is_right = certificate.identity().is_none_or(|own| own.certified().is_ok());
            certificate.private_key = is_right.then_some(None)?;
        }
    }
    Some(said)
}

/// A document that says nothing of the state leaves it as it is: that it is paused was somebody's decision.
fn keep_state(document: &mut Document, before: &Value) -> Option<String> {
    let state = before.get("state").filter(|state| *state == "paused" && document.body.get("state").is_none())?;
    document.body.as_object_mut()?.insert("state".to_owned(), state.clone());
    Some("it stays paused: the file says nothing of its state".to_owned())
}

/// Headers of which a mask is there, and the document has a value.
fn unseen<'d>(document: &'d Document, before: &Value) -> Vec<&'d str> {
    let there = before.pointer(HEADERS);
    let is_masked = |name: &str| there.and_then(|there| there.get(name)).is_some_and(|value| value == MASK);
    let said = document.body.pointer(HEADERS).and_then(Value::as_object).into_iter().flatten();
    said.filter(|(name, value)| *value != MASK && is_masked(name)).map(|(name, _)| name.as_str()).collect()
}

/// Where it starts was read when it was made, and does not change any more.
fn forget_start(document: &Document, before: &Value, after: &mut Value) -> Option<String> {
    let started = before.get("startFrom")?;
    *after.get_mut("startFrom")? = started.clone();
    let asked = document.body.get("startFrom").filter(|asked| *asked != started)?;
    Some(format!("its startFrom stays {started}: {asked} would have counted when it was made"))
}

/// The fields of `value` that `wanted` has.
fn own(value: &Value, wanted: &Value) -> Value {
    let fields = value.as_object().into_iter().flatten().filter(|(name, _)| wanted.get(name).is_some());
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn collision_key(name: &str) -> String {
    TopicName::parse(name).map_or_else(|_| name.to_owned(), |name| name.collision_key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::apply::documents::parse;

    fn document(text: &str) -> Document {
        parse(text).unwrap().remove(0)
    }

    #[test]
    fn a_pause_stays_where_the_file_says_nothing_of_it_and_ends_where_it_does() {
        let before = json!({"id": "likes", "state": "paused"});
        let mut silent = document("subscription: {id: likes}");
        assert!(keep_state(&mut silent, &before).unwrap().contains("stays paused"));
        assert_eq!(silent.body["state"], "paused");
        let mut active = document("subscription: {id: likes, state: active}");
        assert_eq!(keep_state(&mut active, &before), None);
        assert_eq!(active.body["state"], "active");
        let mut other = document("subscription: {id: likes}");
        assert_eq!(keep_state(&mut other, &json!({"state": "active"})), None);
        assert_eq!(other.body.get("state"), None);
    }

    #[test]
    fn where_it_starts_is_compared_with_nothing_and_another_place_is_said_to_be_too_late() {
        let before = json!({"startFrom": "earliest"});
        for (text, said) in [
            ("subscription: {id: a}", None),
            ("subscription: {id: a, startFrom: earliest}", None),
            ("subscription: {id: a, startFrom: latest}", Some("its startFrom stays \"earliest\": \"latest\" would")),
        ] {
            let mut after = json!({"startFrom": "latest"});
            let note = forget_start(&document(text), &before, &mut after);
            assert_eq!(after, before, "{text}");
            assert!(said.map_or(note.is_none(), |said| note.as_ref().unwrap().starts_with(said)), "{text}: {note:?}");
        }
    }

    #[test]
    fn a_header_of_which_a_mask_is_there_was_not_seen() {
        let before = json!({"processor": {"webhook": {"headers": {"x-a": "***", "x-b": "***", "x-c": "c"}}}});
        let text = "subscription: {id: a, processor: {webhook: {headers: {x-a: a, x-b: '***', x-c: d, x-d: d}}}}";
        assert_eq!(unseen(&document(text), &before), ["x-a"]);
        assert!(unseen(&document("subscription: {id: a}"), &before).is_empty());
    }

    fn says(document: &Document, before: &Value) -> bool {
        said(document, before).is_some_and(|said| diff::changes(before, &said).is_empty())
    }

    #[test]
    fn what_a_document_says_is_known_without_the_server_where_that_is_what_is_there() {
        let settings = json!({"name": "out", "partitions": 2, "retentionMs": 604_800_000, "retentionBytes": null,
            "compacted": false});
        assert!(says(&document("topic: {name: out, partitions: 2}"), &settings));
        assert!(!says(&document("topic: {name: out}"), &settings));
        let text = "subscription: {id: a, startFrom: latest, processor: {webhook: {url: http://a.example/, \
                    secret: whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}}}";
        let mut there: Subscription = serde_json::from_value(document(text).body).unwrap();
        there.start_from = serde_json::from_value(json!("earliest")).unwrap();
        let Some(Processor::Webhook(webhook)) = &mut there.processor else { panic!("no webhook") };
        webhook.secret = None;
        let there = serde_json::to_value(there).unwrap();
        assert!(says(&document(text), &there));
        assert!(!says(&document(&text.replace("id: a,", "id: a, lanes: 2,")), &there));
        // A field that this program does not know is for the server to judge.
        assert!(!says(&document(&text.replace("id: a,", "id: a, later: 2,")), &there));
        let mut newer = there.clone();
        newer["later"] = json!(2);
        assert!(!says(&document(text), &newer));
    }

    #[test]
    fn what_could_not_be_tried_is_compared_as_far_as_it_says_something() {
        let before = json!({"name": "out", "partitions": 2, "retentionMs": 5});
        assert_eq!(own(&before, &json!({"partitions": 3})), json!({"partitions": 2}));
    }
}
