//! Ingest as a task: while this node has the lease, take what the upstreams send, decide, commit. Nothing else.
//!
//! ```text
//!  relay ─┐ frames                    steps
//!  relay ─┼────────▶ inbox ▶ decode ────────▶ commit ▶ [firehose] + [ingest] in one transaction
//!  file  ─┘  bounded                 bounded
//! ```
//!
//! Whatever ends a lease (revoked, lost, an unknown outcome) ends all of these tasks, and the next one starts from the
//! cursors in the log: nothing in memory outlives a lease. Invariants: offsets-with-effects, one-owner.

use std::sync::Arc;

use fpaas_core::partition::Slot;
use fpaas_core::topics::Topics;
use fpaas_core::{Clock, TopicPartition};
use fpaas_log::{Created, Lease, Log, TopicSpec, Writer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::commit::{Committer, Ended};
use crate::config::Config;
use crate::cursor::Cursors;
use crate::decode::{self, Decoder, Step};
use crate::dial::Trust;
use crate::ends::Ends;
use crate::error::{Error, Result};
use crate::inbox::{self, Outbox};
use crate::lease::Holding;
use crate::seen::Seen;
use crate::stamps::Stamps;
use crate::status::Status;
use crate::upstream::Upstream;
use crate::{rebuild, recording, relay, retry};

/// Runs until `shutdown`, or until something is wrong that does not pass by itself. On `shutdown`, a commit under way
/// is waited for, and what was not committed is asked for again at the next start.
pub async fn run(
    config: Config,
    log: Arc<dyn Log>,
    topics: Topics,
    clock: Arc<dyn Clock>,
    status: Arc<Status>,
    shutdown: CancellationToken,
) -> Result<()> {
    let ingest = Ingest { config, log, clock, status, cursors: TopicPartition::new(topics.ingest(), 0) };
    let group = topics.ingest_group();
    let Some(work) = shutdown.run_until_cancelled(ingest.prepare(&topics, &group)).await else { return Ok(()) };
    let (firehose, mut holding) = work?;
    while let Some(lease) = shutdown.run_until_cancelled(holding.held()).await {
        let lease = lease?;
        let id = format!("{group}.{}", ingest.config.member);
        let made = retry::patiently(|| ingest.log.writer(&id, Some(holding.membership())));
        let Some(writer) = shutdown.run_until_cancelled(made).await else { break };
        ingest.while_held(&mut holding, lease, writer?, &firehose, &shutdown).await?;
    }
    Ok(())
}

/// What does not change while the program runs.
struct Ingest {
    config: Config,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    status: Arc<Status>,
    /// Where the cursors are.
    cursors: TopicPartition,
}

impl Ingest {
    /// The topics are there, and we are a member.
    async fn prepare(&self, topics: &Topics, group: &str) -> Result<(Vec<TopicPartition>, Holding)> {
        let (firehose, cursors) = (topics.firehose(), topics.ingest());
        let compacted = TopicSpec::compacted(1);
        retry::patiently(|| self.log.create_topic(&cursors, &compacted)).await?;
        let partitions = match retry::patiently(|| self.log.create_topic(&firehose, &self.config.firehose)).await? {
            Created::New | Created::Existed => self.config.firehose.partitions,
            Created::Different(there) => there.partitions,
        };
        let name: Arc<str> = firehose.into();
        let firehose = (0..partitions).map(|partition| TopicPartition::new(name.clone(), partition)).collect();
        let membership = retry::patiently(|| self.log.join(group, &self.config.member)).await?;
        Ok((firehose, Holding::new(membership, Slot::of_source(&self.cursors))))
    }

    /// Works until the lease is gone or the program stops. An unknown outcome ends it too: the caller starts anew with
    /// another writer.
    async fn while_held(
        &self,
        holding: &mut Holding,
        lease: Lease,
        writer: Arc<dyn Writer>,
        firehose: &[TopicPartition],
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let stop = shutdown.child_token();
        let mut work = std::pin::pin!(self.work(lease, writer, firehose, &stop));
        let ended = tokio::select! {
            ended = &mut work => ended?,
            gone = holding.gone() => {
                stop.cancel();
                // Only then may the acknowledgement go out: nothing of ours is committed after it.
                let ended = work.await;
                drop(gone?);
                ended?
            }
        };
        match ended {
            Ended::Stopped => Ok(()),
            Ended::Unknown => {
                retry::pause().await;
                Ok(())
            }
            Ended::Fenced => {
                let gone = shutdown.run_until_cancelled(holding.gone()).await;
                gone.unwrap_or(Ok(None)).map(drop)
            }
        }
    }

    /// Starts everything from the cursors, commits step after step, and ends everything again.
    async fn work(
        &self,
        lease: Lease,
        writer: Arc<dyn Writer>,
        firehose: &[TopicPartition],
        stop: &CancellationToken,
    ) -> Result<Ended> {
        let Some(started) = stop.run_until_cancelled(self.start(firehose)).await else { return Ok(Ended::Stopped) };
        let Started { mut tasks, mut steps, ends } = started?;
        let committer = Committer {
            lease,
            writer,
            cursors: &self.cursors,
            upstreams: &self.config.upstreams,
            status: &self.status,
            ends,
        };
        let ended = tokio::select! {
            ended = committer.run(&mut steps, stop) => ended,
            failed = first_failure(&mut tasks) => Err(failed),
        };
        drop(steps);
        tasks.shutdown().await;
        for upstream in 0..self.config.upstreams.len() {
            self.status.rest(upstream);
        }
        ended
    }

    async fn start(&self, firehose: &[TopicPartition]) -> Result<Started> {
        let cursors = retry::patiently_ours(|| Cursors::read(&*self.log, &self.cursors)).await?;
        let seqs: Vec<_> = self.config.upstreams.iter().map(|upstream| cursors.seq(upstream.id())).collect();
        let mut seen = Seen::new(&seqs);
        rebuild::rebuild(&mut seen, &*self.log, firehose, &cursors, &self.config.upstreams).await?;
        let ends = Ends::read(&*self.log, firehose).await?;
        let (outboxes, arrivals) = inbox::channel(seqs.len());
        let (sender, steps) = mpsc::channel(1);
        let decoder = Decoder {
            seen,
            stamps: Stamps::after(cursors.last_time_us()),
            clock: self.clock.clone(),
            firehose: firehose.to_vec(),
            arrivals: Default::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(decode::run(decoder, arrivals, sender));
        for ((upstream, cursor), outbox) in self.config.upstreams.iter().cloned().zip(seqs).zip(outboxes) {
            tasks.spawn(listen(upstream, cursor, self.config.trust.clone(), outbox, self.status.clone()));
        }
        Ok(Started { tasks, steps, ends })
    }
}

/// What works under one lease.
struct Started {
    tasks: JoinSet<Result<()>>,
    steps: mpsc::Receiver<Step>,
    ends: Ends,
}

async fn listen(
    upstream: Upstream,
    cursor: Option<u64>,
    trust: Trust,
    outbox: Outbox,
    status: Arc<Status>,
) -> Result<()> {
    match upstream {
        Upstream::Relay(upstream) => {
            relay::run(upstream, cursor, trust, outbox, &status).await;
            Ok(())
        }
        Upstream::Recording(upstream) => recording::run(upstream, cursor, outbox, &status).await,
    }
}

/// A task that ends well (a finished recording) is no reason to stop; pending when all have.
async fn first_failure(tasks: &mut JoinSet<Result<()>>) -> Error {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(error) => return Error::Task(error.to_string()),
        }
    }
    std::future::pending().await
}
