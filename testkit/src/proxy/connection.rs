//! One connection through the proxy: two ways, each of which can be closed, and both of which can be cut.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

use super::{Counts, Rules, Shared, Way, reset};

/// The most that goes on at once.
const PIECE: usize = 64 * 1024;

/// What can be done to it from outside.
#[derive(Debug)]
pub(super) struct Connection {
    cut: CancellationToken,
    requests: Closing,
    answers: Closing,
    ended: CancellationToken,
}

/// One way of it, which can be asked to close.
#[derive(Clone, Debug, Default)]
struct Closing {
    asked: CancellationToken,
    done: CancellationToken,
}

/// Passes bytes on.
pub(super) struct Running {
    caller: TcpStream,
    callee: TcpStream,
    shared: Arc<Shared>,
    cut: CancellationToken,
    requests: Closing,
    answers: Closing,
    ended: CancellationToken,
}

impl Connection {
    pub(super) fn new(
        caller: TcpStream,
        callee: TcpStream,
        shared: Arc<Shared>,
        cut: CancellationToken,
    ) -> (Self, Running) {
        let (requests, answers, ended) = (Closing::default(), Closing::default(), CancellationToken::new());
        let outside =
            Self { cut: cut.clone(), requests: requests.clone(), answers: answers.clone(), ended: ended.clone() };
        (outside, Running { caller, callee, shared, cut, requests, answers, ended })
    }

    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Asks for it at once; the answer is whether it was done before the connection ended.
    pub(super) fn close(&self, way: Way) -> impl Future<Output = bool> + use<> {
        let closing = match way {
            Way::Requests => self.requests.clone(),
            Way::Answers => self.answers.clone(),
        };
        closing.asked.cancel();
        let ended = self.ended.clone();
        async move { ended.run_until_cancelled(closing.done.cancelled()).await.is_some() }
    }
}

impl Running {
    /// Until both ways have ended, one failed, or it was cut.
    pub(super) async fn run(self) {
        // Small packets are passed on as they come.
        drop(self.caller.set_nodelay(true).and(self.callee.set_nodelay(true)));
        let (from_caller, to_caller) = self.caller.into_split();
        let (from_callee, to_callee) = self.callee.into_split();
        let mut requests = Pump { from: from_caller, to: to_callee, way: Way::Requests, shared: &self.shared };
        let mut answers = Pump { from: from_callee, to: to_caller, way: Way::Answers, shared: &self.shared };
        let both = async { tokio::try_join!(requests.run(&self.requests), answers.run(&self.answers)) };
        let cut = self.cut.run_until_cancelled(both).await.is_none();
        let (caller, callee) = (requests.from.reunite(answers.to), answers.from.reunite(requests.to));
        if cut {
            caller.into_iter().for_each(reset);
            callee.into_iter().for_each(reset);
            self.shared.count(|counts| counts.cut += 1);
        }
        self.ended.cancel();
    }
}

/// One way.
struct Pump<'a> {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    way: Way,
    shared: &'a Shared,
}

impl Pump<'_> {
    async fn run(&mut self, closing: &Closing) -> std::io::Result<()> {
        let passed = closing.asked.run_until_cancelled(self.pass()).await;
        if passed.is_none() {
            self.to.shutdown().await?;
            self.shared.count(|counts| counts.half_closed += 1);
            closing.done.cancel();
        }
        passed.unwrap_or(Ok(()))
    }

    /// Until the end, which is passed on too.
    async fn pass(&mut self) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let read = self.from.read(&mut piece).await?;
            if read == 0 {
                return self.to.shutdown().await;
            }
            self.obey().await;
            self.to.write_all(piece.get(..read).unwrap_or_default()).await?;
            self.shared.count(|counts| *passed(counts, self.way) += read as u64);
        }
    }

    /// What the rules do to a piece.
    async fn obey(&self) {
        let delay = self.shared.rules.borrow().delay;
        if !delay.is_zero() {
            self.shared.count(|counts| counts.delayed += 1);
            tokio::time::sleep(delay).await;
        }
        let holds = |rules: &Rules| rules.hold == Some(self.way);
        let mut rules = self.shared.rules.subscribe();
        let held = holds(&rules.borrow_and_update());
        if held {
            self.shared.count(|counts| counts.held += 1);
            // Fails when the proxy is gone: then this is cut.
            drop(rules.wait_for(|rules| !holds(rules)).await);
        }
    }
}

fn passed(counts: &mut Counts, way: Way) -> &mut u64 {
    match way {
        Way::Requests => &mut counts.requests,
        Way::Answers => &mut counts.answers,
    }
}
