//! An endpoint that costs next to nothing: it reads a request and answers 204. So a bench measures us and not it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What came so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests.
    pub calls: AtomicU64,
    /// Their `fpaas-event-count`, summed.
    pub events: AtomicU64,
    /// When the last one was answered.
    last: Mutex<Option<Instant>>,
}

impl Counts {
    /// When the last request was answered.
    pub fn last(&self) -> Option<Instant> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers at once, on loopback, until the runtime ends.
pub async fn start() -> Result<(SocketAddr, Arc<Counts>)> {
    after(Duration::ZERO).await
}

/// Answers each request after so long.
pub async fn after(wait: Duration) -> Result<(SocketAddr, Arc<Counts>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, counts) = (listener.local_addr()?, Arc::new(Counts::default()));
    let counted = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counts = Arc::clone(&counted);
            tokio::spawn(async move { serve(stream, &counts, wait).await });
        }
    });
    Ok((address, counts))
}

async fn serve(stream: TcpStream, counts: &Counts, wait: Duration) -> Result<()> {
    let mut stream = BufReader::with_capacity(256 * 1024, stream);
    let mut line = String::new();
    loop {
        let (mut length, mut events) = (0, 0);
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse::<u64>().context("a length")?,
                Some(("fpaas-event-count", value)) => events = value.parse::<u64>().context("a count")?,
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        tokio::io::copy(&mut (&mut stream).take(length), &mut tokio::io::sink()).await?;
        counts.calls.fetch_add(1, Ordering::Relaxed);
        counts.events.fetch_add(events, Ordering::Relaxed);
        *counts.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}
