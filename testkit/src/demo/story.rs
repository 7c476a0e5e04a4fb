//! The order of things: flow, a 503, a SIGKILL, a restart, the rest, and the reading of what came out.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::calls::Call;
use super::screen::Screen;
use super::show::{Show, View};
use super::stage::Stage;
use super::verdict::{Figures, Verdict};
use crate::client::Client;
use crate::dev::{Dev, Running};
use crate::oracle::{Comparison, Oracle};
use crate::process::cpu_of_children;

/// The first likes of the recording come three seconds after its begin, and half-time is after eight and a half.
const RECORDED_FAILURE: Duration = Duration::from_millis(5500);
/// Live, calls begin after one to three seconds, and half-time is after fifteen.
const LIVE_FAILURE: Duration = Duration::from_secs(12);
const LIVE: Duration = Duration::from_secs(30);
/// For whatever must happen soon.
const SOON: Duration = Duration::from_secs(60);

const LIKE: &str = "app.bsky.feed.like";

/// Plays it; whether every check held.
pub(super) async fn play(stage: &mut Stage, screen: &Screen, relay: Option<&str>) -> Result<bool> {
    let mut play = Play { stage, screen, view: View::new(), cpu_before: cpu_of_children() };
    let verdict = match relay {
        None => Box::pin(play.recorded()).await?,
        Some(relay) => Box::pin(play.live(relay)).await?,
    };
    Ok(verdict.show(screen))
}

struct Play<'a> {
    stage: &'a mut Stage,
    screen: &'a Screen,
    view: View,
    /// Of what has helped to start a broker.
    cpu_before: Duration,
}

