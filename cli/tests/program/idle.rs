//! `--exit-when-idle` ends a run when nothing is left to do, and not a moment earlier.

use anyhow::{Result, ensure};
use fpaas_testkit::receiver::Call;
use serde::Deserialize;
use serde_json::Value;

use crate::{LONG, Place, recording};

/// Another subscription over what the likes became, in single events, so that it is the last to be done.
const CHAINED: &str = "---\nsubscription:\n  id: chained\n  startFrom: earliest\n  source: {topic: like-results}\n  \
                       collector: {maxEvents: 50, maxWaitMs: 400}\n  processor: {webhook: {url: \"URL\", secret: SECRET}}\n";

fn chain(place: &Place) -> Result<String> {
    let chained = CHAINED.replace("URL", &place.receiver.url()).replace("SECRET", crate::SECRET);
    std::fs::write(place.likes(), std::fs::read_to_string(place.likes())? + &chained)?;
    Ok(place.likes().display().to_string())
}

/// The part of a call's body that says what it is.
#[derive(Default, Deserialize)]
struct Body {
    subscription: String,
    events: Vec<Value>,
}

/// How many events a subscription's calls have brought.
fn brought(calls: &[Call], subscription: &str) -> usize {
    let body = |call: &Call| serde_json::from_slice(call.body.as_deref().unwrap_or_default()).unwrap_or_default();
    let bodies = calls.iter().map(body).filter(|body: &Body| body.subscription == subscription);
    bodies.map(|body| body.events.len()).sum()
}

async fn ends_with_everything_delivered(place: &Place, file: &str) -> Result<()> {
    let mut process =
        place.dev()?.upstream(recording("max")).arg("--apply").arg(file).arg("--exit-when-idle").spawn()?;
    ensure!(process.wait(LONG).await?.success(), "{}", process.lines().join("\n"));
    let calls = place.receiver.calls();
    ensure!(brought(&calls, "likes") == 719, "{} likes", brought(&calls, "likes"));
    ensure!(brought(&calls, "chained") == 719, "{} of the chained", brought(&calls, "chained"));
    Ok(())
}

#[tokio::test]
async fn a_subscription_over_anothers_results_is_waited_for() -> Result<()> {
    let place = Place::new().await?;
    let file = chain(&place)?;
    ends_with_everything_delivered(&place, &file).await
}

#[tokio::test]
async fn catch_up_lanes_are_waited_for_although_nothing_is_left_to_read() -> Result<()> {
    let place = Place::new().await?;
    let file = chain(&place)?;
    let mut first = place.dev()?.upstream(recording("max")).arg("--exit-when-idle").spawn()?;
    ensure!(first.wait(LONG).await?.success(), "{}", first.lines().join("\n"));
    ensure!(place.receiver.calls().is_empty());
    ends_with_everything_delivered(&place, &file).await
}
