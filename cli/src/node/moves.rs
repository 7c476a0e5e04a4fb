//! Ends the move of a tenant once every slot of its new pool has taken what was handed over to it.
//!
//! Every node that runs stages looks, once a second while somebody moves, and asks the log alone: what it sees is what
//! is committed. Several may say so at once: it is one command. Does not own the move itself
//! ([`fpaas_state::moves`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, PoolId, TenantId, TopicPartition};
use fpaas_log::{Error as LogError, FetchBounds};
use fpaas_state::{Change, Command, Context, Error, Outcome, moves};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::exit::Failure;

/// How often it is looked while somebody moves.
const LOOK: Duration = Duration::from_secs(1);

/// A move that is not over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    tenant: TenantId,
    since: u64,
    to: PoolId,
}

/// Which parts of each move were seen taken.
type Seen = BTreeMap<Move, BTreeSet<(Stage, Slot)>>;

/// Looks until the shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) -> Result<(), Failure> {
    let (mut views, mut seen) = (context.control.views(), Seen::new());
    loop {
        let view = views.borrow_and_update().clone();
        let under_way =
            view.moving().map(|(of, moving)| Move { tenant: of.id.clone(), since: moving.since, to: of.pool.clone() });
        let under_way: BTreeSet<Move> = under_way.collect();
        seen.retain(|of, _| under_way.contains(of));
        for of in &under_way {
            let looked = shutdown.run_until_cancelled(look(&context, of, seen.entry(of.clone()).or_default())).await;
            match looked {
                None => return Ok(()),
                Some(Err(Error::Log(LogError::Retry(_)))) if shutdown.is_cancelled() => return Ok(()),
                Some(looked) => looked?,
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK), if !under_way.is_empty() => {}
            // The other side lives in our context.
            _ = views.changed(), if under_way.is_empty() => {}
        }
    }
}

/// Looks at what is not seen yet, and ends the move where that was the last of it.
async fn look(context: &Context, of: &Move, seen: &mut BTreeSet<(Stage, Slot)>) -> Result<(), Error> {
    for stage in [Stage::Router, Stage::Dispatcher] {
        match taken(context, of, stage, seen).await {
            Ok(()) => {}
            // Nobody has handed over anything yet; or an operator has to do something about it.
            Err(Error::Log(why @ (LogError::NoSuchTopic(_) | LogError::Refused(_)))) => {
                debug!(tenant = %of.tenant, %why, "whether it has moved is not known");
            }
            Err(error) => return Err(error),
        }
    }
    if [Stage::Router, Stage::Dispatcher].iter().all(|stage| Slot::all().all(|slot| seen.contains(&(*stage, slot)))) {
        crashpoint::hit(Point::MoveEnding);
        end(context, of).await?;
    }
    Ok(())
}

async fn taken(context: &Context, of: &Move, stage: Stage, seen: &mut BTreeSet<(Stage, Slot)>) -> Result<(), Error> {
    let (log, topic) = (&context.log, context.topics.moves(&of.to, stage));
    if log.describe_topic(&topic).await?.is_none() {
        return Ok(());
    }
    let slots: Vec<Slot> = Slot::all().filter(|slot| !seen.contains(&(stage, *slot))).collect();
    let at: Vec<_> = slots.iter().map(|slot| TopicPartition::new(topic.as_str(), slot.0)).collect();
    let positions = log.positions(&context.topics.group(&of.to, stage), &at).await?;
    for ((slot, at), position) in slots.into_iter().zip(&at).zip(positions) {
        let Some(position) = position else { continue };
        if is_below(context, of, at, position.offset).await? {
            seen.insert((stage, slot));
        }
    }
    Ok(())
}

/// True where what was handed over stands below `position`: it stays there until the move is over.
async fn is_below(context: &Context, of: &Move, at: &TopicPartition, position: Offset) -> Result<bool, Error> {
    let (key, mut next) = (moves::key(&of.tenant, of.since), Offset::ZERO);
    while next < position {
        let fetched = context.log.fetch(at, next, FetchBounds::now()).await?;
        let ours = |of: &fpaas_log::Stored| of.offset < position && of.record.key.as_deref() == Some(key.as_bytes());
        if fetched.records.iter().any(ours) {
            return Ok(true);
        }
        if fetched.next <= next {
            break;
        }
        next = fetched.next;
    }
    Ok(false)
}

async fn end(context: &Context, of: &Move) -> Result<(), Error> {
    let (now, since) = (context.clock.now(), of.since);
    let id = format!("end-move-{}", moves::key(&of.tenant, since));
    let command = Command::new(id, now, of.tenant.clone(), Change::EndMove { since });
    match context.control.submit(command).await {
        Ok(applied) if applied.outcome == Outcome::Replaced => {
            info!(tenant = %of.tenant, pool = %of.to, "a tenant has moved");
            Ok(())
        }
        // Another node has said it, or it is looked again.
        Ok(_) | Err(Error::NotApplied) | Err(Error::Log(LogError::Retry(_) | LogError::Refused(_))) => Ok(()),
        Err(error) => Err(error),
    }
}
