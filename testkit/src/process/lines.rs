//! Lines that were said, for whoever waits for one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

/// Shared between the readers of both outputs and those who wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    said: Arc<Mutex<Said>>,
    changed: watch::Sender<()>,
}

impl Lines {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, line: String) {
        self.said().lines.push(line);
        self.changed.send_replace(());
    }

    /// Nothing more will be said.
    pub(super) fn close(&self) {
        self.said().ended = true;
        self.changed.send_replace(());
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.said().lines.clone()
    }

    /// Waits until nothing more will be said.
    pub(super) async fn ended(&self) {
        let mut changed = self.changed.subscribe();
        while !self.said().ended && changed.changed().await.is_ok() {}
    }

    /// What `take` makes of the first line it wants; `None` when there will be none.
    pub(super) async fn find<T>(&self, from: usize, take: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (mut changed, mut next) = (self.changed.subscribe(), from);
        loop {
            changed.borrow_and_update();
            {
                let said = self.said();
                let fresh = said.lines.get(next..).unwrap_or_default();
                if let Some(found) = fresh.iter().find_map(|line| take(line)) {
                    return Some(found);
                }
                if said.ended {
                    return None;
                }
                next = next.max(said.lines.len());
            }
            changed.changed().await.ok()?;
        }
    }
}
