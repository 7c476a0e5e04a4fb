//! The program's tasks: each has a name, and the first that fails stops the others.
//!
//! On shutdown every task drains; what is not done at the deadline is cut off, and both are said. Being cut off costs
//! nothing: it is what a crash would do, and a crash costs nothing.

use std::future::Future;

use fpaas_core::limits;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::exit::Failure;

type Ended = (&'static str, Result<(), Failure>);

/// Tasks that run until one fails or the program is asked to stop.
#[derive(Debug)]
pub(crate) struct Supervisor {
    tasks: JoinSet<Ended>,
    pub(crate) shutdown: CancellationToken,
    /// For what requests need that are still being answered after the shutdown: cancelled once the last one is.
    pub(crate) answered: CancellationToken,
    answering: Option<DropGuard>,
}

impl Supervisor {
    pub(crate) fn new(shutdown: CancellationToken) -> Self {
        let answered = CancellationToken::new();
        let answering = Some(answered.clone().drop_guard());
        Self { tasks: JoinSet::new(), shutdown, answered, answering }
    }

    /// As [`Supervisor::start`], of the one task that answers requests.
    pub(crate) fn start_answering<E: Into<Failure>>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let answering = self.answering.take();
        self.start(name, async move {
            let _answering = answering;
            task.await
        });
    }

    /// Starts a task that runs until the shutdown token.
    pub(crate) fn start<E: Into<Failure>>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, task.await.map_err(Into::into)) });
    }

    /// Waits for the first task that fails, or ends although nobody asked it to.
    pub(crate) async fn first_failure(&mut self) -> Failure {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((name, Ok(())))) if self.shutdown.is_cancelled() => info!(task = name, "stopped"),
                Some(Ok((name, Ok(())))) => return Failure::Failed(format!("{name} ended, which it never should")),
                Some(Ok((_, Err(failure)))) => return failure,
                Some(Err(error)) => return Failure::Failed(format!("a task panicked: {error}")),
                None => std::future::pending().await,
            }
        }
    }

    /// Asks all tasks to stop and waits for them, up to the deadline.
    pub(crate) async fn drain(mut self) -> Result<(), Failure> {
        self.shutdown.cancel();
        drop(self.answering.take());
        let all = async {
            let mut first = Ok(());
            while let Some(ended) = self.tasks.join_next().await {
                first = first.and(match ended {
                    Ok((_, result)) => result,
                    Err(error) => Err(Failure::Failed(format!("a task panicked: {error}"))),
                });
            }
            first
        };
        if let Ok(result) = tokio::time::timeout(limits::DRAIN, all).await {
            return result;
        }
        warn!(
            seconds = limits::DRAIN.as_secs(),
            "some work was cut off at the deadline; it is done again at the next start"
        );
        Ok(())
    }
}
