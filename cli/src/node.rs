//! A node: the parts of FPaaS that one process runs, over one log. `fpaas dev` and `fpaas serve` are
//! both one, with other settings.
//!
//! Order matters: the folder is locked, the control view restored and its topics made, then the API and the stages
//! start, then `--apply` takes effect, and only then the first frame is read.

pub(crate) mod backend;
mod banner;
pub(crate) mod endpoints;
mod existing;
pub(crate) mod folder;
mod idle;
mod metrics;
mod moves;
mod plan;
mod pools;
mod progress;
mod reload;

use std::sync::Arc;

use fpaas_api::Phase;
use fpaas_core::topics::Topics;
use fpaas_core::{Clock, TenantId};
use fpaas_log::{Created, Log, Patient, TopicSpec};
use fpaas_state::{Board, Context, Control};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::args::Part;
use crate::client;
use crate::clock::WallClock;
use crate::config::setting::DATA;
use crate::config::{Settings, Wrong, Wrongs};
use crate::exit::Failure;
use crate::signal;
use crate::supervise::Supervisor;
use crate::telemetry::Messages;
use backend::Backend;
use folder::Folder;
use plan::Plan;
use pools::{Pools, Stages};
use reload::Reload;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What would keep a node from starting with these settings, as far as can be seen from here. Opens nothing.
pub(crate) fn check(settings: &Settings) -> Result<(), Wrongs> {
    let plan = Plan::new(settings)?;
    folder::check(&plan.data, plan.naming()).map_err(|failure| {
        let (origin, detail) = (settings.origin(&DATA, None), failure.to_string());
        Wrongs(vec![Wrong { pointer: format!("/{}", DATA.key), origin, value: None, detail }])
    })
}

/// `fpaas dev` and `fpaas serve`: runs until a signal, a failure, or, with `--exit-when-idle`, until all is done.
pub(crate) async fn run(settings: Settings, messages: Messages) -> Result<(), Failure> {
    let mut plan = Plan::new(&settings)?;
    let mut asked_to_stop = signal::Asked::listen()?;
    let reload = Reload::listen(settings)?;
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let listener = listen(&plan).await?;
    // What is wrong with the folder or the log is said before anything is made anywhere.
    folder::check(&plan.data, plan.naming())?;
    let reached = tokio::select! {
        reached = plan.log.reach(plan.partitions_asked) => reached?,
        name = asked_to_stop.next() => { info!(signal = name, "stopping"); return Ok(()) }
    };
    let folder = Folder::open(&plan.data, plan.key.take(), plan.naming())?;
    let backend = reached.open(&plan.data, &clock).await?;
    let mut supervisor = Supervisor::new(CancellationToken::new());
    let start = Start { plan: &mut plan, folder: &folder, backend: &backend, clock, reload, messages };
    let ended = tokio::select! {
        ended = Box::pin(start.run(&mut supervisor, listener)) => ended,
        name = asked_to_stop.next() => { info!(signal = name, "stopping"); Ok(()) }
    };
    let ended = ended.and(supervisor.drain().await);
    backend.close().await?;
    ended
}

async fn listen(plan: &Plan) -> Result<TcpListener, Failure> {
    if plan.dev && !plan.listen.ip().is_loopback() {
        warn!(listen = %plan.listen, "the API can be reached from other machines, with nothing but its key in the way");
    }
    TcpListener::bind(plan.listen).await.map_err(|error| {
        let hint = "try --listen 127.0.0.1:0, which picks a free port";
        Failure::Usage(format!("cannot listen on {}: {error}; {hint}", plan.listen))
    })
}

/// What a start is made of.
struct Start<'a> {
    plan: &'a mut Plan,
    folder: &'a Folder,
    backend: &'a Backend,
    clock: Arc<dyn Clock>,
    reload: Reload,
    /// Which are shown: to be changed while the node runs.
    messages: Messages,
}

