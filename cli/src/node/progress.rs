//! The live line: how much came in, matched, was batched, and how far behind it all is.
//!
//! On a terminal one line is rewritten every second; elsewhere a plain log line says the same every ten.

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;

use fpaas_ingest::State;
use fpaas_state::{Context, Standings};
use tracing::info;

#[derive(Debug)]
pub(super) struct Progress {
    context: Context,
    status: Arc<fpaas_ingest::Status>,
    standings: Standings,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(context: Context, status: Arc<fpaas_ingest::Status>) -> Self {
        Self { context, status, standings: Standings::default(), terminal: std::io::stderr().is_terminal() }
    }

    /// Shows it for ever.
    pub(super) async fn show(self) {
        let period = Duration::from_secs(if self.terminal { 1 } else { 10 });
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        let (mut before, mut shown) = (self.status.counts().events, String::new());
        loop {
            ticks.tick().await;
            let events = self.status.counts().events;
            let rate = events.saturating_sub(before) / period.as_secs();
            before = events;
            let line = self.line(rate).await;
            self.put(&line, &shown);
            shown = line;
        }
    }

    fn put(&self, line: &str, shown: &str) {
        if self.terminal {
            // A terminal that is gone is no reason to stop.
            drop(write!(std::io::stderr(), "\r\x1b[2K{line}"));
        } else if line != shown {
            info!("{line}");
        }
    }

    async fn line(&self, rate: u64) -> String {
        let board = &self.context.board;
        let (matched, batches) = (board.total(|of| &of.matched), board.total(|of| &of.batches));
        let (results, dead) = (board.total(|of| &of.results), board.total(|of| &of.dead_letters));
        let lag = fpaas_api::backlog(&self.context, &self.standings).await;
        let lag = lag.map_or_else(|_| "unknown".to_owned(), |lag| lag.to_string());
        let events = self.status.counts().events;
        let trouble = self.trouble().map(|why| format!(" | {why}")).unwrap_or_default();
        format!(
            "{rate} events/s | {events} events | {matched} matched | {batches} batches | {results} results | \
             {dead} dead letters | lag {lag}{trouble}"
        )
    }

    /// Why an upstream gives nothing, if one does not.
    fn trouble(&self) -> Option<String> {
        let upstreams = self.status.upstreams();
        let states = upstreams.borrow();
        states.iter().find_map(|upstream| match &upstream.state {
            State::Unreachable(why) => Some(why.clone()),
            _ => None,
        })
    }
}

/// Says at the end, whichever it is, what was read and what of it was dropped, by reason.
#[derive(Debug)]
pub(super) struct SumUp(pub(super) Arc<fpaas_ingest::Status>);

impl Drop for SumUp {
    fn drop(&mut self) {
        let counts = self.0.counts();
        let dropped: Vec<_> = self.0.drops().filter(|(_, times)| *times > 0).collect();
        info!(frames = counts.frames, events = counts.events, ?dropped, "read");
    }
}
