//! `fpaas verify-receiver` against a receiver with one fault at a time: it finds that one, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use fpaas_testkit::process::program;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::SECRET;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    NoCheck,
    NoComparison,
    FailsWhereItRefuses,
    HeadersAreOptional,
    NoOld,
    NoFuture,
    NoSkew,
    FirstSignatureOnly,
    RemembersBeforeItChecks,
    FailsAt(usize),
    Known,
    NoRepeats,
    OneAtATime,
    AnotherAnswer,
    CommitsOnly,
    RecordsOnly,
    NoNull,
    JsonOnly,
    PlainTextOnly,
    KnownFieldsOnly,
    BodiesUpTo(usize),
    Impatient,
    TakesGet,
    Html,
    Garbage,
    NamesStrangers,
    Endless,
    Slow,
    Hangs,
    Closes,
    Redirects,
}

const FORGED: [&str; 8] = [
    "bad-signature",
    "malformed-signature",
    "other-secret",
    "other-body",
    "other-id",
    "missing-headers",
    "old-timestamp",
    "future-timestamp",
];
const OF_ONE: &[&str] =
    &["batch-of-1", "nothing-to-do", "clock-skew", "two-signatures", "forged-first", "deletion", "unknown-fields"];
const OF_THREE: &[&str] = &["batch-of-3", "repeat", "repeat-under-way", "other-kinds"];

/// A fault, what is wrong for it, and what only deserves a warning.
fn faults() -> Vec<(Fault, Vec<&'static str>, Vec<&'static str>)> {
    let mib = 1024 * 1024;
    let valid = [OF_ONE, OF_THREE, &["batch-of-100", "tombstone", "unicode", "large-1m", "slow-upload"]].concat();
    vec![
        (Fault::None, vec![], vec![]),
        (Fault::NoCheck, FORGED.to_vec(), vec![]),
        (
            Fault::NoComparison,
            FORGED
                .iter()
                .filter(|of| {
                    !["malformed-signature", "missing-headers", "old-timestamp", "future-timestamp"].contains(of)
                })
                .copied()
                .collect(),
            vec![],
        ),
        (Fault::FailsWhereItRefuses, FORGED.to_vec(), vec![]),
        (Fault::HeadersAreOptional, vec!["missing-headers"], vec![]),
        (Fault::NoOld, vec!["old-timestamp"], vec![]),
        (Fault::NoFuture, vec!["future-timestamp"], vec![]),
        (Fault::NoSkew, vec!["clock-skew"], vec![]),
        (Fault::FirstSignatureOnly, vec!["two-signatures"], vec![]),
        (Fault::RemembersBeforeItChecks, vec!["forged-first"], vec![]),
        (Fault::FailsAt(1), OF_ONE.to_vec(), vec![]),
        (Fault::FailsAt(3), OF_THREE.to_vec(), vec![]),
        (Fault::FailsAt(100), vec!["batch-of-100", "slow-upload"], vec![]),
        (Fault::Known, vec!["nothing-to-do"], vec![]),
        (Fault::NoRepeats, vec!["repeat", "repeat-under-way"], vec![]),
        (Fault::OneAtATime, vec!["repeat-under-way"], vec![]),
        (Fault::AnotherAnswer, vec![], vec!["repeat"]),
        (Fault::CommitsOnly, vec!["other-kinds"], vec![]),
        (Fault::RecordsOnly, vec!["deletion"], vec![]),
        (Fault::NoNull, vec!["tombstone"], vec![]),
        (Fault::JsonOnly, vec![], vec!["no-json"]),
        (Fault::PlainTextOnly, vec!["unicode"], vec![]),
        (Fault::KnownFieldsOnly, vec!["unknown-fields"], vec![]),
        (Fault::BodiesUpTo(mib / 2), vec!["large-1m"], vec!["large-6m"]),
        (Fault::BodiesUpTo(2 * mib), vec![], vec!["large-6m"]),
        (Fault::Impatient, vec!["slow-upload"], vec![]),
        (Fault::TakesGet, vec![], vec!["other-methods"]),
        (Fault::Html, vec![], vec!["content-type"]),
        (Fault::Garbage, vec!["answer-form"], vec![]),
        (Fault::NamesStrangers, vec!["answer-form"], vec![]),
        (Fault::Endless, vec!["answer-form", "answer-size"], vec![]),
        (Fault::Slow, vec![], vec!["in-time"]),
        (Fault::Hangs, vec!["batch-of-100", "slow-upload", "in-time"], vec![]),
        (Fault::Closes, vec![], vec!["keep-alive"]),
        (Fault::Redirects, valid, vec!["large-6m", "no-json"]),
    ]
}

/// A receiver with a fault.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    known: Mutex<BTreeMap<String, String>>,
}

