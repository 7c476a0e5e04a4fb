//! Makes a broker look like one of Kafka 2.4: it stands in front of it and lowers what the broker says it speaks
//! (kafka.apache.org/protocol, ApiVersions). Everything else is passed on as it is.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const API_VERSIONS: i16 = 18;
/// TxnOffsetCommit, OffsetFetch, InitProducerId and EndTxn as they were before 2.5, and no DescribeTransactions.
const LOWERED: [(i16, i16); 5] = [(28, 2), (9, 6), (22, 2), (26, 1), (65, -1)];

/// Runs until it is dropped.
pub(crate) struct Front {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    changed: Arc<AtomicU64>,
    _accepting: JoinSet<()>,
}

impl Front {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, target, changed) = (listener.local_addr()?, Arc::default(), Arc::<AtomicU64>::default());
        let mut accepting = JoinSet::new();
        let (to, count): (Arc<Mutex<Option<SocketAddr>>>, _) = (Arc::clone(&target), Arc::clone(&changed));
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((caller, _)) = listener.accept().await {
                let (to, count) = (*to.lock().unwrap(), Arc::clone(&count));
                connections.spawn(async move { passed(caller, to, count).await.ok() });
            }
        });
        Ok(Self { address, target, changed, _accepting: accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn forward(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = Some(target);
    }

    /// How many answers were changed.
    pub(crate) fn changed(&self) -> u64 {
        self.changed.load(Ordering::SeqCst)
    }
}

async fn passed(caller: TcpStream, target: Option<SocketAddr>, changed: Arc<AtomicU64>) -> Result<()> {
    let callee = TcpStream::connect(target.context("not forwarded yet")?).await?;
    let ((from_caller, to_caller), (from_callee, to_callee)) = (caller.into_split(), callee.into_split());
    // The number of each question about versions, and the version of the question.
    let asked = Mutex::new(HashSet::new());
    let lower = |frame: &mut Vec<u8>| {
        let number = int32(frame, 0);
        for version in [0, 1, 2, 3, 4] {
            if asked.lock().unwrap().remove(&(number, version)) {
                lowered(frame, version >= 3);
                changed.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let note = |frame: &mut Vec<u8>| {
        if int16(frame, 0) == API_VERSIONS {
            asked.lock().unwrap().insert((int32(frame, 4), int16(frame, 2)));
        }
    };
    tokio::try_join!(frames(from_caller, to_callee, note), frames(from_callee, to_caller, lower))?;
    Ok(())
}

async fn frames(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, look: impl Fn(&mut Vec<u8>)) -> Result<()> {
    loop {
        let mut frame = vec![0; from.read_u32().await? as usize];
        from.read_exact(&mut frame).await?;
        look(&mut frame);
        to.write_u32(u32::try_from(frame.len())?).await?;
        to.write_all(&frame).await?;
    }
}

/// Number, error, array of (request, lowest, highest); from version 3 on compact, and with an empty list of tags each.
fn lowered(frame: &mut [u8], compact: bool) {
    let (start, step) = if compact { (7, 7) } else { (10, 6) };
    // Fewer than 127 requests: the length of a compact array is one byte.
    let count = if compact { usize::from(frame[6]) - 1 } else { int32(frame, 6) as usize };
    assert!(count < 127 && frame.len() >= start + count * step, "an answer of another shape");
    for entry in (0..count).map(|index| start + index * step) {
        if let Some((_, highest)) = LOWERED.iter().find(|(request, _)| *request == int16(frame, entry)) {
            frame[entry + 4..entry + 6].copy_from_slice(&highest.to_be_bytes());
        }
    }
}

fn int16(frame: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([frame[at], frame[at + 1]])
}

fn int32(frame: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}
