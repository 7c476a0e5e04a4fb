//! Connections: bounded in number, in what a client may send and in how long it may take.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use fpaas_core::limits;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::stall::Stall;
use crate::tail::Shutdown;
use crate::{Error, Result};

/// How long requests may take to end after a shutdown; well within `limits::DRAIN`.
const DRAIN: Duration = Duration::from_secs(5);
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// The wait after an accept that failed because the process has no file descriptors left.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then lets requests end; tails end at once.
pub async fn serve(listener: TcpListener, routes: Router, shutdown: CancellationToken) -> Result<()> {
    info!(address = %listener.local_addr().map_err(Error::Listen)?, "the API listens");
    let routes = routes.layer(Extension(Shutdown(shutdown.clone())));
    let slots = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    while let Some((stream, slot)) = next(&listener, &slots, &mut open, &shutdown).await {
        open.spawn(connection(stream, slot, routes.clone(), shutdown.clone()));
    }
    drop(listener);
    drain(open).await;
    Ok(())
}

type Accepted = (TcpStream, OwnedSemaphorePermit);

/// The next connection, once there is a slot for it; none at the shutdown.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    open: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Option<Accepted> {
    let accepted = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        Some((accept(listener).await, slot))
    };
    tokio::pin!(accepted);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            accepted = &mut accepted => return accepted,
            Some(_) = open.join_next() => {}
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_WAIT).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, _slot: OwnedSemaphorePermit, routes: Router, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection was gone before it was used");
        return;
    }
    let io = TokioIo::new(Stall::new(stream, limits::API_WRITE_WAIT));
    let service = TowerToHyperService::new(routes);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::API_HEAD_WAIT)
        .max_headers(HEADERS_MAX)
        .max_header_size(limits::API_HEAD_BYTES_MAX)
        .max_buf_size(2 * limits::API_HEAD_BYTES_MAX)
        .serve_connection(io, service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke off");
    }
}

async fn drain(mut open: JoinSet<()>) {
    let requests = open.len();
    let all = async { while open.join_next().await.is_some() {} };
    match tokio::time::timeout(DRAIN, all).await {
        Ok(()) => debug!(requests, "all connections are closed"),
        Err(_) => warn!(open = open.len(), "connections were cut off at the deadline"),
    }
}