async fn start(fault: Fault, tasks: &mut JoinSet<()>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let state = Arc::new(Faulty { fault, known: Mutex::default() });
    let routes = Router::new().fallback(receive).with_state(state);
    tasks.spawn(async move { drop(axum::serve(listener, routes).await) });
    Ok(url)
}

async fn receive(State(faulty): State<Arc<Faulty>>, request: Request) -> Response<Body> {
    let mut response = received(&faulty, request).await;
    if faulty.fault == Fault::Closes {
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
    }
    response
}

async fn received(faulty: &Faulty, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let fault = faulty.fault;
    if head.method != Method::POST {
        return status(if fault == Fault::TakesGet { 200 } else { 405 });
    }
    let most = if let Fault::BodiesUpTo(bytes) = fault { bytes } else { 16 * 1024 * 1024 };
    let patience = Duration::from_millis(if fault == Fault::Impatient { 1500 } else { 60_000 });
    let body = match tokio::time::timeout(patience, to_bytes(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return status(413),
        Err(_) => return status(408),
    };
    let id = header(&head.headers, "webhook-id").unwrap_or_default();
    if fault == Fault::RemembersBeforeItChecks && trusts(fault, &head.headers, &body).is_none() {
        faulty.remember(&id, r#"{"records":[]}"#);
    }
    match trusts(fault, &head.headers, &body) {
        Some(()) => faulty.answer(&id, &body).await,
        None => status(if fault == Fault::FailsWhereItRefuses { 500 } else { 401 }),
    }
}

fn status(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn trusts(fault: Fault, headers: &HeaderMap, body: &Bytes) -> Option<()> {
    let named = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(headers, name));
    if fault == Fault::NoCheck || fault == Fault::HeadersAreOptional && named.contains(&None) {
        return Some(());
    }
    let [id, timestamp, signature] = named;
    let (id, timestamp, mut signature) = (id?, timestamp?, signature?);
    let off = timestamp.parse::<i64>().ok()? - now();
    let tolerance = if fault == Fault::NoSkew { 30 } else { 300 };
    let is_old = off < -tolerance && fault != Fault::NoOld;
    if is_old || off > tolerance && fault != Fault::NoFuture {
        return None;
    }
    if fault == Fault::NoComparison {
        return signature.split(' ').any(|one| one.starts_with("v1,") && one.len() == 47).then_some(());
    }
    if fault == Fault::FirstSignatureOnly {
        signature = signature.split(' ').next()?.to_owned();
    }
    fpaas_testkit::receiver::verify(SECRET, &id, &timestamp, body, &signature).ok()
}

#[expect(clippy::disallowed_methods, reason = "a receiver compares with the real time")]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or_default())
}

impl Faulty {
    fn remember(&self, id: &str, answer: &str) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(id).cloned();
        known.entry(id.to_owned()).or_insert_with(|| answer.to_owned());
        before
    }

    async fn answer(&self, id: &str, body: &Bytes) -> Response<Body> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return status(400) };
        let events = body.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(refused) = self.refuses(&body, &events) {
            return refused;
        }
        let dids = events.iter().filter_map(|event| event.pointer("/event/did")?.as_str());
        let records: Vec<_> = dids.map(|did| json!({"key": did, "value": 1})).collect();
        let answer = json!({ "records": records }).to_string();
        let under_way = format!("{id} is under way");
        match (self.fault, events.len()) {
            (Fault::OneAtATime, 3) if self.remember(&under_way, "").is_some() => return status(409),
            (Fault::OneAtATime, 3) => wait(200).await,
            (Fault::Slow, 2) => wait(2500).await,
            (Fault::Hangs, 100) => wait(8000).await,
            _ => {}
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&under_way);
        match (self.fault, self.remember(id, &answer)) {
            (Fault::NoRepeats, Some(_)) => status(409),
            (Fault::AnotherAnswer, Some(_)) => self.with(r#"{"records":[]}"#),
            (_, before) => self.with(&before.unwrap_or(answer)),
        }
    }

    fn refuses(&self, body: &Value, events: &[Value]) -> Option<Response<Body>> {
        let any = |of: fn(&Value) -> bool| events.iter().any(of);
        let like = |event: &Value| part(event, "/event/commit/collection") == "com.example.unheard.of";
        let is_wrong = match self.fault {
            Fault::Redirects => return Some(redirect()),
            Fault::FailsAt(count) if events.len() == count => return Some(status(500)),
            Fault::Known => any(like),
            Fault::CommitsOnly => {
                any(|event| part(event, "/event").is_object() && part(event, "/event/commit").is_null())
            }
            Fault::RecordsOnly => {
                any(|event| part(event, "/event/commit").is_object() && part(event, "/event/commit/record").is_null())
            }
            Fault::NoNull => any(|event| event.get("event").is_some_and(Value::is_null)),
            Fault::JsonOnly => any(|event| event.get("eventBase64").is_some()),
            Fault::PlainTextOnly => body.to_string().contains("\\u0000"),
            Fault::KnownFieldsOnly => body.get("addedLater").is_some(),
            _ => false,
        };
        is_wrong.then(|| status(400))
    }

    fn with(&self, answer: &str) -> Response<Body> {
        let answer = match self.fault {
            Fault::Garbage => "<html>".to_owned(),
            Fault::NamesStrangers => r#"{"batchItemFailures":[{"itemIdentifier":"no such event"}]}"#.to_owned(),
            Fault::Endless => "1".repeat(9 * 1024 * 1024),
            _ => answer.to_owned(),
        };
        let kind = if self.fault == Fault::Html { "text/html" } else { "application/json" };
        Response::builder().header("content-type", kind).body(answer.into()).unwrap_or_default()
    }
}

