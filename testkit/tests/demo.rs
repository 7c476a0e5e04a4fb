//! The demo itself, as `make demo` runs it: to its end, live, on Kafka, cut short, and without a relay or a broker.
//!
//! Needs `fpaas` and `receiver`, which `make build` has built; without them it says so and skips, except where
//! `FPAAS_BIN` names a program, as `make test` does.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::Options;
use fpaas_testkit::demo::TIPS;
use fpaas_testkit::process::program;
use fpaas_testkit::relay::{Pace, Script};
use fpaas_testkit::{Broker, Client, Need, Process, Recording, Relay, Terminal, checkout, skip};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

/// A performance takes half a minute; the machine may be busy.
const LONG: Duration = Duration::from_secs(150);

fn built() -> bool {
    let built = ["fpaas", "receiver"].iter().all(|name| program(name).is_ok());
    if !built {
        skip(Need::Program, "the demo: run `make build`");
    }
    built
}

fn demo(folder: &Path, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    Process::spawn("the demo", command.args(arguments).env("TMPDIR", folder))
}

/// The same where there is no network but loopback; with the network, and loudly, where that cannot be had.
fn offline_demo(folder: &Path) -> Result<Process> {
    let alone = |command: &str| ["--net", "--map-root-user", "sh", "-c", command].map(str::to_owned);
    let possible = std::process::Command::new("unshare").args(alone("ip link set lo up")).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        skip(Need::NetworkNamespace, "that the demo needs no network");
        return demo(folder, &[]);
    }
    let mut command = Command::new("unshare");
    command.args(alone(r#"ip link set lo up && test -z "$(ip route)" && exec "$0""#));
    Process::spawn("the demo", command.arg(env!("CARGO_BIN_EXE_demo")).env("TMPDIR", folder))
}

/// Ends with that exit code, leaving no file; answers what it said.
async fn ends(mut demo: Process, folder: &Path, code: i32) -> Result<String> {
    let status = demo.wait(LONG).await?;
    let said = demo.lines().join("\n");
    ensure!(status.code() == Some(code), "the demo ended with {status}:\n{said}");
    ensure!(std::fs::read_dir(folder)?.next().is_none(), "the demo left files behind");
    Ok(said)
}

#[tokio::test]
async fn the_recording_comes_out_exactly_through_a_failure_and_a_kill_and_without_a_network() -> Result<()> {
    if !built() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let said = ends(offline_demo(folder.path())?, folder.path(), 0).await?;
    for expected in ["719 expected, 719 found, 0 lost, 0 doubled", "answers 503", "SIGKILL", "CPU-seconds", "Try next"]
    {
        ensure!(said.contains(expected), "{expected:?} is missing:\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_live_relay_comes_out_as_its_firehose_topic_says() -> Result<()> {
    if !built() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let script = Script { pace: Pace::Times(1.0), ..Script::default() };
    let relay = Relay::start(Recording::bundled()?, script).await?;
    let said = ends(demo(folder.path(), &["--relay", &relay.url()])?, folder.path(), 0).await?;
    ensure!(said.contains("by the firehose topic: 719 expected, 719 found, 0 lost, 0 doubled"), "{said}");
    ensure!(relay.cursors().len() >= 2, "the restart did not connect again");
    Ok(())
}

#[tokio::test]
async fn a_relay_that_cannot_be_reached_is_one_sentence_and_69() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for relay in ["ws://127.0.0.1:1", "wss://relay.invalid", "relay"] {
        let said = ends(demo(folder.path(), &["--relay", relay])?, folder.path(), 69).await?;
        ensure!(said.starts_with(&format!("the relay {relay} cannot be reached: ")), "{said}");
        ensure!(said.lines().count() == 1, "{said}");
    }
    Ok(())
}

/// Where there is a broker to be had; where not, that is said.
async fn kafka() -> bool {
    let available = Broker::available(&Options::default()).await;
    if let Err(why) = &available {
        skip(Need::Kafka, &format!("the demo on Kafka: {why:#}"));
    }
    available.is_ok()
}

/// The broker that the demo has started.
fn broker(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("It is up at ")?.split(',').next()?.parse().ok()
}

#[tokio::test]
async fn on_kafka_the_recording_comes_out_exactly_and_the_broker_ends_with_the_demo() -> Result<()> {
    if !built() || !kafka().await {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let said = ends(demo(folder.path(), &["--log", "kafka"])?, folder.path(), 0).await?;
    for expected in ["719 expected, 719 found, 0 lost, 0 doubled", "answers 503", "SIGKILL"] {
        ensure!(said.contains(expected), "{expected:?} is missing:\n{said}");
    }
    // What is counted is records: on Kafka the ends of topics say more.
    let last = said.lines().rfind(|line| line.contains("  lag ")).context("no row")?;
    ensure!(last.contains("events  2,534  likes   719") && last.contains("results   719  lag   0"), "{last}");
    let broker = said.lines().find_map(broker).context("no broker")?;
    ensure!(TcpStream::connect(broker).is_err(), "the broker at {broker} is still there");
    Ok(())
}

/// Ends it with a signal while it plays: its processes, its broker and its files go too.
async fn check_cut_short(arguments: &[&str], signal: Signal, code: Option<i32>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut demo = demo(folder.path(), arguments)?;
    demo.line(0, LONG, |line| line.contains("fpaas dev is up").then_some(())).await?;
    let pid = demo.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("the demo has ended")?;
    let (children, broker) = (children(demo.id()), demo.lines().iter().find_map(|line| broker(line)));
    ensure!(children.len() >= 3, "the receiver, fpaas and the guard are children of the demo: {children:?}");
    ensure!(broker.is_some() == arguments.contains(&"kafka"), "{:?}", demo.lines());
    kill_process(pid, signal)?;
    ensure!(demo.wait(LONG).await?.code() == code, "{:?}", demo.lines());
    // Its guards end after it. Killed, it has left all of the work to them.
    let (looks, mut left) = (if signal == Signal::KILL { 600 } else { 40 }, Vec::new());
    for _ in 0..looks {
        let processes = children.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists());
        left = processes.map(|pid| format!("the process {pid}")).collect();
        left.extend(broker.filter(|broker| TcpStream::connect(broker).is_ok()).map(|at| format!("a broker at {at}")));
        left.extend(std::fs::read_dir(folder.path())?.flatten().map(|entry| entry.path().display().to_string()));
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{} left behind", left.join(", "))
}

#[tokio::test]
async fn ctrl_c_leaves_nothing_behind() -> Result<()> {
    if built() { check_cut_short(&[], Signal::INT, Some(130)).await } else { Ok(()) }
}

#[tokio::test]
async fn ctrl_c_leaves_no_broker_behind() -> Result<()> {
    if built() && kafka().await { check_cut_short(&["--log", "kafka"], Signal::INT, Some(130)).await } else { Ok(()) }
}

#[tokio::test]
async fn a_demo_that_is_killed_leaves_nothing_behind_either() -> Result<()> {
    if built() { check_cut_short(&[], Signal::KILL, None).await } else { Ok(()) }
}

#[tokio::test]
async fn a_demo_that_is_killed_leaves_no_broker_behind() -> Result<()> {
    if built() && kafka().await { check_cut_short(&["--log", "kafka"], Signal::KILL, None).await } else { Ok(()) }
}

#[tokio::test]
async fn without_docker_and_java_it_is_said_what_to_do_and_69() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(["--log", "kafka"]).env("TMPDIR", folder.path()).env("DOCKER_HOST", "unix:///nowhere");
    command.env("PATH", folder.path()).env_remove("JAVA_HOME").env_remove("FPAAS_MUST_RUN");
    let said = ends(Process::spawn("the demo", &mut command)?, folder.path(), 69).await?;
    ensure!(
        said.starts_with("no broker of Kafka can be had: no Docker daemon answers, and there is no Java 17"),
        "{said}"
    );
    ensure!(said.contains("make kafka-image") && said.contains("scripts/setup.sh kafka"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_tips_that_the_demo_prints_work_as_they_stand() -> Result<()> {
    if !checkout().join("bin/fpaas").exists() {
        skip(Need::Program, "the demo's tips: run `make build`");
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let terminal = Terminal::new(home.path(), "ws://127.0.0.1:9");
    let [(dev, _), (tap, _), (help, _)] = TIPS;
    let mut server = terminal.run(dev)?;
    let export = |line: &str| line.trim().strip_prefix("export ").map(str::to_owned);
    let export = server.process.line(0, LONG, export).await?;
    let (url, key) = export.split_once(" FPAAS_API_KEY=").context("no key")?;
    let url = url.strip_prefix("FPAAS_SERVER=").context("no address")?;
    let mut tail = Client::new(url, key.trim_matches('\''))?.tail("firehose", "from=earliest").await?;
    for _ in 0..3 {
        tail.next().await?;
    }
    ensure!(terminal.done(tap, LONG).await?.len() == 3, "the tap of three has not three lines");
    ensure!(terminal.done(help, LONG).await?.len() > 20, "that is no help");
    ensure!(server.interrupt(LONG).await?.code().is_none_or(|code| code == 0 || code == 130));
    Ok(())
}

/// The processes that a process has started (proc(5)).
fn children(pid: Option<u32>) -> Vec<String> {
    let pid = pid.unwrap_or_default();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    threads.flat_map(|thread| of(thread).split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}
