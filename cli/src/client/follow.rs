//! `fpaas tap --follow`: the tail of a topic, which is a stream of server-sent events (HTML Living Standard, section
//! 9.2) whose data are the items. Where it breaks off, it goes on behind the last event that was shown.

use std::ops::ControlFlow;
use std::time::Duration;

use fpaas_core::limits;
use reqwest::{Method, Response};
use tokio::time::{Instant, sleep, timeout};

use super::Client;
use super::tap::Out;
use crate::exit::Failure;

/// The server says every so often that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(3 * limits::TAIL_HEARTBEAT.as_secs());
/// Between two tries, which grows.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Who is away for longer is not waited for.
const AWAY_MAX: Duration = Duration::from_secs(300);

/// A tail, and what was seen of it.
struct Tail<'c> {
    client: &'c Client,
    path: &'c str,
    topic: &'c str,
    /// The id of the last event: where it goes on.
    last: Option<String>,
}

/// Until nobody wants more.
pub(super) async fn run(client: &Client, path: &str, topic: &str, out: &mut Out) -> Result<(), Failure> {
    let mut tail = Tail { client, path, topic, last: None };
    let mut answer = tail.open().await?;
    while let ControlFlow::Continue(why) = tail.read(answer, out).await? {
        answer = tail.open_again(why).await?;
    }
    Ok(())
}

impl Tail<'_> {
    async fn open(&self) -> Result<Response, Failure> {
        let request = self.client.request(Method::GET, self.path).header("last-event-id", self.last.as_deref());
        let silent = |_| Failure::NotNow("the server does not answer".to_owned());
        timeout(SILENCE_MAX, request.stream()).await.map_err(silent)?
    }

    /// Tries for a while, and says so. What the server refuses is not tried again.
    async fn open_again(&self, mut why: String) -> Result<Response, Failure> {
        let (until, mut wait) = (Instant::now() + AWAY_MAX, WAIT_MIN);
        loop {
            let (topic, next) = (self.topic, humantime::format_duration(wait));
            eprintln!("fpaas: the tail of {topic} has broken off: {why}; trying again in {next}");
            sleep(wait).await;
            match self.open().await {
                Ok(answer) => {
                    eprintln!("fpaas: the tail of {topic} goes on behind the last record");
                    return Ok(answer);
                }
                Err(failure @ (Failure::Unreachable(_) | Failure::NotNow(_))) if Instant::now() < until => {
                    why = failure.to_string();
                }
                Err(failure) => return Err(failure),
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// To its end: why, where more is wanted.
    async fn read(&mut self, mut answer: Response, out: &mut Out) -> Result<ControlFlow<(), String>, Failure> {
        let mut events = Events::default();
        while !out.is_enough() {
            let chunk = match timeout(SILENCE_MAX, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(ControlFlow::Continue("the server has ended it".to_owned())),
                Ok(Err(error)) => return Ok(ControlFlow::Continue(error.to_string())),
                Err(_) => return Ok(ControlFlow::Continue("the server says nothing any more".to_owned())),
            };
            for event in events.of(&chunk) {
                self.show(event, out)?;
            }
        }
        Ok(ControlFlow::Break(()))
    }

    fn show(&mut self, event: Event, out: &mut Out) -> Result<(), Failure> {
        match (event.kind.as_str(), &event.data) {
            (_, None) => {}
            ("" | "message", Some(item)) if !out.is_enough() => out.print(item)?,
            ("lost", Some(what)) => eprintln!("fpaas: records of {} are lost to this tail: {what}", self.topic),
            // Another kind is for programs that know it.
            _ => {}
        }
        self.last = event.id.or(self.last.take());
        Ok(())
    }
}

/// One event; those without data move the place on and say nothing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    kind: String,
    id: Option<String>,
    data: Option<String>,
}

/// Bytes as they come to events.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    event: Event,
}

impl Events {
    /// Those that end in these bytes.
    fn of(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut found = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            match line.trim_end_matches('\r') {
                "" => found.extend(Some(std::mem::take(&mut self.event)).filter(|event| *event != Event::default())),
                line => self.event.take(line),
            }
        }
        found
    }
}

impl Event {
    fn take(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (name, &mut self.data) {
            ("event", _) => value.clone_into(&mut self.kind),
            ("id", _) => self.id = Some(value.to_owned()),
            ("data", Some(data)) => data.push_str(&format!("\n{value}")),
            ("data", none) => *none = Some(value.to_owned()),
            // Comments say that it is alive; `retry` is for browsers.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, id: Option<&str>, data: Option<&str>) -> Event {
        Event { kind: kind.to_owned(), id: id.map(str::to_owned), data: data.map(str::to_owned) }
    }

    #[test]
    fn events_are_the_same_however_their_bytes_arrive() {
        let text = ": tail\nid: 0-0\n\nid:1-0\ndata: {\"a\":1}\n\n:\n\nevent: lost\r\nid: 5-0\r\ndata: {\"n\":\r\ndata: 4}\r\n\r\ndata";
        let expected = [
            event("", Some("0-0"), None),
            event("", Some("1-0"), Some("{\"a\":1}")),
            event("lost", Some("5-0"), Some("{\"n\":\n4}")),
        ];
        for size in [1, 3, 1000] {
            let mut events = Events::default();
            let found: Vec<_> = text.as_bytes().chunks(size).flat_map(|chunk| events.of(chunk)).collect();
            assert_eq!(found, expected, "{size}");
        }
    }
}
