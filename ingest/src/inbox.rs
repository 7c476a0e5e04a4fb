//! What the upstreams' tasks send to the decoder: one bounded channel, by number and by bytes. Invariant: bounded.
//!
//! A frame's room is given back when the frame is dropped, so slow writing is felt at the socket.

use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Something from one upstream.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Which, by its place in the configuration.
    pub(crate) upstream: usize,
    pub(crate) what: What,
    _room: Option<OwnedSemaphorePermit>,
}

impl Arrival {
    /// The bytes of its frame.
    pub(crate) fn bytes(&self) -> usize {
        if let What::Frame(frame) = &self.what { frame.len() } else { 0 }
    }
}

#[derive(Debug)]
pub(crate) enum What {
    /// A frame, as it came.
    Frame(Bytes),
    /// A message that is no frame.
    NotBinary,
    /// The upstream counts anew: a lower `seq` is no repetition.
    Restarted,
    /// The recording cannot be read on.
    BrokenOff,
    /// The recording is at its end.
    Finished,
}

/// One upstream's end.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    upstream: usize,
    sender: mpsc::Sender<Arrival>,
    room: Arc<Semaphore>,
}

/// Nobody decodes any more: the sender ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// An outbox for each of `upstreams`, and what receives from all of them.
pub(crate) fn channel(upstreams: usize) -> (Vec<Outbox>, mpsc::Receiver<Arrival>) {
    let (sender, receiver) = mpsc::channel(limits::FRAMES_WAITING_MAX);
    let room = Arc::new(Semaphore::new(limits::FRAMES_WAITING_BYTES_MAX));
    let outbox = |upstream| Outbox { upstream, sender: sender.clone(), room: room.clone() };
    ((0..upstreams).map(outbox).collect(), receiver)
}

impl Outbox {
    /// Which upstream it belongs to.
    pub(crate) const fn upstream(&self) -> usize {
        self.upstream
    }

    /// Sends a frame of at most `limits::FRAME_BYTES_MAX`, once there is room for it.
    pub(crate) async fn frame(&self, frame: Bytes) -> Result<(), Closed> {
        let bytes = u32::try_from(frame.len().min(limits::FRAMES_WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| Closed)?;
        self.send(What::Frame(frame), Some(room)).await
    }

    /// Says that a message was no frame.
    pub(crate) async fn not_binary(&self) -> Result<(), Closed> {
        self.send(What::NotBinary, None).await
    }

    /// Says that the upstream counts anew.
    pub(crate) async fn restarted(&self) -> Result<(), Closed> {
        self.send(What::Restarted, None).await
    }

    /// Says that what is left of a recording cannot be read.
    pub(crate) async fn broken_off(&self) -> Result<(), Closed> {
        self.send(What::BrokenOff, None).await
    }

    /// Says that nothing more will come.
    pub(crate) async fn finished(&self) -> Result<(), Closed> {
        self.send(What::Finished, None).await
    }

    async fn send(&self, what: What, room: Option<OwnedSemaphorePermit>) -> Result<(), Closed> {
        let arrival = Arrival { upstream: self.upstream, what, _room: room };
        self.sender.send(arrival).await.map_err(|_| Closed)
    }
}
