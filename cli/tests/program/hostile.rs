//! Clients that mean harm, with a right key: what they send is refused, and the program stays as small as it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{KEY, LONG, Place};

/// How many at a time, and what each of them sends.
const CLIENTS: usize = 300;
const HUGE: usize = 12 * 1024 * 1024;
const ALMOST: usize = 1024 * 1024;
/// What bodies and what connections have read ahead may take.
const ARRIVING: u64 = 110;
/// What a body of a megabyte takes that is nothing but numbers, once it is parsed; each core may parse one.
const PARSED: u64 = 64;

/// Sends a request as it is and reads the status of its answer; none where the connection is closed without one.
async fn status(address: String, head: &'static str, body: Arc<[u8]>) -> Option<String> {
    let mut stream = TcpStream::connect(&address).await.ok()?;
    let whole = format!(
        "PUT /v1/subscriptions/likes HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\
         connection: close\r\n{head}\r\n",
        body.len()
    );
    stream.write_all(whole.as_bytes()).await.ok()?;
    // It may be refused before all of it is sent.
    drop(stream.write_all(&body).await);
    let mut answer = Vec::new();
    drop(tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).map(str::to_owned)
}

#[tokio::test]
async fn bodies_that_are_too_large_too_deep_or_compressed_are_refused_in_bounded_memory() -> Result<()> {
    let place = Place::new().await?;
    let upstream = crate::recording("1x");
    let running = place.dev()?.upstream(upstream).start().await?;
    let address = running.api.url().trim_start_matches("http://").to_owned();
    let before = running.process.usage().map_or(0, |usage| usage.memory_peak);
    let huge = vec![b' '; HUGE];
    let deep = "[".repeat(1024 * 1024 - 1);
    let wide = format!("[{}0]", "0,".repeat(500 * 1024));
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    for (what, head, body, expected, most) in [
        ("too large", "", huge, ["413", "429", "503"].as_slice(), ARRIVING),
        ("too deep", "", deep.clone().into_bytes(), &["400", "429", "503"], ARRIVING + 20 * cores),
        ("wide", "", wide.into_bytes(), &["400", "429", "503"], ARRIVING + PARSED * cores),
        ("compressed", "content-encoding: gzip\r\n", deep.into_bytes(), &["415"], ARRIVING + PARSED * cores),
    ] {
        let body: Arc<[u8]> = body.into();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(status(address.clone(), head, Arc::clone(&body)));
        }
        let answers = clients.join_all().await;
        let answered: Vec<_> = answers.iter().flatten().collect();
        ensure!(!answered.is_empty(), "{what}: nobody was answered");
        for status in answered {
            ensure!(expected.contains(&status.as_str()), "{what}: {status}");
        }
        let grown = running.process.usage().map_or(0, |usage| usage.memory_peak) - before;
        println!("{what}, {CLIENTS} clients at a time: it has grown by {} MiB", grown / 1024 / 1024);
        ensure!(grown < most * 1024 * 1024, "{what}: it grew by {} MiB", grown / 1024 / 1024);
    }
    running.api.get("/v1/subscriptions").await?;
    Ok(())
}

/// As many as there may be connections, less a few: they send a little, or nearly all of a large body, and no more.
#[tokio::test]
async fn those_who_drip_keep_nobody_else_from_being_answered() -> Result<()> {
    let place = Place::new().await?;
    let running = place.dev()?.upstream(crate::recording("1x")).start().await?;
    let address = running.api.url().trim_start_matches("http://").to_owned();
    let before = running.process.usage().map_or(0, |usage| usage.memory_peak);
    running.api.put("/v1/admin/tenants/acme", &serde_json::json!({})).await?;
    let asked = serde_json::json!({"scopes": ["write"]});
    let made = running.api.send(reqwest::Method::POST, "/v1/admin/tenants/acme/keys", Some(&asked)).await?.ok()?;
    let key = made.get("key").and_then(serde_json::Value::as_str).unwrap_or_default();
    let acme = fpaas_testkit::Client::new(running.api.url(), key)?;
    let mut dripping = Vec::new();
    for number in 0..900 {
        let mut stream = TcpStream::connect(&address).await?;
        let start = if number % 2 == 0 {
            "PUT /v1/topics/out HTT".to_owned()
        } else {
            let head = "PUT /v1/topics/out HTTP/1.1\r\nhost: x";
            format!("{head}\r\nauthorization: Bearer {KEY}\r\ncontent-length: {ALMOST}\r\n\r\n")
        };
        stream.write_all(start.as_bytes()).await?;
        if number % 2 == 1 && number < 200 {
            // All but the last byte; where there is no room for it any more, it is refused before all of it is sent.
            drop(stream.write_all(&vec![b' '; ALMOST - 1]).await);
        }
        dripping.push(stream);
    }
    let (path, body) = ("/v1/topics/theirs", serde_json::json!({}));
    let answered = tokio::time::timeout(Duration::from_secs(5), acme.put(path, &body)).await;
    ensure!(answered.is_ok_and(|answer| answer.is_ok()), "who asks as one should was not answered");
    let grown = running.process.usage().map_or(0, |usage| usage.memory_peak) - before;
    ensure!(grown < 2 * ARRIVING * 1024 * 1024, "it grew by {} MiB", grown / 1024 / 1024);
    // Those who take too long are told so, or closed: heads and bodies within half a minute each.
    for mut stream in dripping {
        let mut answer = Vec::new();
        // A connection that is closed while something is still sent to it is reset.
        drop(tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await?);
        let answer = String::from_utf8_lossy(&answer);
        let known = ["HTTP/1.1 408 ", "HTTP/1.1 429 ", "HTTP/1.1 503 "].iter().any(|status| answer.starts_with(status));
        ensure!(answer.is_empty() || known, "{answer}");
    }
    Ok(())
}
