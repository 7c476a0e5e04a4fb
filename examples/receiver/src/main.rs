//! A webhook receiver to start from: checks the signature, remembers what it has answered, answers one record per like.
//!
//! ```text
//! receiver --secret whsec_… [--listen 127.0.0.1:8787] [--fail-once-after SECONDS] [--journal FILE]
//! ```
//!
//! It prints its address and serves until Ctrl-C. `--journal` writes one JSON object per call to a file, `-` for
//! standard output. `--fail-once-after` answers one 503, that long after the first call: to see a retry.

mod answers;
mod arguments;
mod journal;
mod likes;
mod signature;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;

use answers::Answers;
use arguments::Arguments;
use journal::{Entry, Journal};

/// Above the largest batch, which is 6 MiB of events and what wraps them.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

struct Receiver {
    secret: String,
    fail_once_after: Option<Duration>,
    calls: Mutex<Calls>,
    journal: Journal,
}

#[derive(Default)]
struct Calls {
    answers: Answers,
    first: Option<Instant>,
    failed: bool,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("receiver: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the address is what the caller needs")]
async fn run() -> Result<(), Failure> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let receiver = Arc::new(Receiver {
        journal: Journal::open(arguments.journal.as_deref())?,
        secret: arguments.secret,
        fail_once_after: arguments.fail_once_after,
        calls: Mutex::default(),
    });
    let listener = TcpListener::bind(&arguments.listen).await?;
    println!("receiver is up at http://{}/", listener.local_addr()?);
    let routes = Router::new().route("/", post(receive)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    axum::serve(listener, routes.with_state(receiver)).with_graceful_shutdown(asked_to_stop()).await?;
    Ok(())
}

async fn asked_to_stop() {
    // An error means that signals cannot be had: then only a kill ends it.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One call. Nothing of the body is believed before the signature was checked.
async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    let signed = signature::verify(&receiver.secret, &headers, &body, now());
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let (status, answer) = match &signed {
        Ok(()) => receiver.answer(id, &body),
        Err(_) => (StatusCode::UNAUTHORIZED, String::new()),
    };
    receiver.journal.write(&Entry { id, body: &body, signed, status: status.as_u16() });
    (status, [(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

impl Receiver {
    /// The same answer for the same id, however often it is asked.
    fn answer(&self, id: &str, body: &[u8]) -> (StatusCode, String) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.fails_now(self.fail_once_after) {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        if let Some(known) = calls.answers.get(id) {
            return (StatusCode::OK, known.to_owned());
        }
        let Some(records) = likes::records(body) else { return (StatusCode::BAD_REQUEST, String::new()) };
        let answer = records.to_string();
        calls.answers.put(id, &answer);
        (StatusCode::OK, answer)
    }
}

impl Calls {
    fn fails_now(&mut self, after: Option<Duration>) -> bool {
        let first = *self.first.get_or_insert_with(Instant::now);
        let due = after.is_some_and(|after| first.elapsed() >= after);
        due && !std::mem::replace(&mut self.failed, due)
    }
}

/// Seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the one place of this program that asks what time it is")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
