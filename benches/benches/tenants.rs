//! A thousand tenants with an idle subscription each, all in one shared pool of one node: threads, memory, the time of
//! a start and the CPU of doing nothing, beside one tenant with a thousand subscriptions. On an embedded log, and on a
//! broker on the same cores, whose CPU is not counted.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fpaas_benches::{cpu_of, load};
use fpaas_testkit::broker::Options;
use fpaas_testkit::dev::Running;
use fpaas_testkit::{Broker, Dev};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const KEY: &str = "bench-key-0123456789";
const MANY: usize = 1000;
const IDLE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(120);
/// Nothing comes from it.
const SILENT: &str = "ws://127.0.0.1:9";

#[tokio::main]
async fn main() -> Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    println!("load when it began: {}\n", load());
    let broker = Broker::start(&Options::default().for_speed()).await;
    for (what, tenants) in [("one tenant with a thousand subscriptions", 1), ("a thousand tenants with one each", MANY)]
    {
        run(&format!("embedded log, {what}"), None, tenants).await?;
        if let Some(broker) = &broker {
            run(&format!("Kafka, {what}"), Some((broker, tenants)), tenants).await?;
        }
    }
    Ok(())
}

async fn run(what: &str, broker: Option<(&Broker, usize)>, tenants: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut dev = Dev::new(folder.path(), KEY)?.upstream(SILENT);
    if let Some((broker, number)) = broker {
        dev = dev.arg("--log").arg(format!("kafka://{}", broker.bootstrap()));
        dev = dev.arg("--topic-prefix").arg(format!("bench{number}"));
    }
    let mut running = dev.start().await?;
    let began = Instant::now();
    fill(&running, tenants).await?;
    println!("{what}: made in {:.1?}", began.elapsed());
    ensure!(running.process.stop(LONG).await?.success(), "it did not stop");
    let began = Instant::now();
    let mut running = dev.start().await?;
    let up = began.elapsed();
    ready(&running, tenants).await?;
    println!("  its API answers {up:.2?} after a start, and all its subscriptions stand after {:.2?}", began.elapsed());
    tokio::time::sleep(IDLE / 2).await;
    let id = running.process.id().context("a process")?.to_string();
    let before = cpu_of(&id);
    tokio::time::sleep(IDLE).await;
    let idle = cpu_of(&id).saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64();
    let (threads, memory) = (status(&id, "Threads:")?, status(&id, "VmRSS:")?);
    println!("  {threads} threads, {} MB, idle {:.1} % of a core", memory / 1000, idle * 100.0);
    ensure!(running.process.stop(LONG).await?.success(), "it did not stop");
    Ok(())
}

/// So many clients at a time.
const CLIENTS: usize = 16;

async fn fill(running: &Running, tenants: usize) -> Result<()> {
    let http = Client::builder().no_proxy().build()?;
    for number in 0..tenants {
        running.api.put(&format!("/v1/admin/tenants/{}", name(number)), &json!({"pool": "_free"})).await?;
    }
    let mut clients = JoinSet::new();
    for first in 0..CLIENTS {
        let (http, server) = (http.clone(), running.api.url().to_owned());
        clients.spawn(async move {
            for number in (first..MANY).step_by(CLIENTS) {
                let webhook = json!({"webhook": {"url": "http://127.0.0.1:9/"}});
                let body = json!({"filter": {"kinds": ["sync"]}, "processor": webhook});
                let request = http.put(format!("{server}/v1/subscriptions/s{number}")).bearer_auth(KEY);
                let request = request.header("fpaas-tenant", name(number % tenants)).body(body.to_string());
                request.send().await?.error_for_status()?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = clients.join_next().await {
        filled??;
    }
    Ok(())
}

/// Until the last of them has a place on its source.
async fn ready(running: &Running, tenants: usize) -> Result<()> {
    let http = Client::builder().no_proxy().build()?;
    let (number, began) = (MANY - 1, Instant::now());
    loop {
        let url = format!("{}/v1/subscriptions/s{number}/status", running.api.url());
        let request = http.request(Method::GET, url).bearer_auth(KEY).header("fpaas-tenant", name(number % tenants));
        let status: Value = serde_json::from_str(&request.send().await?.error_for_status()?.text().await?)?;
        let stands = status["source"]["partitions"].as_array().is_some_and(|all| !all.is_empty());
        if stands && status["state"] == "active" {
            return Ok(());
        }
        ensure!(began.elapsed() < LONG, "it does not stand: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn name(number: usize) -> String {
    format!("tenant-{number}")
}

fn status(process: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}