impl Start<'_> {
    /// Until it fails or, with `--exit-when-idle`, is done.
    async fn run(self, supervisor: &mut Supervisor, listener: TcpListener) -> Result<(), Failure> {
        let (plan, folder, topics, messages) = (self.plan, self.folder, self.backend.topics(), self.messages);
        supervisor.start("settings", self.reload.run(messages.clone(), supervisor.shutdown.clone()));
        // The stages wait for a log that is away; who asks the API is told that it is.
        let log: Arc<dyn Log> = Arc::new(Patient::new(self.backend.log(), supervisor.shutdown.clone()));
        let partitions = make_firehose(&log, &topics, plan).await?;
        let controlled: Arc<dyn Log> = Arc::new(Patient::new(self.backend.log(), supervisor.answered.clone()));
        let control = Control::open(controlled, topics.clone(), folder.node()).await?;
        let board = Arc::new(Board::default());
        let context = Context { log, topics, control, board, clock: self.clock, node: folder.node().into() };

        let phase = start_control(supervisor, &context).await?;
        existing::whole(&context.topics.firehose(), partitions, &context.control)?;
        let server = folder.server(listener.local_addr()?);
        let status = Arc::new(fpaas_ingest::Status::new(&plan.upstreams));
        let asked = Context { log: self.backend.log(), ..context.clone() };
        let trials = fpaas_dispatcher::Trials::new(asked.clone(), &dispatcher_config(plan))?;
        let config = api_config(plan, folder, metrics::sources(&status, self.backend), (trials, messages));
        start_api(supervisor, &asked, plan, config, listener, phase.subscribe());
        supervisor.start("removal", fpaas_state::removal::run(asked.clone(), supervisor.shutdown.clone()));
        supervisor.start("board", fpaas_state::told::run(asked.clone(), supervisor.shutdown.clone()));
        let assigned = start_stages(supervisor, &context, plan, self.backend);
        supervisor.start("readiness", readiness(phase, assigned, supervisor.shutdown.clone()));
        if plan.dev {
            client::context::save(&server)?;
        }
        if let Some(documents) = plan.applied.take() {
            client::apply::put_all(&client::Client::new(server.clone())?, documents).await?;
        }
        banner::print(&server, plan, folder.node(), TenantId::LOCAL)?;
        start_ingest(supervisor, &context, plan, &status);
        let progress = progress::Progress::new(context.clone(), Arc::clone(&status));
        let _summed_up = plan.runs(Part::Ingest).then(|| progress::SumUp(Arc::clone(&status)));
        until_ended(plan, supervisor, &context, &status, progress).await
    }
}

/// The number of its partitions.
async fn make_firehose(log: &Arc<dyn Log>, topics: &Topics, plan: &Plan) -> Result<u32, Failure> {
    let (topic, partitions) = (topics.firehose(), plan.partitions);
    let spec = TopicSpec { partitions, compacted: false, retention: plan.firehose(partitions) };
    let found = match log.create_topic(&topic, &spec).await? {
        Created::New => return Ok(partitions),
        Created::Existed => partitions,
        Created::Different(found) => {
            existing::asked(&topic, plan.partitions_asked, found.partitions)?;
            info!(partitions = found.partitions, "the firehose keeps the partitions it was made with");
            found.partitions
        }
    };
    log.alter_topic(&topic, &plan.firehose(found)).await?;
    Ok(found)
}

/// Restores the view before anything else starts, then goes on following it.
async fn start_control(supervisor: &mut Supervisor, context: &Context) -> Result<watch::Sender<Phase>, Failure> {
    let phase = watch::Sender::new(Phase::Starting);
    // A request that is being answered at the shutdown waits for its command.
    let (control, answered) = (Arc::clone(&context.control), supervisor.answered.clone());
    let (restored, wait) = tokio::sync::oneshot::channel();
    supervisor.start("control", async move {
        let follower = control.restore().await?;
        // Whoever waits is gone only when the start has failed for another reason.
        let _nobody_waits = restored.send(());
        follower.follow(&answered).await
    });
    tokio::select! {
        failure = supervisor.first_failure() => Err(failure),
        _ = wait => {
            phase.send_replace(Phase::Assigning);
            Ok(phase)
        }
    }
}

