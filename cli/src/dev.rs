//! `fpaas dev`: everything in one process, on the embedded log.
//!
//! Order matters: the folder is locked, the control view restored and its topics made, then the API and the stages
//! start, then `--apply` takes effect, and only then the first frame is read.

mod banner;
mod folder;
mod idle;
mod progress;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::topics::Topics;
use fpaas_core::{Clock, PoolId, TenantId};
use fpaas_ingest::{Trust, Upstream};
use fpaas_log::{Created, Embedded, EmbeddedConfig, Fsync, Log, Retention, TopicSpec};
use fpaas_state::{Board, Context, Control};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::args::Dev;
use crate::client;
use crate::client::apply::Documents;
use crate::clock::WallClock;
use crate::exit::Failure;
use crate::signal;
use crate::supervise::Supervisor;
use folder::Folder;

/// The tenant of a dev installation.
const TENANT: &str = "local";
/// What dev keeps of the firehose, first reached, so that a live feed never fills a laptop.
const FIREHOSE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
const FIREHOSE_TIME: Duration = Duration::from_secs(24 * 3600);

/// Runs until a signal, a failure, or, with `--exit-when-idle`, until all is done.
pub(crate) async fn run(dev: Dev, api_key: Option<String>) -> Result<(), Failure> {
    let mut asked_to_stop = signal::Asked::listen()?;
    let upstreams = parse_upstreams(&dev)?;
    let applied = dev.apply.as_deref().map(client::apply::read).transpose()?;
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let config = EmbeddedConfig { fsync: parse_fsync(&dev.fsync)?, ..EmbeddedConfig::new(Arc::clone(&clock)) };
    let listener = listen(&dev).await?;
    // An empty variable is no key.
    let (folder, embedded) = Folder::open(&dev.data, api_key.filter(|key| !key.is_empty()), config)?;
    let mut supervisor = Supervisor::new(CancellationToken::new());
    let start = Start { dev: &dev, folder: &folder, embedded: &embedded, clock };
    let ended = tokio::select! {
        ended = Box::pin(start.serve(&mut supervisor, listener, upstreams, applied)) => ended,
        name = asked_to_stop.next() => { info!(signal = name, "stopping"); Ok(()) }
    };
    let ended = ended.and(supervisor.drain().await);
    embedded.close()?;
    ended
}

/// What a start is made of.
struct Start<'a> {
    dev: &'a Dev,
    folder: &'a Folder,
    embedded: &'a Arc<Embedded>,
    clock: Arc<dyn Clock>,
}

fn parse_upstreams(dev: &Dev) -> Result<(Vec<Upstream>, Trust), Failure> {
    let usage = |error: fpaas_ingest::Error| Failure::Usage(error.to_string());
    let trust = match &dev.upstream_ca {
        Some(path) => Trust::default().and(path).map_err(usage)?,
        None => Trust::default(),
    };
    let parse = |text: &String| Upstream::parse(text).map_err(usage);
    let upstreams = dev.upstream.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    for upstream in &upstreams {
        if let Upstream::Recording(recording) = upstream {
            let path = recording.path.display();
            File::open(&recording.path)
                .map_err(|error| Failure::Usage(format!("--upstream: the recording {path} cannot be read: {error}")))?;
        }
    }
    Ok((upstreams, trust))
}

fn parse_fsync(text: &str) -> Result<Fsync, Failure> {
    match text {
        "always" => Ok(Fsync::Always),
        "never" => Ok(Fsync::Never),
        text => humantime::parse_duration(text)
            .map(Fsync::Interval)
            .map_err(|_| Failure::Usage(format!("--fsync {text}: must be always, never, or a time such as 50ms"))),
    }
}

impl Start<'_> {
    /// Until it fails or, with `--exit-when-idle`, is done.
    async fn serve(
        self,
        supervisor: &mut Supervisor,
        listener: TcpListener,
        upstreams: (Vec<Upstream>, Trust),
        applied: Option<Documents>,
    ) -> Result<(), Failure> {
        let (dev, folder) = (self.dev, self.folder);
        let log: Arc<dyn Log> = Arc::clone(self.embedded) as Arc<dyn Log>;
        let topics = Topics::default();
        make_firehose(&log, &topics, dev.partitions).await?;
        let control = Control::open(Arc::clone(&log), topics.clone(), folder.node()).await?;
        let board = Arc::new(Board::default());
        let context = Context { log, topics, control, board, clock: self.clock, node: folder.node().into() };

        let ready = start_control(supervisor, &context).await?;
        let server = folder.server(listener.local_addr()?);
        start_stages(supervisor, &context, self.embedded, folder, listener, ready)?;
        client::context::save(&server)?;
        if let Some(documents) = applied {
            client::apply::put_all(&client::Client::new(server.clone())?, documents).await?;
        }
        banner::print(&server, dev, TENANT)?;
        let status = start_ingest(supervisor, &context, upstreams);
        let progress = progress::Progress::new(context.clone(), Arc::clone(&status));
        let _summed_up = progress::SumUp(Arc::clone(&status));
        until_ended(dev, supervisor, &context, &status, progress).await
    }
}

