//! `make demo`: the whole job on one screen, through a failing endpoint and a SIGKILL, and a check of what came out.
//!
//! Drives the programs from outside, by command line, signals and the public API, as a person would. What must come
//! out it knows from what the PDS answered, or, live, from the firehose topic.

mod calls;
mod numbers;
mod reach;
mod screen;
mod show;
mod stage;
mod story;
mod verdict;

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use screen::Screen;
use stage::Stage;

pub use verdict::TIPS;

/// A check did not hold, or something did not start.
const FAILED: u8 = 1;
/// The command line is wrong (sysexits.h, EX_USAGE).
const USAGE: u8 = 64;
/// The relay cannot be reached (sysexits.h, EX_UNAVAILABLE).
const UNREACHABLE: u8 = 69;

/// How a performance ended.
enum Played {
    /// To its end; whether every check held.
    Out(bool),
    /// By a signal: the exit code that goes with it.
    Interrupted(u8),
}

/// Runs it. `arguments` are none, or `--relay URL`.
pub async fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let screen = Screen::new();
    let arguments: Vec<_> = arguments.collect();
    let relay = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => None,
        ["--relay", url] => Some((*url).to_owned()),
        _ => return refuse(&screen, USAGE, "usage: demo [--relay wss://…]"),
    };
    if let Some(url) = &relay
        && let Err(why) = reach::check(url).await
    {
        return refuse(&screen, UNREACHABLE, &format!("the relay {url} cannot be reached: {why}"));
    }
    perform(&screen, relay).await
}

async fn perform(screen: &Screen, relay: Option<String>) -> ExitCode {
    let mut stage = match Stage::new() {
        Ok(stage) => stage,
        Err(error) => return refuse(screen, FAILED, &format!("the demo cannot start: {error:#}")),
    };
    let played = tokio::select! {
        played = Box::pin(story::play(&mut stage, screen, relay.as_deref())) => played.map(Played::Out),
        signal = interrupted() => signal.map(Played::Interrupted),
    };
    stage.clear().await;
    match played {
        Ok(Played::Out(true)) => ExitCode::SUCCESS,
        Ok(Played::Out(false)) => ExitCode::from(FAILED),
        Ok(Played::Interrupted(code)) => refuse(screen, code, "stopped; nothing is left behind"),
        Err(error) => refuse(screen, FAILED, &format!("the demo broke off: {error:#}")),
    }
}

/// Ends with the exit code a shell gives to the signal that came.
async fn interrupted() -> Result<u8> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(130),
        _ = terminate.recv() => Ok(143),
    }
}

fn refuse(screen: &Screen, code: u8, why: &str) -> ExitCode {
    screen.say(why);
    ExitCode::from(code)
}
