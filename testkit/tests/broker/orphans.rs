//! A broker ends with the process that started it, however that ended.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::Broker;
use fpaas_testkit::broker::{Options, Which};

/// How a test process ends.
#[derive(Clone, Copy)]
enum End {
    /// A test failed.
    Panic,
    /// SIGKILL, or Ctrl-C, or the machine's last memory.
    Kill,
}

#[tokio::test]
#[ignore = "run by the others, in a process of its own"]
async fn holds_a_broker() {
    let which = if std::env::var("WHICH").unwrap() == "jars" { Which::Jars } else { Which::Testcontainers };
    let broker = Broker::start(&Options::default().only(which)).await.expect("it was there for the others");
    // As a static holds it.
    let broker = Box::leak(Box::new(broker));
    println!("\nup at {}", broker.address());
    if std::env::var("END").unwrap() == "panic" {
        panic!("as a test does");
    }
    std::future::pending::<()>().await;
}

async fn check(which: Which, end: End) -> Result<()> {
    // Where there is none, that was said.
    if Broker::start(&Options::default().only(which)).await.is_none() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut test = Command::new(std::env::current_exe()?);
    test.args(["--exact", "orphans::holds_a_broker", "--ignored", "--nocapture"]);
    let end_name = if matches!(end, End::Panic) { "panic" } else { "kill" };
    test.env("WHICH", which.to_string()).env("END", end_name).env("TMPDIR", folder.path());
    let mut test = test.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let lines = BufReader::new(test.stdout.take().context("no output")?).lines();
    let up = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("up at ").map(str::to_owned));
    let address: SocketAddr = up.context("the broker did not come up")?.parse()?;
    if matches!(end, End::Kill) {
        TcpStream::connect(address)?;
        test.kill()?;
    }
    ensure!(!test.wait()?.success(), "the test should have failed");
    // Nobody is left to say when: the guard does its work after the process.
    for _ in 0..300 {
        if TcpStream::connect(address).is_err() && std::fs::read_dir(folder.path())?.next().is_none() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the broker at {address}, or its folder, has outlived its test")
}

#[tokio::test]
async fn a_broker_of_the_jars_ends_with_a_killed_test() -> Result<()> {
    check(Which::Jars, End::Kill).await
}

#[tokio::test]
async fn a_broker_of_a_container_ends_with_a_failed_test() -> Result<()> {
    check(Which::Testcontainers, End::Panic).await
}
