//! `/metrics` of the whole program: what the page in the docs says is what is served, and parsers of others read it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::openmetrics::{Families, parse};
use fpaas_testkit::{Need, checkout, skip};

use crate::{LONG, Place, recording};

/// The text, once the likes of the recording are through.
async fn served() -> Result<String> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max")).arg("--apply").arg(place.likes().display().to_string());
    let mut running = dev.start().await?;
    let mut tail = running.api.tail("like-results", "from=earliest").await?;
    for _ in 0..719 {
        tokio::time::timeout(LONG, tail.next()).await??;
    }
    // The first scrape is in the second one.
    let mut text = String::new();
    for _ in 0..2 {
        let http = reqwest::Client::builder().no_proxy().build()?;
        text = http.get(format!("{}/metrics", running.api.url())).send().await?.error_for_status()?.text().await?;
    }
    ensure!(running.process.stop(LONG).await?.success());
    Ok(text)
}

/// `| name | type | labels |` as the page has it.
fn rows(families: &Families) -> BTreeSet<String> {
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let row = |(name, family): (&String, &fpaas_testkit::openmetrics::Family)| {
        let labels = family.labels().into_iter().map(|label| format!("`{label}`")).collect::<Vec<_>>();
        format!("| `{name}{}` | {} | {} |", suffix(&family.kind), family.kind, labels.join(", "))
    };
    families.iter().map(row).collect()
}

#[tokio::test]
async fn the_page_lists_exactly_what_is_served_and_the_numbers_are_right() -> Result<()> {
    let families = parse(&served().await?)?;
    let page = std::fs::read_to_string(checkout().join("docs/metrics.md"))?;
    // Name, type and labels of each row of the tables; what a number means is behind them.
    let (tables, _) = page.split_once("## What to watch").context("the page has no advice")?;
    let documented = tables.lines().filter(|line| line.starts_with("| `fpaas_"));
    let documented: BTreeSet<_> =
        documented.map(|line| line.splitn(5, '|').take(4).collect::<Vec<_>>().join("|") + "|").collect();
    let found = rows(&families);
    ensure!(
        documented == found,
        "only on the page: {:?}\nonly served: {:?}",
        documented.difference(&found).collect::<Vec<_>>(),
        found.difference(&documented).collect::<Vec<_>>()
    );
    let of = |name: &str, labels: &[(&str, &str)]| families[name].value(labels);
    let likes = [("tenant", "local"), ("subscription", "likes")];
    ensure!(of("fpaas_ingest_events", &[]) == Some(2534.0), "{:?}", families["fpaas_ingest_events"]);
    ensure!(of("fpaas_router_matched_records", &likes) == Some(719.0));
    ensure!(of("fpaas_dispatcher_results", &likes) == Some(719.0));
    ensure!(of("fpaas_lost_offsets", &likes) == Some(0.0) && of("fpaas_log_lost_records", &[]) == Some(0.0));
    ensure!(of("fpaas_ingest_dropped", &[("reason", "frame-header")]) == Some(0.0));
    ensure!(of("fpaas_api_requests", &[("route", "/metrics"), ("status", "2xx")]) == Some(1.0));
    Ok(())
}

/// Reads all of it and prints the names of the families.
const READ: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print('\\n'.join(family.name for family in text_string_to_metric_families(sys.stdin.read())))
";

/// What the parser of Prometheus's own Python client makes of it; none where it is not there.
fn python(text: &str) -> Result<Option<String>> {
    let packages = std::env::var("FPAAS_PYTHON_PACKAGES").unwrap_or_default();
    let python = |code: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", code]).env("PYTHONPATH", &packages).stdin(Stdio::piped());
        command
    };
    if !python("import prometheus_client").output().is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let mut reading = python(READ).stdout(Stdio::piped()).spawn()?;
    reading.stdin.take().context("no input")?.write_all(text.as_bytes())?;
    let output = reading.wait_with_output()?;
    ensure!(output.status.success(), "the parser refuses it");
    Ok(Some(String::from_utf8(output.stdout)?))
}

#[tokio::test]
async fn the_parser_of_prometheus_reads_the_same_families() -> Result<()> {
    let text = served().await?;
    let Some(names) = python(&text)? else {
        skip(Need::PythonPackages, "the metrics, read by Prometheus's own parser");
        return Ok(());
    };
    ensure!(names.lines().map(str::to_owned).collect::<BTreeSet<_>>() == parse(&text)?.into_keys().collect());
    Ok(())
}
