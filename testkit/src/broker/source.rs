//! Where brokers come from on this machine: found once, and said once.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Once;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::container::Image;
use super::jars::Java;
use super::options::{Options, Which};
use crate::skip::{Need, is_required, note};

/// Where nothing else is said (`FPAAS_KAFKA_IMAGE`).
const IMAGE: &str = "apache/kafka:4.1.1";
/// The oldest Java that the broker runs on.
const JAVA: u32 = 17;

/// What there is.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Container(Image),
    Jars(Java),
}

/// What is missing, and why.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub(super) need: Need,
    pub(super) why: String,
}

impl Source {
    /// Docker first, which is how most would run it.
    pub(super) async fn found(options: &Options) -> Result<Self, Missing> {
        match options.only {
            Some(Which::Testcontainers) => docker().await.map_err(|why| Missing { need: Need::Docker, why }),
            Some(Which::Jars) => jars().await.map_err(|why| Missing { need: Need::Kafka, why }),
            None => match docker().await {
                Ok(image) => Ok(image),
                Err(why) if is_required(Need::Docker) => Err(Missing { need: Need::Docker, why }),
                Err(why) => instead(why).await,
            },
        }
    }
}

/// The jars, since there is no Docker.
async fn instead(no_docker: String) -> Result<Source, Missing> {
    static SAID: Once = Once::new();
    let jars = jars().await;
    let missing = |why| Missing { need: Need::Kafka, why: format!("{no_docker}, and {why}") };
    let jars = jars.map_err(missing)?;
    SAID.call_once(|| note(&format!("note: Kafka comes from its jars: {no_docker}")));
    Ok(jars)
}

async fn docker() -> Result<Source, String> {
    static FOUND: OnceCell<Result<Source, String>> = OnceCell::const_new();
    let found = FOUND.get_or_init(|| async {
        let image = std::env::var("FPAAS_KAFKA_IMAGE").unwrap_or_default();
        let image = if image.is_empty() { IMAGE } else { &image };
        Image::of(image).await.map(Source::Container).map_err(|error| format!("{error:#}"))
    });
    found.await.clone()
}

async fn jars() -> Result<Source, String> {
    static FOUND: OnceCell<Result<Source, String>> = OnceCell::const_new();
    let found = FOUND.get_or_init(|| async {
        let java = java().await.map_err(|error| format!("{error:#}"))?;
        Ok(Source::Jars(java))
    });
    found.await.clone()
}

async fn java() -> Result<Java> {
    let homes = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    for program in homes.into_iter().chain([PathBuf::from("java")]) {
        if version(&program).await.is_some_and(|version| version >= JAVA) {
            return Ok(Java { program, jars: fetched().await? });
        }
    }
    bail!("there is no Java {JAVA} or newer")
}

/// `openjdk version "17.0.15" 2025-04-15`.
async fn version(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("-version").stdin(Stdio::null()).output().await.ok()?;
    let said = String::from_utf8(output.stderr).ok()?;
    let version = said.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

/// The folder of the jars: fetched by the first that asks, on this machine.
async fn fetched() -> Result<PathBuf> {
    let mut fetch = Command::new("bash");
    fetch.arg(crate::checkout().join("scripts/kafka.sh")).arg("jars").stdin(Stdio::null());
    let output = fetch.stderr(Stdio::inherit()).output().await.context("bash cannot be started")?;
    ensure!(output.status.success(), "the broker's jars cannot be fetched (scripts/kafka.sh jars)");
    let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    ensure!(folder.is_dir(), "scripts/kafka.sh has named no folder");
    Ok(folder)
}

/// The test that asks, where it can be told.
pub(super) fn test() -> String {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| name.contains("::") || name.contains('_'));
    name.unwrap_or("a test on a real broker").to_owned()
}
