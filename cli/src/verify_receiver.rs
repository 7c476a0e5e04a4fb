//! `fpaas verify-receiver`: what is right and what is wrong with a webhook receiver, a line each, and what to do.
//!
//! Bodies, signatures, calls and the reading of answers are the dispatcher's ([`fpaas_dispatcher::Sampler`]). Does not
//! own what is sent ([`script`]) or what an answer is worth ([`verdict`]). No server is asked.

mod calls;
mod events;
mod raw;
mod script;
mod verdict;

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::time::Duration;

use fpaas_core::Clock as _;
use fpaas_core::limits;
use fpaas_core::subscription::{ClientCertificate, Secret};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::args::{Output, VerifyReceiver};
use crate::client::{act, apply, jmespath};
use crate::clock::WallClock;
use crate::exit::Failure;
use crate::out;
use calls::Calls;
use events::Events;
use script::{Check, SCRIPT};
use verdict::{Grade, Verdict};

/// Sends all of it, and says of each what came.
pub(crate) async fn run(asked: &VerifyReceiver) -> Result<(), Failure> {
    let mut calls = calls(asked)?;
    let (until, mut found) = (Instant::now() + limits::VERIFY_TIME_MAX, Vec::new());
    for (at, check) in SCRIPT.iter().enumerate() {
        progress(&format!("{} of {}: {}", at + 1, SCRIPT.len(), check.name));
        let verdict = Box::pin(timeout_at(until, calls.verdict(check))).await;
        progress("");
        let verdict = verdict.unwrap_or_else(|_| Ok(late()))?;
        if let Some(away) = calls.away() {
            return Err(away);
        }
        found.push((check.name, verdict.grade));
        if let ControlFlow::Break(()) = out::line(shown(check, &verdict, asked.output))? {
            break;
        }
    }
    outcome(&found)
}

fn calls(asked: &VerifyReceiver) -> Result<Calls, Failure> {
    if !(asked.url.starts_with("http://") || asked.url.starts_with("https://")) {
        return Err(Failure::Usage(format!("{}: must be http://… or https://…", asked.url)));
    }
    let given = act::given_secret(&asked.secret)?;
    let secret = Secret::parse(&given).map_err(|error| Failure::Usage(format!("--secret: {error}")))?;
    let timeout = humantime::parse_duration(&asked.timeout);
    let timeout = timeout.map_err(|error| Failure::Usage(format!("--timeout {}: {error}", asked.timeout)))?;
    if !(Duration::from_millis(100)..=limits::TRIAL_TIME_MAX).contains(&timeout) {
        return Err(Failure::Usage(format!("--timeout {}: must be 100ms to 30s", asked.timeout)));
    }
    let events = asked.events.as_deref().map(jmespath::read).transpose()?.unwrap_or_default();
    let bytes: usize = events.iter().map(|event| event.to_string().len()).sum();
    if bytes > limits::VERIFY_BATCH_BYTES_MAX / 100 {
        let most = limits::VERIFY_BATCH_BYTES_MAX / 100;
        return Err(Failure::Usage(format!("--events: {bytes} bytes, and at most {most} make a batch of a hundred")));
    }
    Calls::new(&asked.url, secret, Events::new(events), timeout, certificate(asked)?)
}

/// What it is shown, checked as the API would.
fn certificate(asked: &VerifyReceiver) -> Result<Option<ClientCertificate>, Failure> {
    let (Some(certificate), Some(key)) = (&asked.client_certificate, &asked.client_key) else { return Ok(None) };
    if !asked.url.starts_with("https://") {
        return Err(Failure::Usage(format!("{}: must be https://… with --client-certificate", asked.url)));
    }
    let private_key = Some(apply::text(key)?.into());
    let given = ClientCertificate { certificate: apply::text(certificate)?, private_key };
    let wrong = given.identity().and_then(|own| own.certified().err());
    let wrong = wrong.or_else(|| given.violations_beside(None, WallClock.now()).pop());
    match wrong {
        Some(wrong) => {
            let is_key = wrong.pointer.ends_with("/privateKey");
            let option = if is_key { "--client-key" } else { "--client-certificate" };
            Err(Failure::Usage(format!("{option}: {}", wrong.detail)))
        }
        None => Ok(Some(given)),
    }
}

fn late() -> Verdict {
    let most = humantime::format_duration(limits::VERIFY_TIME_MAX);
    Verdict::wrong("it was not done", format!("all checks together have taken {most}: the receiver is too slow"))
}

/// For a person who waits; what was there before goes away.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

fn shown(check: &Check, verdict: &Verdict, output: Output) -> String {
    let (Check { name, sent, expected, .. }, Verdict { grade, got, advice }) = (check, verdict);
    match output {
        Output::Json => {
            let grade = called(*grade);
            let line = json!({"check": name, "grade": grade, "sent": sent, "expected": expected, "got": got,
                "advice": advice});
            line.to_string()
        }
        Output::Text => {
            let advice = advice.iter().map(|advice| format!("\n{:27}> {advice}", "")).collect::<String>();
            let wanted = if *grade == Grade::Right { String::new() } else { format!("; expected: {expected}") };
            format!("{:6} {name:19} {sent}: {got}{wanted}{advice}", called(*grade))
        }
    }
}

const fn called(grade: Grade) -> &'static str {
    match grade {
        Grade::Right => "ok",
        Grade::Warning => "warn",
        Grade::Wrong => "wrong",
    }
}

fn outcome(found: &[(&'static str, Grade)]) -> Result<(), Failure> {
    let of = |grade| found.iter().filter(|(_, of)| *of == grade).map(|(name, _)| *name).collect::<Vec<_>>();
    let (wrong, warnings) = (of(Grade::Wrong), of(Grade::Warning).len());
    if wrong.is_empty() {
        eprintln!("fpaas: {} checks, nothing is wrong; warnings: {warnings}", found.len());
        return Ok(());
    }
    let (count, all) = (wrong.len(), found.len());
    Err(Failure::Receiver(format!("{count} of {all} checks went wrong: {}; warnings: {warnings}", wrong.join(", "))))
}
