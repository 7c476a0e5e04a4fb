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

use std::pin::pin;
use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::broker::{Broker, Options, Which};
use screen::Screen;
use stage::Stage;

pub use verdict::TIPS;

/// A check did not hold, or something did not start.
const FAILED: u8 = 1;
/// The command line is wrong (sysexits.h, EX_USAGE).
const USAGE: u8 = 64;
/// The relay, or a broker, cannot be reached (sysexits.h, EX_UNAVAILABLE).
const UNREACHABLE: u8 = 69;

/// What to do where no broker can be had.
const BROKER: &str = "\
Kafka comes from a container where Docker answers and has the image, or can pull it: FPAAS_KAFKA_IMAGE names another
one, and `make kafka-image` builds one. Else it comes from its jars, which takes Java 17 and, the first time, Maven.
On Debian and Ubuntu `bash scripts/setup.sh kafka` installs all of them.";

/// How a performance ended.
enum Played {
    /// To its end; whether every check held.
    Out(bool),
    /// By a signal: the exit code that goes with it.
    Interrupted(u8),
}

/// What is wanted of it.
#[derive(Debug, Default)]
struct Wanted {
    relay: Option<String>,
    on_kafka: bool,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut wanted = Self::default();
        while let Some(flag) = arguments.next() {
            match (flag.as_str(), arguments.next()?) {
                ("--relay", url) => wanted.relay = Some(url),
                ("--log", log) if log == "kafka" || log == "embedded" => wanted.on_kafka = log == "kafka",
                _ => return None,
            }
        }
        Some(wanted)
    }
}

/// Runs it. `arguments` are none, or `--relay URL`, or `--log kafka`, or both.
pub async fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let screen = Screen::new();
    let Some(wanted) = Wanted::parse(arguments) else {
        return refuse(&screen, USAGE, "usage: demo [--relay wss://…] [--log embedded|kafka]");
    };
    if let Some(url) = &wanted.relay
        && let Err(why) = reach::check(url).await
    {
        return refuse(&screen, UNREACHABLE, &format!("the relay {url} cannot be reached: {why}"));
    }
    if wanted.on_kafka
        && let Err(why) = Broker::available(&Options::default()).await
    {
        return refuse(&screen, UNREACHABLE, &format!("no broker of Kafka can be had: {why:#}\n\n{BROKER}"));
    }
    match Box::pin(perform(&screen, &wanted)).await {
        Ok(Played::Out(true)) => ExitCode::SUCCESS,
        Ok(Played::Out(false)) => ExitCode::from(FAILED),
        Ok(Played::Interrupted(code)) => refuse(&screen, code, "stopped; nothing is left behind"),
        Err(error) => refuse(&screen, FAILED, &format!("the demo broke off: {error:#}")),
    }
}

async fn perform(screen: &Screen, wanted: &Wanted) -> Result<Played> {
    // Signals are awaited from here on: one that comes while the broker starts is heeded when it is up, since what is
    // half started could not be ended.
    let mut interrupted = pin!(interrupted()?);
    let mut stage = Stage::new()?;
    if wanted.on_kafka {
        screen.say("A broker of Kafka is started for the topics; it ends with the demo.");
        let broker = stage.start_broker().await?;
        screen.say(&format!("It is up at {}, {}.\n", broker.bootstrap(), place(broker.which())));
    }
    let played = tokio::select! {
        biased;
        code = &mut interrupted => Ok(Played::Interrupted(code)),
        played = Box::pin(story::play(&mut stage, screen, wanted.relay.as_deref())) => played.map(Played::Out),
    };
    stage.clear().await;
    played
}

const fn place(which: Which) -> &'static str {
    match which {
        Which::Testcontainers => "in a container of Docker",
        Which::Jars => "a process of its jars",
    }
}

/// Waits for a signal that ends the demo; answers the exit code that a shell gives it.
fn interrupted() -> Result<impl Future<Output = u8>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        }
    })
}

fn refuse(screen: &Screen, code: u8, why: &str) -> ExitCode {
    screen.say(why);
    ExitCode::from(code)
}
