//! Requests that are done once, however often they are sent (`Idempotency-Key`,
//! draft-ietf-httpapi-idempotency-key-header-07): what the first of each came to. Pure.
//!
//! Decided where commands are applied, so that it holds whichever nodes are asked. Bounded in time and in number.

use std::collections::{BTreeMap, VecDeque};

use fpaas_core::{KeyId, TenantId, Timestamp, limits};
use serde::{Deserialize, Serialize};

use crate::command::{Change, Command, Once, Outcome};
use crate::view::{Redrive, Replay};

/// What the first one came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Done {
    once: Once,
    time: Timestamp,
    outcome: Outcome,
    /// The key that it has made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<KeyId>,
    /// The replay that it has begun: its subscription knows it only until it is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    began: Option<Replay>,
    /// The redrive that it has begun: its subscription knows it only until another one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redrive: Option<Redrive>,
}

/// What a command has begun, if anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun {
    pub(crate) replay: Option<Replay>,
    pub(crate) redrive: Option<Redrive>,
}

/// Those that are remembered, by tenant, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Requests(BTreeMap<TenantId, VecDeque<Done>>);

impl Requests {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn done(&self, command: &Command) -> Option<&Done> {
        let once = command.once.as_ref()?;
        self.0.get(&command.tenant)?.iter().rfind(|done| done.once.key == once.key)
    }

    /// What a command has begun, or did when it was asked for first.
    pub(crate) fn began(&self, command: &Command) -> Begun {
        let done = self.done(command).filter(|done| command.once.as_ref() == Some(&done.once));
        done.map(|done| Begun { replay: done.began.clone(), redrive: done.redrive.clone() }).unwrap_or_default()
    }

    /// What a command comes to that was asked for before.
    pub(crate) fn repeated(&self, command: &Command) -> Option<Outcome> {
        let (once, done) = (command.once.as_ref()?, self.done(command)?);
        if is_over(done.time, command.time) {
            return None;
        }
        if done.once != *once {
            return Some(Outcome::Reused);
        }
        Some(Outcome::Repeated { outcome: Box::new(done.outcome.clone()), made: done.made.clone() })
    }

    /// Remembers what a command came to, and what it has begun.
    pub(crate) fn note(&mut self, command: &Command, outcome: &Outcome, begun: Begun) {
        let Some(once) = command.once.clone() else { return };
        // What has changed nothing may be asked for again, and come to something else.
        if !matches!(outcome, Outcome::Created | Outcome::Replaced | Outcome::Deleted) {
            return;
        }
        let made = match (&command.change, outcome) {
            (Change::PutKey { id, .. }, Outcome::Created) => Some(id.clone()),
            _ => None,
        };
        let done = self.0.entry(command.tenant.clone()).or_default();
        let Begun { replay: began, redrive } = begun;
        done.push_back(Done { once, time: command.time, outcome: outcome.clone(), made, began, redrive });
        while done.len() > limits::ONCE_MAX || done.front().is_some_and(|first| is_over(first.time, command.time)) {
            done.pop_front();
        }
    }

    /// Those of a tenant that is gone.
    pub(crate) fn forget(&mut self, tenant: &TenantId) {
        self.0.remove(tenant);
    }
}

fn is_over(then: Timestamp, now: Timestamp) -> bool {
    let kept = i64::try_from(limits::ONCE_KEPT.as_millis()).unwrap_or(i64::MAX);
    now.as_millis().saturating_sub(then.as_millis()) >= kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;

    fn command(tenant: &str, key: &str, fingerprint: &str, time: i64) -> Command {
        let id = format!("{tenant}/{key}/{fingerprint}/{time}");
        let change = Change::DeleteTenant {};
        let tenant = TenantId::parse(tenant).unwrap();
        let once = Once { key: key.to_owned(), fingerprint: fingerprint.to_owned() };
        Command::new(id, Timestamp::from_millis(time), tenant, change).once(Some(once))
    }

    fn repeated(outcome: Outcome) -> Option<Outcome> {
        Some(Outcome::Repeated { outcome: Box::new(outcome), made: None })
    }

    #[test]
    fn a_request_is_known_again_for_a_day_and_by_its_tenant_alone() {
        let mut requests = Requests::default();
        requests.note(&command("acme", "a", "x", 0), &Outcome::Deleted, Begun::default());
        assert_eq!(requests.repeated(&command("acme", "a", "x", DAY - 1)), repeated(Outcome::Deleted));
        assert_eq!(requests.repeated(&command("acme", "a", "y", 1)), Some(Outcome::Reused));
        assert_eq!(requests.repeated(&command("acme", "b", "x", 1)), None);
        assert_eq!(requests.repeated(&command("rival", "a", "x", 1)), None);
        assert_eq!(requests.repeated(&command("acme", "a", "x", DAY)), None);
        requests.note(&command("acme", "a", "y", DAY), &Outcome::Created, Begun::default());
        assert_eq!(requests.repeated(&command("acme", "a", "y", DAY)), repeated(Outcome::Created));
        requests.note(&command("acme", "c", "x", 1), &Outcome::NotFound, Begun::default());
        assert_eq!(requests.repeated(&command("acme", "c", "x", 1)), None, "nothing was done");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut requests = Requests::default();
        for number in 0..=limits::ONCE_MAX {
            requests.note(&command("acme", &number.to_string(), "x", 5), &Outcome::Deleted, Begun::default());
        }
        assert_eq!(requests.repeated(&command("acme", "0", "x", 6)), None);
        assert!(requests.repeated(&command("acme", "1", "x", 6)).is_some());
        requests.note(&command("acme", "last", "x", 5 + DAY), &Outcome::Deleted, Begun::default());
        assert_eq!(requests.0.values().map(VecDeque::len).sum::<usize>(), 1);
        requests.forget(&TenantId::parse("acme").unwrap());
        assert!(requests.is_empty());
    }
}
