//! Dead letters that are delivered again: which, as commands say it. How far that has come is the dispatcher's to say.

use std::collections::BTreeSet;
use std::sync::Arc;

use fpaas_core::{Incarnation, Offset, SubscriptionId, Timestamp, Violation};
use serde::{Deserialize, Serialize};

use super::{SubscriptionEntry, View};
use crate::command::{Change, Command, Outcome};

/// A part of a subscription's dead letters that is delivered once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redrive {
    /// The revision it was asked for at: no other redrive has the same.
    pub since: u64,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Where it begins in each lane's dead letters.
    pub from: Vec<Offset>,
    /// Where it ends.
    pub to: Vec<Offset>,
    /// Of those that were given up on for one of these reasons; of all where there is none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reasons: BTreeSet<String>,
    /// At most so many events a second, in all lanes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u32>,
    /// When somebody ended it, if so: what was delivered again until then is not taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Timestamp>,
}

impl View {
    /// The subscription's configuration stays as it is, and so does its revision.
    pub(super) fn redrive(&mut self, command: &Command) -> Outcome {
        let (id, of, instead_of) = match &command.change {
            Change::StartRedrive { id, of, instead_of, .. } => (id, *of, *instead_of),
            Change::CancelRedrive { id, of, since } => (id, *of, Some(*since)),
            _ => return Outcome::NotFound,
        };
        let Some(old) = self.made_as(command, id, of) else { return Outcome::NotFound };
        if old.redrive.as_ref().map(|redrive| redrive.since) != instead_of {
            let why = "a redrive is under way: wait for its end, or cancel it with DELETE …/redrive";
            return Outcome::Conflict(vec![Violation::new("", why)]);
        }
        let redrive = match &command.change {
            Change::StartRedrive { from, to, reasons, events_per_second, .. } => Some(Redrive {
                since: self.revision,
                asked: command.time,
                from: from.clone(),
                to: to.clone(),
                reasons: reasons.clone(),
                events_per_second: *events_per_second,
                cancelled: None,
            }),
            _ => old
                .redrive
                .clone()
                .map(|redrive| Redrive { cancelled: redrive.cancelled.or(Some(command.time)), ..redrive }),
        };
        let entry = SubscriptionEntry { redrive, ..(*old).clone() };
        self.subscriptions.insert((command.tenant.clone(), id.clone()), Arc::new(entry));
        Outcome::Replaced
    }

    fn made_as(&self, command: &Command, id: &SubscriptionId, of: Incarnation) -> Option<Arc<SubscriptionEntry>> {
        self.subscription(&command.tenant, id).filter(|entry| entry.incarnation == of).cloned()
    }
}