/// Null where it is absent.
fn part<'a>(event: &'a Value, pointer: &str) -> &'a Value {
    event.pointer(pointer).unwrap_or(&Value::Null)
}

fn redirect() -> Response<Body> {
    Response::builder().status(308).header("location", "/elsewhere").body(Body::empty()).unwrap_or_default()
}

/// The fault itself.
async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn verify(url: &str, more: &[&str]) -> Result<(i32, String, String)> {
    let mut command = Command::new(program("fpaas")?);
    command.args(["verify-receiver", url, "--secret", SECRET]).args(more);
    let output = command.kill_on_drop(true).output().await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

/// The checks of a report, by their grade.
fn graded(report: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in report.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text =
            |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned).with_context(|| line.to_string());
        let (grade, check) = (text("grade")?, text("check")?);
        ensure!(!(text("sent")?.is_empty() || text("expected")?.is_empty() || text("got")?.is_empty()), "{line}");
        ensure!(grade == "ok" || !text("advice")?.is_empty(), "{line}");
        ensure!(found.entry(grade).or_default().insert(check), "{line}");
    }
    Ok(found)
}

async fn check(fault: Fault, wrong: Vec<&'static str>, warnings: Vec<&'static str>) -> Result<BTreeSet<String>> {
    let mut tasks = JoinSet::new();
    let url = start(fault, &mut tasks).await?;
    let (code, report, said) = verify(&url, &["-o", "json", "--timeout", "6s"]).await?;
    let mut found = graded(&report)?;
    let all: BTreeSet<_> = found.values().flatten().cloned().collect();
    let set = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let expected = (set(wrong), set(warnings));
    let seen = (found.remove("wrong").unwrap_or_default(), found.remove("warn").unwrap_or_default());
    ensure!(seen == expected, "{fault:?}: wrong, warn:\n{seen:?}\nexpected:\n{expected:?}\n{report}{said}");
    let failed = !seen.0.is_empty();
    ensure!(code == if failed { 76 } else { 0 }, "{fault:?}: {code}: {said}");
    Ok(if fault == Fault::None { all } else { seen.0.into_iter().chain(seen.1).collect() })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_and_every_check_can_fail() -> Result<()> {
    let (mut all, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let (mut waiting, mut surprises) = (faults().into_iter(), Vec::new());
    let mut running = JoinSet::new();
    loop {
        while running.len() < 4
            && let Some((fault, wrong, warnings)) = waiting.next()
        {
            running.spawn(async move { (fault, check(fault, wrong, warnings).await) });
        }
        let Some(done) = running.join_next().await else { break };
        match done? {
            (Fault::None, names) => all = names?,
            (_, Ok(names)) => failed.extend(names),
            (_, Err(error)) => surprises.push(error.to_string()),
        }
    }
    ensure!(surprises.is_empty(), "{}", surprises.join("\n\n"));
    ensure!(all == failed, "no fault makes these fail: {:?}", all.difference(&failed).collect::<Vec<_>>());
    ensure!(all.len() >= 30, "{all:?}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_verified_is_said() -> Result<()> {
    for (url, more, code, said) in [
        ("http://127.0.0.1:1/", &[][..], 69, "the receiver cannot be reached"),
        ("ftp://127.0.0.1/", &[], 64, "must be http://"),
        ("http://169.254.169.254/", &[], 64, "may not be called"),
        ("http://127.0.0.1:1/", &["--timeout", "1h"], 64, "must be 100ms to 30s"),
        ("http://127.0.0.1:1/", &["--events", "no-such-file"], 64, "no-such-file cannot be read"),
    ] {
        let (ended, out, error) = verify(url, more).await?;
        ensure!(ended == code && out.is_empty() && error.contains(said), "{url} {more:?}: {ended}: {out}{error}");
    }
    let mut command = Command::new(program("fpaas")?);
    let output = command.args(["verify-receiver", "http://127.0.0.1:1/", "--secret", "whsec_AAAA"]).output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(64) && said.contains("--secret") && !said.contains("AAAA"), "{said}");
    Ok(())
}
