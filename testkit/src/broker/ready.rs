//! Whether a broker answers, asked as any client asks first: ApiVersions, version 0.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// A start takes three seconds; the machine may be busy.
const START: Duration = Duration::from_secs(90);
const ANSWER: Duration = Duration::from_secs(2);
/// Another process tells nobody that it is up: it has to be asked.
const AGAIN: Duration = Duration::from_millis(50);

/// Request key 18, version 0, correlation 7, no client id (kafka.apache.org/protocol, request header v1).
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// Returns when it answers; an error when it no longer runs, or after a time that no start takes.
pub(super) async fn wait(address: SocketAddr, runs: impl AsyncFn() -> bool) -> Result<()> {
    let begin = Instant::now();
    loop {
        // A port that something else answers on, or nothing yet, looks the same: it is asked again.
        if let Ok(Ok(true)) = timeout(ANSWER, answers(address)).await {
            return Ok(());
        }
        ensure!(runs().await, "the broker has ended while it started");
        ensure!(begin.elapsed() < START, "the broker at {address} has not answered within {START:?}");
        sleep(AGAIN).await;
    }
}

async fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&API_VERSIONS).await?;
    // Length, correlation, error code.
    let mut head = [0; 10];
    stream.read_exact(&mut head).await?;
    Ok(head.ends_with(&[0, 0, 0, 7, 0, 0]))
}
