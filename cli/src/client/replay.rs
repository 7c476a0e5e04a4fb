//! `fpaas replay`: begins a replay, says how far it has come, ends it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::Client;
use super::render::{self, Column};
use super::show::segment;
use crate::args::{Replay, Server};
use crate::exit::Failure;
use crate::out;

const REPLAYS: &[Column] = &[
    ("STATE", "/state"),
    ("STARTED", "/startedAt"),
    ("PROGRESS", "/progress"),
    ("EVENTS PER SECOND", "/eventsPerSecond"),
];

/// How often it is asked how far it has come.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn run(server: &Server, asked: &Replay) -> Result<(), Failure> {
    let (client, id) = (Client::find(server)?, segment(&asked.id)?);
    let at = format!("/v1/subscriptions/{id}/replay");
    if asked.cancel {
        client.call(Method::DELETE, &at, None).await?;
        return out::line(format_args!("the replay of {id} is cancelled")).map(drop);
    }
    let mut replay = if asked.show {
        client.call(Method::GET, &at, None).await?
    } else {
        let request = client.request(Method::POST, &format!("/v1/subscriptions/{id}:replay"));
        request.expecting(&asked.condition).once(&asked.once).body(Some(&body(asked))).answer().await?.value
    };
    if asked.wait {
        replay = done(&client, "replay", id, replay).await?;
    }
    render::all(asked.shown.output, REPLAYS, &[replay])
}

/// What is said of a replay or redrive once it has delivered all of it; meanwhile, how far it is.
pub(super) async fn done(client: &Client, what: &str, id: &str, mut found: Value) -> Result<Value, Failure> {
    let begun = found.get("startedAt").cloned();
    while !is_done(what, id, &found, begun.as_ref())? {
        eprintln!("{}", progress(id, &found));
        tokio::time::sleep(LOOK).await;
        found = client.call(Method::GET, &format!("/v1/subscriptions/{id}/{what}"), None).await?;
    }
    Ok(found)
}

/// True where the one that was begun then has delivered all of it. It fails where that one is over otherwise.
fn is_done(what: &str, id: &str, found: &Value, begun: Option<&Value>) -> Result<bool, Failure> {
    let state = found.get("state").and_then(Value::as_str);
    if matches!(state, Some("ended" | "cancelled")) || found.get("startedAt") != begun {
        let why = "it was cancelled, or another one has followed it; how far it came is not known";
        return Err(Failure::Changed(format!("the {what} of {id} is over before it was seen to be done: {why}")));
    }
    Ok(state == Some("done"))
}

fn body(asked: &Replay) -> Value {
    let all = json!({
        "from": asked.from,
        "to": asked.to,
        "partition": asked.partition,
        "fromOffset": asked.from_offset,
        "toOffset": asked.to_offset,
        "eventsPerSecond": asked.rate,
    });
    let fields = all.as_object().cloned().unwrap_or_default();
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<serde_json::Map<_, _>>().into()
}

fn progress(id: &str, replay: &Value) -> String {
    let percent = replay.get("progress").and_then(Value::as_f64).unwrap_or_default() * 100.0;
    let state = replay.get("state").and_then(Value::as_str).unwrap_or_default();
    format!("{id}: {percent:.0} %, {state}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_replay_is_not_taken_for_the_one_that_is_waited_for() {
        let (mine, other) = (json!("2026-11-23T21:00:00.000Z"), json!("2026-11-23T21:00:01.000Z"));
        let shown = |state: &str, at: &Value| json!({"state": state, "startedAt": at});
        for (replay, done) in [
            (shown("running", &mine), Some(false)),
            (shown("paused", &mine), Some(false)),
            (shown("done", &mine), Some(true)),
            (shown("ended", &mine), None),
            (shown("cancelled", &mine), None),
            (shown("running", &other), None),
            (shown("done", &other), None),
        ] {
            let said = is_done("replay", "likes", &replay, Some(&mine));
            assert_eq!(said.as_ref().ok().copied(), done, "{replay}");
            assert!(said.err().is_none_or(|failure| failure.code() == 79), "{replay}");
        }
    }

    #[test]
    fn how_far_it_has_come_is_a_line() {
        assert_eq!(progress("likes", &json!({"progress": 0.256, "state": "running"})), "likes: 26 %, running");
    }
}
