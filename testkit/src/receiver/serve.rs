//! Connections: read a request, do what the script says.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body;
use super::calls::{Call, Calls};
use super::http::{self, Head, Requests};
use super::script::Answer;
use super::signature;

/// Takes connections until the shutdown.
pub(super) async fn accept(listener: TcpListener, calls: Arc<Calls>, tasks: TaskTracker, shutdown: CancellationToken) {
    let mut connection = 0;
    while let Some(Ok((stream, _))) = shutdown.run_until_cancelled(listener.accept()).await {
        let (calls, shutdown) = (Arc::clone(&calls), shutdown.clone());
        tasks.spawn(async move {
            // A connection that breaks is what many tests are about; what came is in `calls`.
            drop(shutdown.run_until_cancelled(requests(stream, connection, &calls)).await);
        });
        connection += 1;
    }
}

async fn requests(stream: TcpStream, connection: u64, calls: &Calls) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut requests = Requests::new(read);
    while let Some(head) = requests.head().await? {
        if !one(&mut requests, &mut write, &head, connection, calls).await? {
            break;
        }
    }
    Ok(())
}

/// One call; whether the connection goes on.
async fn one(
    requests: &mut Requests<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
    head: &Head,
    connection: u64,
    calls: &Calls,
) -> Result<bool> {
    let (number, answer) = calls.begin(|answer| call(head, connection, answer));
    if answer == Answer::CutRequest {
        return Ok(false);
    }
    let body = requests.body(head).await?;
    let signature = check(calls.secret(), head, &body);
    calls.update(number, |call| {
        call.signature = signature;
        call.body = Some(body.clone());
    });
    let events = body::events(head.get("content-type"), head.get("content-encoding"), &body).unwrap_or_default();
    let goes_on = reply(write, answer, &events).await?;
    calls.update(number, |call| call.answered = goes_on);
    Ok(goes_on)
}

fn call(head: &Head, connection: u64, answer: Answer) -> Call {
    Call {
        at: Instant::now(),
        connection,
        id: head.get("webhook-id").unwrap_or_default().to_owned(),
        headers: head.headers.clone(),
        body: None,
        signature: Err("the body was not read".to_owned()),
        answer,
        answered: false,
    }
}

fn check(secret: &str, head: &Head, body: &[u8]) -> Result<(), String> {
    let header = |name: &str| head.get(name).ok_or_else(|| format!("{name} is missing"));
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    signature::verify(secret, id, timestamp, body, header("webhook-signature")?).map_err(str::to_owned)
}

/// Whether the answer was written whole.
async fn reply(write: &mut OwnedWriteHalf, answer: Answer, events: &[Value]) -> Result<bool> {
    match answer {
        Answer::Records => write.write_all(&records(events)).await?,
        Answer::NoContent => write.write_all(&http::answer(204, b"")).await?,
        Answer::Status(status) => write.write_all(&http::answer(status, b"")).await?,
        Answer::Garbage => write.write_all(&http::answer(200, b"{\"records\": [<html>")).await?,
        Answer::Slow(wait) => {
            tokio::time::sleep(wait).await;
            write.write_all(&records(events)).await?;
        }
        Answer::Hang(wait) => {
            tokio::time::sleep(wait).await;
            return Ok(false);
        }
        Answer::CutAnswer => {
            let whole = records(events);
            write.write_all(whole.get(..whole.len() / 2).unwrap_or_default()).await?;
            return Ok(false);
        }
        Answer::CutRequest => return Ok(false),
    }
    Ok(true)
}

/// One record per event: its repo is the key; the value names it, and a header is there to be kept.
fn records(events: &[Value]) -> Vec<u8> {
    let records: Vec<_> = events.iter().map(record).collect();
    http::answer(200, json!({ "records": records }).to_string().as_bytes())
}

fn record(event: &Value) -> Value {
    let of = |pointer: &str| event.pointer(pointer).cloned().unwrap_or_default();
    let value = json!({"id": of("/id"), "subject": of("/event/commit/record/subject/uri")});
    json!({"key": of("/event/did"), "value": value, "headers": {"by": "receiver"}})
}
