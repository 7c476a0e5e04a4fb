//! A TCP proxy on loopback that cuts, refuses, delays, holds back and half closes, and counts what it did.
//!
//! It knows no protocol. Whoever injects a fault asserts by the counts that it fired. To lose an answer: hold the
//! answers back, wait until one is held, cut.

mod connection;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connection::Connection;

/// A way through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From who has connected.
    Requests,
    /// To who has connected.
    Answers,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were passed on.
    pub accepted: u64,
    /// Connections that were closed at once, as asked.
    pub refused: u64,
    /// Connections that could not be passed on: nothing listens where they should go.
    pub unreachable: u64,
    /// Connections that were cut.
    pub cut: u64,
    /// Connections whose one way was closed.
    pub half_closed: u64,
    /// Pieces that had to wait for the delay.
    pub delayed: u64,
    /// Pieces that were held back, whether or not they went on later.
    pub held: u64,
    /// Bytes that were passed on as requests.
    pub requests: u64,
    /// Bytes that were passed on as answers.
    pub answers: u64,
}

/// What happens to every piece and every new connection from now on.
#[derive(Clone, Debug, Default)]
struct Rules {
    target: Option<SocketAddr>,
    refuse: bool,
    delay: Duration,
    hold: Option<Way>,
}

/// Runs until it is dropped, which cuts what is left.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
}

#[derive(Debug, Default)]
struct Shared {
    rules: watch::Sender<Rules>,
    counts: watch::Sender<Counts>,
    connections: Mutex<HashMap<u64, Connection>>,
}

impl Proxy {
    /// On a free port. Until it is told where connections go, they are unreachable.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, shutdown) = (listener.local_addr()?, CancellationToken::new());
        let shared = Arc::new(Shared::default());
        tokio::spawn(accept(listener, Arc::clone(&shared), shutdown.clone()));
        Ok(Self { address, shared, shutdown })
    }

    /// The same, with connections going to `target`.
    pub async fn to(target: SocketAddr) -> Result<Self> {
        let proxy = Self::start().await?;
        proxy.forward(target);
        Ok(proxy)
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go there.
    pub fn forward(&self, target: SocketAddr) {
        self.shared.rules.send_modify(|rules| rules.target = Some(target));
    }

    /// New connections are closed at once with a reset, or are taken again.
    pub fn refuse(&self, refuse: bool) {
        self.shared.rules.send_modify(|rules| rules.refuse = refuse);
    }

    /// Every piece waits so long on its way, one after the other.
    pub fn delay(&self, delay: Duration) {
        self.shared.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Nothing goes on in that way, and nothing is lost: it waits. `None` lets it go on.
    pub fn hold(&self, way: Option<Way>) {
        self.shared.rules.send_modify(|rules| rules.hold = way);
    }

    /// Cuts every connection with a reset; what was on its way is lost. How many there were.
    pub async fn cut(&self) -> usize {
        let connections: Vec<_> = self.shared.connections().drain().map(|(_, connection)| connection).collect();
        for connection in &connections {
            connection.cut();
        }
        for connection in &connections {
            connection.ended().await;
        }
        connections.len()
    }

    /// Closes one way of every connection: whoever reads there sees the end, and may still write. How many there were.
    pub async fn half_close(&self, way: Way) -> usize {
        let closed: Vec<_> = self.shared.connections().values().map(|connection| connection.close(way)).collect();
        let mut done = 0;
        for closed in closed {
            done += usize::from(closed.await);
        }
        done
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections().len()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until the counts are as wanted; an error after `limit`.
    pub async fn wait(&self, limit: Duration, wanted: impl Fn(&Counts) -> bool) -> Result<Counts> {
        let mut counts = self.shared.counts.subscribe();
        let reached = tokio::time::timeout(limit, counts.wait_for(wanted)).await;
        let counts = reached.with_context(|| format!("not within {limit:?}: {:?}", self.counts()))??;
        Ok(*counts)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, add: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(add);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    let mut number = 0;
    while let Some(Ok((caller, _))) = shutdown.run_until_cancelled(listener.accept()).await {
        number += 1;
        if shared.rules.borrow().refuse {
            reset(caller);
            shared.count(|counts| counts.refused += 1);
            continue;
        }
        tasks.spawn(open(number, caller, Arc::clone(&shared), shutdown.child_token()));
    }
}

/// Connects it to where it goes and stays with it until its end.
async fn open(number: u64, caller: TcpStream, shared: Arc<Shared>, shutdown: CancellationToken) {
    let target = shared.rules.borrow().target;
    let connected = match target {
        Some(target) => TcpStream::connect(target).await.ok(),
        None => None,
    };
    let Some(callee) = connected else {
        reset(caller);
        shared.count(|counts| counts.unreachable += 1);
        return;
    };
    let (connection, running) = Connection::new(caller, callee, Arc::clone(&shared), shutdown);
    shared.connections().insert(number, connection);
    shared.count(|counts| counts.accepted += 1);
    running.run().await;
    shared.connections().remove(&number);
}

/// Closes it so that the other side gets an error instead of an end.
fn reset(stream: TcpStream) {
    // Without it the other side sees an end, which is as good.
    drop(stream.set_zero_linger());
}
