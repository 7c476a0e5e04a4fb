//! One job: likes of the recording, in small batches, to a receiver that also fails, hangs and cuts connections.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fpaas_testkit::client::Item;
use fpaas_testkit::dev::Running;
use fpaas_testkit::oracle::Comparison;
use fpaas_testkit::receiver::{Answer, Summary};
use fpaas_testkit::{Broker, Client, Dev, Oracle, Process, Receiver, Script};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const KEY: &str = "crash-test-key-0123456789";
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How long the job waits for an answer.
const TIMEOUT: Duration = Duration::from_millis(150);
/// Longer than that.
const TOO_LONG: Answer = Answer::Hang(Duration::from_millis(300));

/// Which log the jobs of a test are on.
#[derive(Clone, Debug)]
pub(crate) enum On {
    /// In the folder of each.
    Embedded,
    /// On this broker, each under names of its own.
    Kafka(String),
}

/// What is played.
pub(crate) fn recording() -> PathBuf {
    fpaas_testkit::bundled().join("frames.bin.zst")
}

/// A folder, a receiver, and the program to be killed.
pub(crate) struct Job {
    pub(crate) folder: TempDir,
    pub(crate) receiver: Receiver,
    seed: u64,
    pace: &'static str,
    lanes: u32,
    log: Vec<String>,
}

impl On {
    /// A broker that all tests of this binary share; `None` where there is none to be had, which is said.
    pub(crate) async fn kafka() -> Option<Self> {
        Some(Self::Kafka(Broker::shared().await?.bootstrap()))
    }

