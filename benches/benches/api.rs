//! Requests to the API of a `fpaas dev` with a thousand subscriptions: how many a second, and how long one takes,
//! beside the same client against an endpoint that answers 204 to whatever comes. Client and server share the cores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fpaas_benches::{cpu_of, endpoint, load, times};
use fpaas_testkit::Dev;
use reqwest::{Client, Method};
use tokio::task::JoinSet;

const KEY: &str = "bench-key-0123456789";
const SUBSCRIPTIONS: usize = 1000;
const CLIENTS: usize = 16;
const FOR: Duration = Duration::from_secs(10);
/// Nothing comes from it.
const SILENT: &str = "ws://127.0.0.1:9";
const BODY: &str = r#"{"filter":{"kinds":["sync"]},"processor":{"webhook":{"url":"http://127.0.0.1:9/"}}}"#;

#[tokio::main]
async fn main() -> Result<()> {
    // Needed once in a process, also where nothing is encrypted.
    drop(rustls::crypto::ring::default_provider().install_default());
    println!("load when it began: {}; {CLIENTS} clients, {SUBSCRIPTIONS} subscriptions\n", load());
    let (limit, _counts) = endpoint::start().await?;
    let limit = format!("http://{limit}/");
    let bare = run("limit: GET of an endpoint that answers 204", None, move |_| (Method::GET, limit.clone())).await?;

    let folder = tempfile::tempdir()?;
    let mut running = Dev::new(folder.path(), KEY)?.upstream(SILENT).start().await?;
    let process = running.process.id().map(|id| id.to_string());
    let url = Arc::new(running.api.url().to_owned());
    for number in 0..SUBSCRIPTIONS {
        let body = serde_json::from_str(BODY)?;
        running.api.put(&format!("/v1/subscriptions/s{number}"), &body).await?;
    }
    let of = Arc::clone(&url);
    let path = move |number: usize| format!("{of}/v1/subscriptions/s{}", number % SUBSCRIPTIONS);
    for (what, method) in [("GET of a subscription", Method::GET), ("PUT of a subscription", Method::PUT)] {
        let (path, method) = (path.clone(), method.clone());
        let rate = run(what, process.as_deref(), move |number| (method.clone(), path(number))).await?;
        println!("  {:.2} of the limit", rate / bare);
    }
    let list = format!("{url}/v1/subscriptions?limit=100");
    run("GET of a page of 100", process.as_deref(), move |_| (Method::GET, list.clone())).await?;
    ensure!(running.process.stop(Duration::from_secs(30)).await?.success(), "it did not stop");
    Ok(())
}

/// All clients ask for a while, each one request after the other. Requests per second.
async fn run(
    what: &str,
    process: Option<&str>,
    ask: impl Fn(usize) -> (Method, String) + Clone + Send + 'static,
) -> Result<f64> {
    let before = process.map(cpu_of);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let ask = ask.clone();
        clients.spawn(async move {
            let http = Client::builder().no_proxy().build()?;
            let (mut taken, began, mut number) = (Vec::new(), Instant::now(), client);
            while began.elapsed() < FOR {
                let (method, url) = ask(number);
                let request = http.request(method.clone(), url).bearer_auth(KEY);
                let request = if method == Method::PUT { request.body(BODY) } else { request };
                let asked = Instant::now();
                let answer = request.send().await?.error_for_status()?;
                answer.bytes().await?;
                taken.push(asked.elapsed());
                number += CLIENTS;
            }
            anyhow::Ok(taken)
        });
    }
    let mut taken = Vec::new();
    while let Some(ended) = clients.join_next().await {
        taken.extend(ended.context("a client")??);
    }
    let rate = taken.len() as f64 / FOR.as_secs_f64();
    let cpu = process.zip(before).map(|(process, before)| cpu_of(process).saturating_sub(before));
    let cpu = cpu.map(|cpu| format!(", {:.0} µs of CPU each", cpu.as_micros() as f64 / taken.len() as f64));
    println!("{what}: {rate:.0}/s, {}{}", times(taken), cpu.unwrap_or_default());
    Ok(rate)
}
