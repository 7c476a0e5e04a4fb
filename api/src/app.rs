//! What every handler is given, and what several of them ask of it.

use std::sync::Arc;

use fpaas_core::{Incarnation, KeyHash, TenantId, hash, limits};
use fpaas_state::{Applied, Change, Command, Context, Expects, Once, Outcome, Standings};
use tokio::sync::{Mutex, watch};

use crate::config::Config;
use crate::phase::Phase;
use crate::problem::{Kind, Problem};
use crate::requests::Requests;
use crate::share::{Shares, Turn, Turns};
use crate::used::Used;

/// Made once; shared by all requests.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) context: Context,
    pub(crate) config: Config,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) tails: Arc<Shares>,
    pub(crate) standings: Standings,
    pub(crate) requests: Requests,
    pub(crate) used: Used,
    pub(crate) served: &'static Served,
    /// Of no key: what one that is not there is compared with.
    pub(crate) nobody: KeyHash,
    /// Expressions that are evaluated for whoever asks: no more at once than keep others from being answered.
    pub(crate) evaluations: Turns,
    /// Bytes of bodies that are arriving.
    pub(crate) bodies: Arc<Shares>,
    /// Webhooks that are tried.
    pub(crate) trials: Arc<Shares>,
    /// Held by the scrape that has its turn.
    pub(crate) scrapes: Mutex<()>,
}

/// What is served as it is: it never changes while the program runs.
#[derive(Debug)]
pub(crate) struct Served {
    /// The OpenAPI document.
    pub(crate) json: String,
    /// The same, to be read.
    pub(crate) page: String,
}

/// A topic that can be read.
#[derive(Debug)]
pub(crate) struct Readable {
    /// Its full name in the log.
    pub(crate) topic: Arc<str>,
    /// How many.
    pub(crate) partitions: u32,
    /// Names it, and no other topic that had its name before: what a place in it is told by.
    pub(crate) making: String,
}

/// Of [`Readable::making`].
pub(crate) const MAKING_DIGITS: usize = 12;

impl App {
    pub(crate) fn new(
        context: Context,
        config: Config,
        phase: watch::Receiver<Phase>,
        served: &'static Served,
    ) -> Self {
        Self {
            context,
            config,
            phase,
            tails: Shares::new(limits::TAILS_MAX, limits::TAILS_EACH),
            standings: Standings::default(),
            requests: Requests::default(),
            used: Used::default(),
            served,
            nobody: KeyHash::of(""),
            evaluations: Turns::new(
                limits::EVALUATIONS_MAX,
                limits::EVALUATIONS_EACH,
                limits::EVALUATIONS_WAITING_EACH,
            ),
            bodies: Shares::new(limits::API_BODIES_BYTES_MAX, limits::API_BODIES_BYTES_EACH),
            trials: Shares::new(limits::TRIALS_MAX, limits::TRIALS_EACH),
            scrapes: Mutex::default(),
        }
    }

    /// A topic of the log that was made at this revision, to be read.
    pub(crate) async fn describe(&self, topic: String, incarnation: u64) -> Result<Readable, Problem> {
        let making = hash::hex(&[topic.as_bytes(), &incarnation.to_be_bytes()], MAKING_DIGITS);
        let spec = self.context.log.describe_topic(&topic).await?;
        let partitions = spec.ok_or_else(|| fpaas_log::Error::NoSuchTopic(topic.clone()))?.partitions;
        Ok(Readable { topic: topic.into(), partitions, making })
    }

    /// A turn for what may cost a core for a while. It is over when the work is, whether anybody waits for that or not.
    pub(crate) async fn turn(&self, tenant: &TenantId) -> Result<Turn, Problem> {
        let turn = self.evaluations.of(tenant, limits::EVALUATION_WAIT).await;
        turn.map_err(|full| Problem::full(&full, "expressions that are tried"))
    }

    /// Waits, not for long, until this node knows what `expects` names: it may have been read at another one.
    pub(crate) async fn follow(&self, expects: &Expects) {
        let Expects::OneOf(revisions) = expects else { return };
        let newest = revisions.iter().copied().max().unwrap_or(0);
        let mut views = self.context.control.views();
        let known = views.wait_for(|view| view.revision >= newest);
        // Where it does not come, it is no revision of ours.
        drop(tokio::time::timeout(limits::API_FOLLOW_WAIT, known).await);
    }

    /// Asks for a change of something of a tenant's, or of the tenant, that is as expected, and waits until it is
    /// applied and durable.
    pub(crate) async fn submit(
        &self,
        (tenant, made): (&TenantId, Option<Incarnation>),
        expects: Expects,
        once: Option<Once>,
        change: Change,
    ) -> Result<Applied, Problem> {
        let id = hash::to_hex(&random::<16>()?, 32);
        let command = Command::new(id, self.context.clock.now(), tenant.clone(), change);
        let applied = self.context.control.submit(command.of(made).expecting(expects).once(once)).await?;
        match applied.outcome {
            Outcome::Conflict(conflicts) => Err(Problem::conflict(conflicts)),
            Outcome::Unexpected(revision) => Err(Problem::unexpected(revision)),
            Outcome::Reused => {
                let detail = "this Idempotency-Key was sent with another request: give each request its own";
                Err(Problem::new(Kind::IdempotencyKeyReused, detail))
            }
            Outcome::Created | Outcome::Replaced | Outcome::Deleted | Outcome::NotFound => Ok(applied),
            outcome @ Outcome::Repeated { .. } => Err(unexpected(&outcome)),
        }
    }
}

/// Bytes nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal(&error))?;
    Ok(bytes)
}

/// An outcome that its change cannot have.
pub(crate) fn unexpected(outcome: &Outcome) -> Problem {
    tracing::error!(?outcome, "a command came to something else than it can");
    Problem::new(Kind::Internal, "the request failed; the log of the server says why")
}