    /// Slow enough that kills find work in flight: a start takes longer where a group is joined.
    pub(crate) const fn pace(&self) -> &'static str {
        match self {
            Self::Embedded => "6x",
            Self::Kafka(_) => "1x",
        }
    }

    pub(crate) fn arguments(&self, seed: u64) -> Vec<String> {
        match self {
            Self::Embedded => Vec::new(),
            Self::Kafka(brokers) => ["--log", &format!("kafka://{brokers}"), "--topic-prefix", &format!("job{seed}")]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

impl Job {
    /// `pace` is the recording's speed: `max`, or slow enough that kills find work in flight.
    pub(crate) async fn new(on: &On, seed: u64, pace: &'static str) -> Result<Self> {
        let receiver = Receiver::start(SECRET, script(seed)).await?;
        let job = Self { folder: tempfile::tempdir()?, receiver, seed, pace, lanes: 1, log: on.arguments(seed) };
        job.write_file()?;
        Ok(job)
    }

    /// With so many lanes, which several nodes can share.
    pub(crate) fn with_lanes(self, lanes: u32) -> Result<Self> {
        let job = Self { lanes, ..self };
        job.write_file()?;
        Ok(job)
    }

    /// From the next start on the rest of the recording comes as fast as it can.
    pub(crate) const fn hurry(&mut self) {
        self.pace = "max";
    }

    fn write_file(&self) -> Result<()> {
        let file = serde_json::to_string(&json!({"subscription": self.likes()}))?;
        Ok(std::fs::write(self.file(), file)?)
    }

    /// From the next start on its log is this one.
    pub(crate) fn move_to(&mut self, on: &On) {
        self.log = on.arguments(self.seed);
    }

    /// From the next call on no batch is acknowledged: each is tried until it is not held any more, or for ever.
    pub(crate) fn hold(&self) {
        self.receiver.set_script(Script::new(|_| TOO_LONG));
    }

    /// Goes on as from the start.
    pub(crate) fn release(&self) {
        self.receiver.set_script(script(self.seed));
    }

    /// Small batches and short waits, so that a job has many of each step; nothing is ever given up on.
    pub(crate) fn likes(&self) -> Value {
        json!({
            "id": "likes",
            "startFrom": "earliest",
            "filter": {"collections": ["app.bsky.feed.like"], "operations": ["create"]},
            "collector": {"maxEvents": 10, "maxWaitMs": 20},
            "processor": {"webhook": {"url": self.receiver.url(), "secret": SECRET, "timeoutMs": TIMEOUT.as_millis() as u64}},
            "output": {"topic": "like-results"},
            "lanes": self.lanes,
            "retry": {"initialBackoffMs": 10, "maxBackoffMs": 40, "maxElapsedMs": 600_000},
        })
    }

    /// How the program is started, without what is applied.
    pub(crate) fn bare(&self) -> Result<Dev> {
        Ok(self.on(Dev::new(self.folder.path(), KEY)?))
    }

    /// A node that takes part, whatever else it is.
    pub(crate) fn on(&self, node: Dev) -> Dev {
        let recording = recording();
        let upstream = format!("file:{}?speed={}", recording.display(), self.pace);
        self.log.iter().fold(node.upstream(upstream), |node, argument| node.arg(argument))
    }

    /// How the program is started, with the subscription applied.
    pub(crate) fn dev(&self) -> Result<Dev> {
        Ok(self.bare()?.arg("--apply").arg(path(&self.file())))
    }

    /// Lets the job end by itself and checks what came out.
    pub(crate) async fn finish(&self) -> Result<Summary> {
        let mut last = self.dev()?.arg("--exit-when-idle").spawn()?;
        let status = last.wait(LONG).await?;
        ensure!(status.success(), "the last run ended with {status}:\n{}", last.lines().join("\n"));
        let mut running = self.dev()?.start().await?;
        let checked = self.check(&running.api).await;
        running.process.stop(LONG).await?;
        checked
    }

    async fn check(&self, api: &Client) -> Result<Summary> {
        let expected = Oracle::bundled()?.likes();
        ensure!(expected.len() == 719, "the recording has 719 likes, not {}", expected.len());
        let found = api.records("like-results").await?;
        let ids = found.iter().filter_map(|item| item.value.get("id")?.as_str().map(str::to_owned));
        let comparison = Comparison::of(&expected, ids);
        if !comparison.exact() || found.len() != expected.len() {
            bail!("{comparison}\n{}", self.came_twice(api, &found).await?);
        }
        let dead = api.get("/v1/subscriptions/likes/deadLetters").await?;
        ensure!(dead.get("items") == Some(&json!([])), "dead letters: {dead}");
        let summary = self.receiver.summary().context("a call broke its promise")?;
        // The other subscription of a test that has one is called too.
        ensure!(summary.events >= expected.len(), "{} events were in calls", summary.events);
        Ok(summary)
    }

    /// Where each result that is there twice is, and where its event is: which of the stages did it.
    async fn came_twice(&self, api: &Client, found: &[Item]) -> Result<String> {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for item in found {
            let id = item.value.get("id").and_then(Value::as_str).unwrap_or_default();
            places.entry(id.to_owned()).or_default().push(format!("{item:?}"));
        }
        places.retain(|_, places| places.len() > 1);
        for item in api.records("firehose").await? {
            let of = item.headers.get("id").and_then(Value::as_str).and_then(|id| places.get_mut(id));
            of.into_iter().for_each(|places| places.push(format!("firehose {}/{}", item.partition, item.offset)));
        }
        Ok(places
            .into_iter()
            .map(|(id, places)| format!("{id}:\n  {}", places.join("\n  ")))
            .collect::<Vec<_>>()
            .join("\n"))
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("likes.yaml")
    }
}

/// Fails, hangs and cuts connections, and now and then waits for longer than the job does.
fn script(seed: u64) -> Script {
    Script::seeded(seed, 10).but(3, 40, TOO_LONG)
}

/// How many results are committed. Offsets do not tell: they have gaps.
pub(crate) async fn committed(api: &Client) -> Result<u64> {
    Ok(api.records("like-results").await?.len() as u64)
}

/// Waits until the program has killed itself at its crash point.
pub(crate) async fn crashed(process: &mut Process) -> Result<()> {
    let status = process.wait(LONG).await?;
    let lines = process.lines().join("\n");
    ensure!(status.signal() == Some(9), "it ended with {status} and not at its crash point:\n{lines}");
    Ok(())
}

/// Stops a program that was not killed.
pub(crate) async fn stop(mut running: Running) -> Result<()> {
    let status = running.process.stop(LONG).await?;
    ensure!(status.success(), "a stop ended with {status}:\n{}", running.process.lines().join("\n"));
    Ok(())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn scramble(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