/// Says how far the node has come.
async fn readiness(
    phase: watch::Sender<Phase>,
    assigned: impl Future<Output = ()>,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    if shutdown.run_until_cancelled(assigned).await.is_some() {
        phase.send_replace(Phase::Ready);
        info!("ready");
        shutdown.cancelled().await;
    }
    phase.send_replace(Phase::Stopping);
    Ok(())
}

fn dispatcher_config(plan: &Plan) -> fpaas_dispatcher::Config {
    plan.endpoints.config(VERSION)
}

fn api_config(
    plan: &Plan,
    folder: &Folder,
    sources: fpaas_api::Sources,
    (trials, messages): (fpaas_dispatcher::Trials, Messages),
) -> fpaas_api::Config {
    let said = messages.clone();
    let messages = fpaas_api::Messages::new(move || said.get(), move |filter| messages.set(filter));
    let webhooks = fpaas_api::Webhooks::new(move |trial| {
        let trials = trials.clone();
        Box::pin(async move { trials.call(trial).await })
    });
    fpaas_api::Config {
        tenant: TenantId::local(),
        key: folder.api_key().clone(),
        allow_http: plan.endpoints.reach.allows_http(),
        version: VERSION.to_owned(),
        commit: env!("FPAAS_COMMIT").to_owned(),
        // Whoever can connect to loopback is on this machine.
        open_metrics: plan.listen.ip().is_loopback(),
        sources,
        messages,
        webhooks,
    }
}

/// Every node listens: without the part `api` it says how it is, and nothing else.
fn start_api(
    supervisor: &mut Supervisor,
    context: &Context,
    plan: &Plan,
    config: fpaas_api::Config,
    listener: TcpListener,
    phase: watch::Receiver<Phase>,
) {
    let make = if plan.runs(Part::Api) { fpaas_api::routes } else { fpaas_api::probes };
    let routes = make(context.clone(), config, phase);
    supervisor.start_answering("api", fpaas_api::serve(listener, routes, supervisor.shutdown.clone()));
}

/// Of every pool there is; those that come and go are followed. What is answered returns once those of now have slots.
fn start_stages(
    supervisor: &mut Supervisor,
    context: &Context,
    plan: &Plan,
    backend: &Backend,
) -> impl Future<Output = ()> + Send + use<> {
    let dispatcher = plan.runs(Part::Dispatcher).then(|| dispatcher_config(plan));
    let stages = Stages { context: context.clone(), router: plan.runs(Part::Router), dispatcher };
    let has_stages = stages.router || stages.dispatcher.is_some();
    let pools = Pools::start(stages, &supervisor.shutdown);
    let assigned = pools.assigned();
    if !has_stages {
        return assigned;
    }
    if plan.runs(Part::Router) {
        supervisor.start("retention", backend.clone().retain(pools.holding(), supervisor.shutdown.clone()));
    }
    supervisor.start("pools", pools.run());
    supervisor.start("moves", moves::run(context.clone(), supervisor.shutdown.clone()));
    assigned
}

fn start_ingest(supervisor: &mut Supervisor, context: &Context, plan: &Plan, status: &Arc<fpaas_ingest::Status>) {
    if !plan.runs(Part::Ingest) {
        return;
    }
    let config = fpaas_ingest::Config {
        trust: plan.trust.clone(),
        ..fpaas_ingest::Config::new(&*context.node, plan.upstreams.clone())
    };
    let ingest = fpaas_ingest::run(
        config,
        Arc::clone(&context.log),
        context.topics.clone(),
        Arc::clone(&context.clock),
        Arc::clone(status),
        supervisor.shutdown.clone(),
    );
    supervisor.start("ingest", ingest);
}

async fn until_ended(
    plan: &Plan,
    supervisor: &mut Supervisor,
    context: &Context,
    status: &fpaas_ingest::Status,
    progress: progress::Progress,
) -> Result<(), Failure> {
    let idle = async {
        if !plan.exit_when_idle {
            return std::future::pending().await;
        }
        idle::reached(context, status).await
    };
    tokio::select! {
        failure = supervisor.first_failure() => Err(failure),
        reached = idle => { info!("everything is read, delivered and committed"); reached }
        () = progress.show() => Ok(()),
    }
}

#[cfg(test)]
mod tests;
