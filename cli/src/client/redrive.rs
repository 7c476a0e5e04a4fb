//! `fpaas redrive`: begins to deliver dead letters again, says how far that has come, ends it.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Client;
use super::render::{self, Column};
use super::replay::done;
use super::show::segment;
use crate::args::{Redrive, Server};
use crate::exit::Failure;
use crate::out;

const REDRIVES: &[Column] = &[
    ("STATE", "/state"),
    ("STARTED", "/startedAt"),
    ("PROGRESS", "/progress"),
    ("REDRIVEN", "/redriven"),
    ("REMAINING", "/remaining"),
    ("EVENTS PER SECOND", "/eventsPerSecond"),
];

pub(crate) async fn run(server: &Server, asked: &Redrive) -> Result<(), Failure> {
    let (client, id) = (Client::find(server)?, segment(&asked.id)?);
    let at = format!("/v1/subscriptions/{id}/redrive");
    if asked.cancel {
        client.call(Method::DELETE, &at, None).await?;
        return out::line(format_args!("the redrive of {id} is cancelled")).map(drop);
    }
    let mut redrive = if asked.show {
        client.call(Method::GET, &at, None).await?
    } else {
        let request = client.request(Method::POST, &format!("/v1/subscriptions/{id}:redrive"));
        request.expecting(&asked.condition).once(&asked.once).body(Some(&body(asked))).answer().await?.value
    };
    if asked.wait {
        redrive = done(&client, "redrive", id, redrive).await?;
    }
    render::all(asked.shown.output, REDRIVES, &[redrive])
}

fn body(asked: &Redrive) -> Value {
    let reasons = (!asked.reasons.is_empty()).then_some(&asked.reasons);
    let all = json!({
        "from": asked.from,
        "to": asked.to,
        "reasons": reasons,
        "eventsPerSecond": asked.rate,
    });
    let fields = all.as_object().cloned().unwrap_or_default();
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
}
