//! The whole job: a recording through decoding, the durable firehose topic, a filter, batches and a webhook, in one
//! `fpaas dev`; the endpoint runs beside it on the same cores and answers at once.
//!
//! Everything is per event of the firehose, wanted or not: that is what comes in.
//!
//! The peers' figures for the same work are Tap's (firehose to webhook) and Jetstream's (firehose to socket).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fpaas_benches::{amplify, endpoint};
use fpaas_testkit::Dev;
use serde_json::json;

const COPIES: u64 = 60;
const LONG: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("long.bin");
    let frames = amplify::write(&recording, COPIES)?;
    println!("{frames} frames, {} MB", recording.metadata()?.len() / 1_000_000);
    println!("load when it began: {}\n", fpaas_benches::load());
    let upstream = format!("file:{}", recording.display());
    run("recording to topic, no subscription", &upstream, frames, None).await?;
    for batch in [1, 100, 1000] {
        run(&format!("likes to a webhook, batch {batch}"), &upstream, frames, Some((batch, "app.bsky.feed.like")))
            .await?;
    }
    run("every commit to a webhook, batch 100", &upstream, frames, Some((100, "app.bsky.*"))).await
}

async fn run(name: &str, upstream: &str, frames: u64, batch: Option<(u32, &str)>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (address, counts) = endpoint::start().await?;
    let mut dev = Dev::new(folder.path(), "bench-key-0123456789")?.upstream(upstream).arg("--exit-when-idle");
    if let Some((max_events, collection)) = batch {
        let subscription = json!({"subscription": {
            "id": "bench", "startFrom": "earliest", "filter": {"collections": [collection]},
            "collector": {"maxEvents": max_events, "maxWaitMs": 100},
            "processor": {"webhook": {"url": format!("http://{address}/")}},
        }});
        let file = folder.path().join("bench.yaml");
        std::fs::write(&file, subscription.to_string())?;
        dev = dev.arg("--apply").arg(file.display().to_string());
    }
    let start = Instant::now();
    let mut process = dev.spawn()?;
    let mut usage = fpaas_testkit::process::Usage::default();
    let status = loop {
        usage = process.usage().unwrap_or(usage);
        if let Ok(status) = process.wait(Duration::from_millis(20)).await {
            break status;
        }
        ensure!(start.elapsed() < LONG, "it does not end");
    };
    ensure!(status.success(), "{}", process.lines().join("\n"));
    // Whoever delivers is done with the last call, however long the process then takes to see that it is.
    let wall = counts.last().map_or(start.elapsed(), |last| last.duration_since(start));
    let read = events(&process.lines()).context("it does not say what it has read")?;
    let (calls, delivered) = (counts.calls.load(Ordering::Relaxed), counts.events.load(Ordering::Relaxed));
    println!(
        "{name:<36} {:>8.0} events/s {:>6.1} CPU-s per million events {:>4} MB peak  ({read} events of {frames} frames \
         in {wall:.1?}; {delivered} delivered in {calls} calls)",
        read as f64 / wall.as_secs_f64(),
        usage.cpu.as_secs_f64() * 1e6 / read as f64,
        usage.memory_peak / 1_000_000,
    );
    Ok(())
}

/// How many events it has written to the firehose topic: the last line but one says it.
fn events(lines: &[String]) -> Option<u64> {
    lines
        .iter()
        .rev()
        .find_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix("events=")?.parse().ok()))
}
