//! The stages of every pool that a tenant is in: started when the control view first names it, stopped when its last
//! tenant is gone.
//!
//! Owns the tasks of all pools. One that fails ends the node, as every task does; the others are stopped before. Does
//! not own what the stages do, nor which tenant is in which pool.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use fpaas_core::{PoolId, limits};
use fpaas_state::Context;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::exit::Failure;

/// What this node runs for each pool.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) context: Context,
    pub(super) router: bool,
    pub(super) dispatcher: Option<fpaas_dispatcher::Config>,
}

type Ended = (PoolId, &'static str, Result<(), Failure>);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Pools {
    stages: Stages,
    stop: CancellationToken,
    running: BTreeMap<PoolId, Running>,
    tasks: JoinSet<Ended>,
}

/// A pool that has tasks.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    tasks: usize,
    /// Told once its router holds what its subscriptions have not passed, or is over.
    holding: Arc<Notify>,
    /// One of each stage: told once it has slots and what belongs to them.
    assigned: Vec<Arc<Notify>>,
}

impl Pools {
    /// Starts those of the view as it stands.
    pub(super) fn start(stages: Stages, shutdown: &CancellationToken) -> Self {
        let pools = stages.context.control.view().pools();
        let stop = shutdown.child_token();
        let mut started = Self { stages, stop, running: BTreeMap::new(), tasks: JoinSet::new() };
        started.follow(&pools);
        started
    }

    /// What tells that a pool's router holds its sources, for each pool there is.
    pub(super) fn holding(&self) -> Vec<Arc<Notify>> {
        self.running.values().map(|running| Arc::clone(&running.holding)).collect()
    }

    /// Returns once every stage of the pools there are has slots and has restored what belongs to them.
    pub(super) fn assigned(&self) -> impl Future<Output = ()> + Send + use<> {
        let all: Vec<_> = self.running.values().flat_map(|running| running.assigned.clone()).collect();
        async move {
            for stage in all {
                stage.notified().await;
            }
        }
    }

    /// Follows the view until the shutdown.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let mut views = self.stages.context.control.views();
        loop {
            let pools = views.borrow_and_update().pools();
            self.follow(&pools);
            let ended = tokio::select! {
                () = self.stop.cancelled() => return self.drain().await,
                // The other side lives in our context.
                _ = views.changed() => continue,
                Some(ended) = self.tasks.join_next() => self.note(ended),
            };
            if let Err(failure) = ended {
                self.stop.cancel();
                // What else goes wrong now came of it.
                drop(tokio::time::timeout(limits::DRAIN, self.drain()).await);
                return Err(failure);
            }
        }
    }

    /// Starts what should run and does not, and asks to stop what should not. What still stops is started again once
    /// it has.
    fn follow(&mut self, pools: &BTreeSet<PoolId>) {
        for (pool, running) in &self.running {
            if !pools.contains(pool) && !running.stop.is_cancelled() {
                info!(%pool, "its last tenant is gone: stopping");
                running.stop.cancel();
            }
        }
        for pool in pools {
            if !self.running.contains_key(pool) {
                let running = self.start_pool(pool);
                self.running.insert(pool.clone(), running);
            }
        }
    }

    fn start_pool(&mut self, pool: &PoolId) -> Running {
        let (stop, context) = (self.stop.child_token(), self.stages.context.clone());
        let config = fpaas_router::Config::default();
        let holding = Arc::clone(&config.holding);
        let mut running = Running { stop: stop.clone(), tasks: 0, holding, assigned: Vec::new() };
        if self.stages.router {
            running.tasks += 1;
            running.assigned.push(Arc::clone(&config.assigned));
            self.spawn(pool, "router", fpaas_router::run(context.clone(), pool.clone(), config, stop.clone()));
        }
        if let Some(config) = self.stages.dispatcher.clone() {
            let config = fpaas_dispatcher::Config { assigned: Arc::default(), ..config };
            running.tasks += 1;
            running.assigned.push(Arc::clone(&config.assigned));
            self.spawn(pool, "dispatcher", fpaas_dispatcher::run(context, pool.clone(), config, stop));
        }
        running
    }

    fn spawn<E: Into<Failure>>(
        &mut self,
        pool: &PoolId,
        name: &'static str,
        stage: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let pool = pool.clone();
        self.tasks.spawn(async move { (pool, name, stage.await.map_err(Into::into)) });
    }

    /// A stage that nobody asked to end must not.
    fn note(&mut self, ended: Result<Ended, JoinError>) -> Result<(), Failure> {
        let (pool, name, result) = ended.map_err(|error| Failure::Failed(format!("a task panicked: {error}")))?;
        result?;
        let Some(running) = self.running.get_mut(&pool) else { return Ok(()) };
        if !running.stop.is_cancelled() {
            return Err(Failure::Failed(format!("the {name} of the pool {pool} ended, which it never should")));
        }
        running.tasks -= 1;
        if running.tasks == 0 {
            running.holding.notify_one();
            running.assigned.iter().for_each(|stage| stage.notify_one());
            self.running.remove(&pool);
        }
        Ok(())
    }

    /// All of them are asked to stop: waits until they have.
    async fn drain(&mut self) -> Result<(), Failure> {
        let mut first = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            first = first.and(self.note(ended));
        }
        first
    }
}
