//! `fpaas patch`, `pause`, `resume`, `rotate-secret`, `secret`, `public-key` and `test`: what is done to one thing.

use reqwest::Method;
use serde_json::{Value, json};

use super::render::{self, Column};
use super::show::{SUBSCRIPTIONS, segment};
use super::{Client, apply, jmespath};
use crate::args::{Act, Patch, RotateSecret, Server, ShowOne, Test};
use crate::exit::Failure;
use crate::out;

const SECRETS: &[Column] =
    &[("SECRET", "/secret"), ("PREVIOUS", "/previous/secret"), ("PREVIOUS UNTIL", "/previous/until")];
const PUBLIC_KEYS: &[Column] =
    &[("PUBLIC KEY", "/publicKey"), ("PREVIOUS", "/previous/publicKey"), ("PREVIOUS UNTIL", "/previous/until")];
const TESTED: &[Column] = &[
    ("EVENTS", "/filter/events"),
    ("MATCHED", "/filter/matched"),
    ("MATCH ERRORS", "/filter/matchErrors"),
    ("SENT", "/call/events"),
    ("STATUS", "/call/status"),
    ("OUTCOME", "/call/outcome"),
    ("RESULTS", "/call/results"),
    ("MESSAGE", "/call/message"),
];
const TRIED: &[Column] = &[
    ("ID", "/subscription/id"),
    ("STATE", "/subscription/state"),
    ("EVENTS", "/recent/events"),
    ("MATCHED", "/recent/matched"),
    ("MATCH ERRORS", "/recent/matchErrors"),
];

/// `action` is `pause` or `resume`.
pub(crate) async fn set(server: &Server, asked: &Act, action: &str) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let request = client.request(Method::POST, &format!("/v1/subscriptions/{}:{action}", segment(&asked.id)?));
    let answer = request.expecting(&asked.condition).once(&asked.once).answer().await?;
    match asked.output {
        Some(form) => render::all(form, SUBSCRIPTIONS, &[answer.value]),
        None => out::line(format_args!("subscription {} {action}d", asked.id)).map(drop),
    }
}

/// Changes what the file says, and nothing else.
pub(crate) async fn patch(server: &Server, asked: &Patch) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}", segment(&asked.id)?);
    let patch = patch_of(&apply::text(&asked.file)?);
    let patch = patch.map_err(|why| Failure::Usage(format!("{}: {why}", asked.file.display())))?;
    let client = Client::find(server)?;
    let (query, columns) = if asked.dry_run { ("?dryRun=true", TRIED) } else { ("", SUBSCRIPTIONS) };
    let request = client.request(Method::PATCH, &format!("{path}{query}")).expecting(&asked.condition);
    render::all(asked.shown.output, columns, &[request.body(Some(&patch)).answer().await?.value])
}

/// JSON is YAML, too. A text would be none.
fn patch_of(text: &str) -> Result<Value, String> {
    let mut documents = serde_norway::Deserializer::from_str(text);
    let (Some(first), None) = (documents.next(), documents.next()) else {
        return Err("must be one document".to_owned());
    };
    match apply::value(first).map_err(|error| error.to_string())? {
        patch @ Value::Object(_) => Ok(patch),
        _ => Err("must be an object with the fields that change".to_owned()),
    }
}

/// Shows both secrets.
pub(crate) async fn rotate_secret(server: &Server, rotate: &RotateSecret) -> Result<(), Failure> {
    let overlap = humantime::parse_duration(&rotate.overlap)
        .map_err(|error| Failure::Usage(format!("--overlap {}: {error}", rotate.overlap)))?;
    let overlap = u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX);
    let body = match &rotate.secret {
        Some(secret) => json!({"overlapMs": overlap, "secret": given_secret(secret)?}),
        None => json!({"overlapMs": overlap}),
    };
    let client = Client::find(server)?;
    let request = client.request(Method::POST, &format!("/v1/subscriptions/{}:rotateSecret", segment(&rotate.id)?));
    let request = request.expecting(&rotate.condition).once(&rotate.once).body(Some(&body));
    render::all(rotate.shown.output, SECRETS, &[request.answer().await?.value])
}

/// As it was typed, or a line of standard input.
pub(crate) fn given_secret(secret: &str) -> Result<String, Failure> {
    if secret != "-" {
        return Ok(secret.to_owned());
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

pub(crate) async fn secret(server: &Server, one: &ShowOne) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/secret", segment(&one.id)?);
    render::all(one.shown.output, SECRETS, &[Client::find(server)?.call(Method::GET, &path, None).await?])
}

pub(crate) async fn public_key(server: &Server, one: &ShowOne) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/publicKey", segment(&one.id)?);
    render::all(one.shown.output, PUBLIC_KEYS, &[Client::find(server)?.call(Method::GET, &path, None).await?])
}

/// As many events as a request takes.
pub(crate) async fn test(server: &Server, test: &Test) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let path = format!("/v1/subscriptions/{}:test", segment(&test.id)?);
    let events = test.file.as_deref().map(jmespath::read).transpose()?;
    let body = events.map_or_else(|| json!({"call": test.call}), |events| json!({"events": events, "call": test.call}));
    render::all(test.shown.output, TESTED, &[client.call(Method::POST, &path, Some(&body)).await?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_one_object_as_json_or_yaml() {
        let expected = json!({"collector": {"maxEvents": 5}, "output": null});
        for text in ["collector: {maxEvents: 5}\noutput: null", r#"{"collector": {"maxEvents": 5}, "output": null}"#] {
            assert_eq!(patch_of(text).unwrap(), expected, "{text}");
        }
        for text in ["", "5", "a: 1\n---\nb: 2", "a: 1\na: 2", "{"] {
            assert!(patch_of(text).is_err(), "{text:?}");
        }
    }
}
