//! `fpaas delete`, `delete-topic`, `pause`, `resume`, `rotate-secret`, `secret` and `test`: what is done to one thing.

use reqwest::Method;
use serde_json::json;

use super::show::segment;
use super::{Client, jmespath, render};
use crate::args::{DeleteTopic, Form, One, RotateSecret, Server, Test};
use crate::exit::Failure;
use crate::out;

pub(crate) async fn delete(server: &Server, one: &One) -> Result<(), Failure> {
    let client = Client::find(server)?;
    client.send(Method::DELETE, &format!("/v1/subscriptions/{}", segment(&one.id)?), None).await?;
    out::line(format_args!("subscription {} deleted", one.id)).map(drop)
}

/// `action` is `pause` or `resume`.
pub(crate) async fn set(server: &Server, one: &One, action: &str) -> Result<(), Failure> {
    let client = Client::find(server)?;
    client.send(Method::POST, &format!("/v1/subscriptions/{}:{action}", segment(&one.id)?), None).await?;
    out::line(format_args!("subscription {} {action}d", one.id)).map(drop)
}

/// Shows both secrets.
pub(crate) async fn rotate_secret(server: &Server, rotate: &RotateSecret) -> Result<(), Failure> {
    let overlap = humantime::parse_duration(&rotate.overlap)
        .map_err(|error| Failure::Usage(format!("--overlap {}: {error}", rotate.overlap)))?;
    let client = Client::find(server)?;
    let path = format!("/v1/subscriptions/{}:rotateSecret", segment(&rotate.id)?);
    let body = json!({"overlapMs": u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX)});
    render::all(Form::Json, &[], &[client.call(Method::POST, &path, Some(&body)).await?])
}

pub(crate) async fn secret(server: &Server, one: &One) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/secret", segment(&one.id)?);
    render::all(Form::Json, &[], &[Client::find(server)?.call(Method::GET, &path, None).await?])
}

pub(crate) async fn delete_topic(server: &Server, topic: &DeleteTopic) -> Result<(), Failure> {
    let client = Client::find(server)?;
    client.send(Method::DELETE, &format!("/v1/topics/{}", segment(&topic.name)?), None).await?;
    out::line(format_args!("topic {} deleted", topic.name)).map(drop)
}

/// As many events as a request takes.
pub(crate) async fn test(server: &Server, test: &Test) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let path = format!("/v1/subscriptions/{}:test", segment(&test.id)?);
    let events = test.file.as_deref().map(jmespath::read).transpose()?;
    let body = events.map_or_else(|| json!({"call": test.call}), |events| json!({"events": events, "call": test.call}));
    render::all(Form::Json, &[], &[client.call(Method::POST, &path, Some(&body)).await?])
}