impl Play<'_> {
    async fn recorded(&mut self) -> Result<Verdict> {
        let expected = Oracle::bundled()?.likes();
        let frames = crate::bundled().join("frames.bin.zst");
        let upstream = format!("file:{}?speed=1x", frames.display());
        self.screen.say("17 seconds of a real PDS's firehose, at the speed it was recorded.");
        let likes = self.open(RECORDED_FAILURE).await?;
        self.start(&applying(self.stage.dev()?.upstream(&upstream), &likes).arg("--exit-when-idle")).await?;
        let failed = self.half_time(SOON).await?;
        self.start(&self.stage.dev()?.upstream(&upstream).arg("--exit-when-idle")).await?;
        self.say("fpaas is back and goes on where it was");
        self.until_idle().await?;
        let figures = self.figures();

        // Once more, to read what came out: at the recording's end nothing is read again.
        self.start(&self.stage.dev()?.upstream(&upstream)).await?;
        self.verdict(Some(expected), failed, figures).await
    }

    async fn live(&mut self, relay: &str) -> Result<Verdict> {
        self.screen.say(&format!("30 seconds of {relay}, live."));
        let likes = self.open(LIVE_FAILURE).await?;
        self.start(&applying(self.stage.dev()?.upstream(relay), &likes)).await?;
        let failed = self.half_time(LIVE / 2 + Duration::from_secs(2)).await?;
        self.start(&self.stage.dev()?.upstream(relay)).await?;
        self.say("fpaas is back and goes on where it was");
        let rest = LIVE.saturating_sub(self.view.begin.elapsed());
        let (mut show, running) = self.split()?;
        show.during(&running.api, running.process.id(), tokio::time::sleep(rest)).await;
        self.stage.stop().await?;
        self.say("the relay is let go; what is under way is finished");

        let nothing = self.stage.nothing()?;
        self.start(&self.stage.dev()?.upstream(&nothing).arg("--exit-when-idle")).await?;
        self.until_idle().await?;
        let figures = self.figures();
        self.start(&self.stage.dev()?.upstream(&nothing)).await?;
        self.verdict(None, failed, figures).await
    }

    /// Starts the receiver; answers the file to apply.
    async fn open(&mut self, fail_once_after: Duration) -> Result<std::path::PathBuf> {
        let url = self.stage.start_receiver(fail_once_after).await?;
        self.screen.say("Likes are filtered, batched (1000 or 1 second), sent to a webhook, and its answers kept in");
        self.screen.say("the topic like-results. At half-time the webhook fails and fpaas is killed.");
        self.screen.say("");
        self.say(&format!("a webhook receiver is up at {url}"));
        self.stage.likes(&url)
    }

    async fn start(&mut self, dev: &Dev) -> Result<()> {
        let first = self.stage.running.is_none();
        let url = self.stage.start(dev).await?.api.url().to_owned();
        if first {
            self.view.begin = Instant::now();
            self.say(&format!("fpaas dev is up at {url}"));
        }
        Ok(())
    }

    /// Waits for the 503, then kills; whether the 503 came.
    async fn half_time(&mut self, limit: Duration) -> Result<bool> {
        let failure = |line: &str| Call::parse(line).filter(|call| call.status == 503);
        let (mut show, running) = self.split()?;
        let (receiver, pid) = (show.receiver, running.process.id());
        let failed = show.during(&running.api, pid, receiver.line(0, limit, failure)).await.is_ok();
        if failed {
            self.say("the webhook answers 503: the batch will be sent again, same id, same bytes");
        } else {
            self.say("no call came at half-time, so none was answered 503");
        }
        self.view.sample(pid);
        self.stage.running()?.process.kill().await?;
        self.stage.watch(None)?;
        self.say("fpaas is killed: SIGKILL, in the middle of it");
        Ok(failed)
    }

    /// Until the program, started with `--exit-when-idle`, has ended by itself.
    async fn until_idle(&mut self) -> Result<()> {
        let (mut show, running) = self.split()?;
        let pid = running.process.id();
        let status = show.during(&running.api, pid, running.process.wait(SOON)).await?;
        anyhow::ensure!(status.success(), "fpaas ended with {status}:\n{}", running.process.lines().join("\n"));
        self.stage.watch(None)?;
        self.say("everything is read, delivered and committed: fpaas has stopped by itself");
        Ok(())
    }

    fn split(&mut self) -> Result<(Show<'_>, &mut Running)> {
        let (receiver, running) = self.stage.both()?;
        Ok((Show { screen: self.screen, view: &mut self.view, receiver }, running))
    }

    fn say(&self, line: &str) {
        self.screen.say(&format!("{}  {line}", self.view.clock()));
    }

    /// Of the programs that have done the work and ended. The receiver is still there, so it is not counted.
    fn figures(&self) -> Figures {
        let cpu = cpu_of_children().saturating_sub(self.cpu_before);
        Figures { seconds: self.view.begin.elapsed(), cpu, memory_peak: self.view.memory_peak }
    }

    /// Reads the topics. Without an expected set the firehose topic has it.
    async fn verdict(&mut self, expected: Option<BTreeSet<String>>, failed: bool, figures: Figures) -> Result<Verdict> {
        let api = self.stage.running()?.api.clone();
        self.split()?.0.row(&api, SOON).await;
        self.screen.keep_row();
        let recorded = expected.is_some();
        let expected = match expected {
            Some(expected) => expected,
            None => likes_of_the_firehose(&api).await?,
        };
        let results = api.records("like-results").await?;
        let ids = results.iter().map(|item| text(&item.value, "/id"));
        let comparison = Comparison::of(&expected, ids);
        let dead = api.get("/v1/subscriptions/likes/deadLetters").await?;
        let dead_letters = dead.get("items").and_then(Value::as_array).map(Vec::len);
        self.stage.stop().await?;
        Ok(Verdict { recorded, comparison, calls: self.stage.calls(), failed, dead_letters, figures })
    }
}

fn applying(dev: Dev, file: &Path) -> Dev {
    dev.arg("--apply").arg(file.display().to_string())
}

/// The ids of the likes that came, read from the events themselves.
async fn likes_of_the_firehose(api: &Client) -> Result<BTreeSet<String>> {
    let events = api.records("firehose").await?;
    let likes = events
        .iter()
        .map(|item| &item.value)
        .filter(|event| text(event, "/commit/collection") == LIKE && text(event, "/commit/operation") == "create");
    let id = |event: &Value| {
        let [did, rkey, rev] = ["/did", "/commit/rkey", "/commit/rev"].map(|pointer| text(event, pointer));
        format!("{did}/{LIKE}/{rkey}@{rev}")
    };
    Ok(likes.map(id).collect())
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
