//! A relay that serves a recording over WebSocket, from a cursor, with scripted faults.
//!
//! Speaks `com.atproto.sync.subscribeRepos` as a relay does (atproto.com/specs/event-stream): binary frames, `cursor`
//! is the last `seq` the caller has. Without a cursor it begins at the first frame: its past is the caller's future.

mod pace;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::recording::{Frame, Recording};
pub use pace::Pace;

const PATH: &str = "/xrpc/com.atproto.sync.subscribeRepos";

/// What a relay does wrong, and how fast it is.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// How fast frames go out.
    pub pace: Pace,
    /// The first connections are refused with 503: so many.
    pub refuse: u64,
    /// The connections after them are cut after so many frames, one entry each; later ones are not cut.
    pub cut_after: Vec<u64>,
    /// Closes the connection after the last frame, instead of falling silent as a live relay does.
    pub close_at_end: bool,
}

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    recording: Recording,
    script: Script,
    connections: AtomicU64,
    refused: AtomicU64,
    cuts: AtomicU64,
    sent: AtomicU64,
    cursors: Mutex<Vec<Option<u64>>>,
}

impl Relay {
    /// On a free port of loopback.
    pub async fn start(recording: Recording, script: Script) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, shutdown) = (listener.local_addr()?, CancellationToken::new());
        let shared = Arc::new(Shared {
            recording,
            script,
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cursors: Mutex::default(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared), shutdown.clone()));
        Ok(Self { address, shared, shutdown })
    }

    /// What goes into `--upstream`.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Connections that were refused by the script.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Connections that were cut by the script.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Frames that went out, repeated ones included.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// The cursor of every connection that was taken.
    pub fn cursors(&self) -> Vec<Option<u64>> {
        self.shared.cursors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    while let Some(Ok((stream, _))) = shutdown.run_until_cancelled(listener.accept()).await {
        let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
        tasks.spawn(async move {
            // A caller that hangs up is its own matter.
            drop(shutdown.run_until_cancelled(connection(stream, &shared)).await);
        });
    }
}

async fn connection(stream: TcpStream, shared: &Shared) -> Result<()> {
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    if number < shared.script.refuse {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return refuse(stream).await;
    }
    let mut cursor = None;
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, asked(&mut cursor)).await?;
    shared.cursors.lock().unwrap_or_else(PoisonError::into_inner).push(cursor);
    let cut = usize::try_from(number - shared.script.refuse).ok().and_then(|at| shared.script.cut_after.get(at));
    if serve(&mut socket, shared, cursor, cut.copied().unwrap_or(u64::MAX)).await? {
        shared.cuts.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    if shared.script.close_at_end {
        socket.close(None).await?;
    }
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}

/// Sends what comes after the cursor; whether the script cut it off.
async fn serve(
    socket: &mut WebSocketStream<TcpStream>,
    shared: &Shared,
    cursor: Option<u64>,
    cut: u64,
) -> Result<bool> {
    let after = |frame: &&Frame| cursor.is_none_or(|cursor| frame.seq.is_none_or(|seq| seq > cursor));
    let mut pace = shared.script.pace.start();
    for (sent, frame) in (0..).zip(shared.recording.frames.iter().filter(after)) {
        if sent == cut {
            return Ok(true);
        }
        pace.wait(frame).await;
        socket.send(Message::Binary(frame.bytes.clone())).await?;
        shared.sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(false)
}

async fn refuse(stream: TcpStream) -> Result<()> {
    #[expect(clippy::result_large_err, reason = "the type of the library's callback")]
    let answer =
        |_: &Request, _: Response| -> Result<Response, ErrorResponse> { Err(refusal(StatusCode::SERVICE_UNAVAILABLE)) };
    // The refusal is an error of the handshake, as it should be.
    drop(tokio_tungstenite::accept_hdr_async(stream, answer).await);
    Ok(())
}

fn refusal(status: StatusCode) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = status;
    refusal
}

/// Takes the cursor out of the request.
#[expect(clippy::result_large_err, reason = "the type of the library's callback")]
fn asked(
    cursor: &mut Option<u64>,
) -> impl FnOnce(&Request, Response) -> Result<Response, ErrorResponse> + Unpin + use<'_> {
    move |request, response| {
        if request.uri().path() != PATH {
            return Err(refusal(StatusCode::NOT_FOUND));
        }
        let pairs = request.uri().query().unwrap_or_default().split('&');
        *cursor = pairs.filter_map(|pair| pair.strip_prefix("cursor=")).find_map(|seq| seq.parse().ok());
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seqs(relay: &Relay, query: &str) -> usize {
        let url = format!("{}{PATH}{query}", relay.url());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut frames = 0;
        while let Some(Ok(message)) = socket.next().await {
            frames += usize::from(message.is_binary());
        }
        frames
    }

    #[tokio::test]
    async fn a_cursor_gets_what_comes_after_it_and_a_cut_is_counted() {
        let recording = Recording::bundled().unwrap();
        let cursor = recording.frames[9].seq.unwrap();
        let script = Script { cut_after: vec![5], close_at_end: true, ..Script::default() };
        let relay = Relay::start(recording, script).await.unwrap();
        assert_eq!(seqs(&relay, "").await, 5);
        assert_eq!((relay.cuts(), relay.sent()), (1, 5));
        assert_eq!(seqs(&relay, &format!("?cursor={cursor}")).await, 1975);
        assert_eq!(relay.cursors(), [None, Some(cursor)]);
    }

    #[tokio::test]
    async fn a_refused_connection_is_answered_503() {
        let relay = Relay::start(Recording::default(), Script { refuse: 1, ..Script::default() }).await.unwrap();
        let error = tokio_tungstenite::connect_async(format!("{}{PATH}", relay.url())).await.unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
        assert_eq!(relay.refused(), 1);
    }
}
