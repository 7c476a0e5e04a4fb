//! SIGINT and SIGTERM ask the program to stop, and so does SIGHUP where its terminal is gone. Any other SIGHUP asks it
//! to read its settings again.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from the moment it is made: before that, a signal ends the process at once.
#[derive(Debug)]
pub(crate) struct Asked {
    interrupt: Signal,
    terminate: Signal,
    hung_up: Option<HungUp>,
}

/// Listens for SIGHUP from the moment it is made.
#[derive(Debug)]
pub(crate) struct HungUp(Signal);

impl Asked {
    pub(crate) fn listen() -> io::Result<Self> {
        // Who closes a terminal does not want to leave behind what runs in it.
        let hung_up = io::stdin().is_terminal().then(HungUp::listen).transpose()?;
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hung_up })
    }

    /// Resolves at the next of them.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = terminal_gone(self.hung_up.as_mut()) => "SIGHUP",
        }
    }
}

impl HungUp {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Resolves at the next one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Never where there was none.
async fn terminal_gone(hung_up: Option<&mut HungUp>) {
    let Some(hung_up) = hung_up else { return std::future::pending().await };
    while io::stdin().is_terminal() {
        hung_up.next().await;
    }
}