async fn make_firehose(log: &Arc<dyn Log>, topics: &Topics, partitions: u32) -> Result<(), Failure> {
    let of =
        |partitions: u32| Retention { time: Some(FIREHOSE_TIME), bytes: Some(FIREHOSE_BYTES / u64::from(partitions)) };
    let spec = TopicSpec { partitions, compacted: false, retention: of(partitions) };
    let made = match log.create_topic(&topics.firehose(), &spec).await? {
        Created::Different(found) => {
            info!(partitions = found.partitions, "the firehose keeps the partitions it was made with");
            found.partitions
        }
        Created::New | Created::Existed => partitions,
    };
    Ok(log.alter_topic(&topics.firehose(), &of(made.max(1))).await?)
}

/// Restores the view before anything else starts, then goes on following it.
async fn start_control(supervisor: &mut Supervisor, context: &Context) -> Result<watch::Receiver<bool>, Failure> {
    let (ready, receiver) = watch::channel(false);
    let (control, shutdown) = (Arc::clone(&context.control), supervisor.shutdown.clone());
    let (restored, wait) = tokio::sync::oneshot::channel();
    supervisor.start("control", async move {
        let follower = control.restore().await?;
        // Whoever waits is gone only when the start has failed for another reason.
        let _nobody_waits = restored.send(());
        ready.send_replace(true);
        follower.follow(&shutdown).await
    });
    tokio::select! {
        failure = supervisor.first_failure() => Err(failure),
        _ = wait => Ok(receiver),
    }
}

async fn listen(dev: &Dev) -> Result<TcpListener, Failure> {
    if !dev.listen.ip().is_loopback() {
        warn!(listen = %dev.listen, "the API can be reached from other machines, with nothing but its key in the way");
    }
    TcpListener::bind(dev.listen).await.map_err(|error| {
        Failure::Usage(format!(
            "cannot listen on {}: {error}; try --listen 127.0.0.1:0, which picks a free port",
            dev.listen
        ))
    })
}

fn start_stages(
    supervisor: &mut Supervisor,
    context: &Context,
    embedded: &Arc<Embedded>,
    folder: &Folder,
    listener: TcpListener,
    ready: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let tenant = TenantId::parse(TENANT).map_err(|error| Failure::Failed(error.to_string()))?;
    let pool = PoolId::of_tenant(&tenant);
    let config = fpaas_api::Config {
        tenant,
        key: folder.api_key().clone(),
        allow_http: true,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let routes = fpaas_api::routes(context.clone(), config, ready);
    let shutdown = &supervisor.shutdown.clone();
    supervisor.start("api", fpaas_api::serve(listener, routes, shutdown.clone()));
    let config = fpaas_router::Config::default();
    start_retention(supervisor, embedded, Arc::clone(&config.holding));
    supervisor.start("router", fpaas_router::run(context.clone(), pool.clone(), config, shutdown.clone()));
    let config = fpaas_dispatcher::Config { allow_private: true, version: env!("CARGO_PKG_VERSION").to_owned() };
    supervisor.start("dispatcher", fpaas_dispatcher::run(context.clone(), pool, config, shutdown.clone()));
    Ok(())
}

/// Retention begins once the router holds what its subscriptions have not passed: not a moment earlier.
fn start_retention(supervisor: &mut Supervisor, embedded: &Arc<Embedded>, holding: Arc<Notify>) {
    let (embedded, shutdown) = (Arc::clone(embedded), supervisor.shutdown.clone());
    supervisor.start("retention", async move {
        if shutdown.run_until_cancelled(holding.notified()).await.is_some() {
            embedded.start_retention();
        }
        shutdown.cancelled().await;
        Ok::<_, Failure>(())
    });
}

fn start_ingest(
    supervisor: &mut Supervisor,
    context: &Context,
    (upstreams, trust): (Vec<Upstream>, Trust),
) -> Arc<fpaas_ingest::Status> {
    let status = Arc::new(fpaas_ingest::Status::new(&upstreams));
    let config = fpaas_ingest::Config { trust, ..fpaas_ingest::Config::new(&*context.node, upstreams) };
    let ingest = fpaas_ingest::run(
        config,
        Arc::clone(&context.log),
        context.topics.clone(),
        Arc::clone(&context.clock),
        Arc::clone(&status),
        supervisor.shutdown.clone(),
    );
    supervisor.start("ingest", ingest);
    status
}

async fn until_ended(
    dev: &Dev,
    supervisor: &mut Supervisor,
    context: &Context,
    status: &fpaas_ingest::Status,
    progress: progress::Progress,
) -> Result<(), Failure> {
    let idle = async {
        if !dev.exit_when_idle {
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
