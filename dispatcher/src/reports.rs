//! What a lane tells its tenant besides results: how its calls ended (the delivery log), and what happened to it (the
//! topic `system`, so that alerts are subscriptions).
//!
//! Reports ride along in the lane's transactions. They never keep a lane from going on: what the log does not take of
//! them is left out, and said. Does not own what happens. Invariant: bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fpaas_core::subscription::Webhook;
use fpaas_core::{Message, TenantId, Timestamp, TopicName, TopicPartition, limits};
use fpaas_log::{Error as LogError, Record, Retention, TopicSpec};
use fpaas_state::rows::AlertedRow;
use fpaas_state::{Attempt, Happened, SubscriptionEntry, SystemEvent};
use tokio::time::Instant;
use tracing::warn;
use url::{Position, Url};

use crate::site::Site;

/// How long a log that does not take reports is not asked again.
const AGAIN: Duration = Duration::from_secs(60);
/// What stands where a secret was.
const MASK: &str = "[hidden]";
/// What is shorter is found in too much to be taken out.
const SECRET_BYTES_MIN: usize = 6;

/// What is to be told.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) events: Vec<SystemEvent>,
    lost: usize,
}

impl Reports {
    /// Of calls, and of what has happened with them.
    pub(crate) fn of(attempts: Vec<Attempt>, event: Option<SystemEvent>) -> Self {
        Self { attempts, events: event.into_iter().collect(), lost: 0 }
    }

    /// Adds what fits.
    pub(crate) fn add(&mut self, more: Self) {
        let room = |len: usize| limits::LANE_REPORTS_MAX.saturating_sub(len);
        self.lost += more.lost + more.attempts.len().saturating_sub(room(self.attempts.len()));
        self.lost += more.events.len().saturating_sub(room(self.events.len()));
        let (attempts, events) = (room(self.attempts.len()), room(self.events.len()));
        self.attempts.extend(more.attempts.into_iter().take(attempts));
        self.events.extend(more.events.into_iter().take(events));
    }

    /// All of them; says how many had no room.
    pub(crate) fn take(&mut self, site: &Site) -> Self {
        let taken = std::mem::take(self);
        if taken.lost > 0 {
            warn!(lane = %site.at, lost = taken.lost, "there was no room for all that a lane had to report");
        }
        taken
    }
}

/// Where reports go in the log.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) attempts: Option<TopicPartition>,
    pub(crate) system: Option<TopicPartition>,
}

impl Places {
    /// The records of reports, as they are written now: so they stand in the order of their timestamps.
    pub(crate) fn records(&self, reports: &Reports, timestamp: Timestamp) -> Vec<(TopicPartition, Record)> {
        let mut records = Vec::new();
        if let Some(at) = &self.attempts {
            let record = |attempt: &Attempt| {
                let value = attempt.encode().ok()?;
                let key = attempt.batch.clone().into();
                Some(Record { key: Some(key), value: Some(value), timestamp, ..Record::default() })
            };
            records.extend(reports.attempts.iter().filter_map(record).map(|record| (at.clone(), record)));
        }
        if let Some(at) = &self.system {
            records.extend(reports.events.iter().map(|event| (at.clone(), event.record())));
        }
        records
    }
}

/// The topics of tenants' delivery logs, as far as they are known to be there or not to be had. Shared by all lanes.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<TopicPartition, Option<Instant>>>);

impl Known {
    /// The place of a tenant's attempts, made where it is not there. None where the log has none to give.
    pub(crate) async fn attempts(&self, site: &Site, tenant: &TenantId) -> Option<TopicPartition> {
        let at = TopicPartition::new(site.shared.context.topics.attempts(tenant), 0);
        match self.of(&at) {
            Some(None) => return Some(at),
            Some(Some(again)) if Instant::now() < again => return None,
            _ => {}
        }
        let retention = Retention { time: Some(limits::ATTEMPTS_KEPT), bytes: Some(limits::ATTEMPTS_KEPT_BYTES) };
        let spec = TopicSpec { retention, ..TopicSpec::kept(1) };
        match site.shared.context.log.create_topic(&at.topic, &spec).await {
            Ok(_) => {
                self.note(&at, None);
                Some(at)
            }
            Err(LogError::Retry(_)) => None,
            Err(error) => {
                self.refused(&at, &error.to_string());
                None
            }
        }
    }

    /// The log does not take anything there: nothing is reported for a while.
    pub(crate) fn refused(&self, at: &TopicPartition, why: &str) {
        warn!(%at, %why, "what lanes report is not taken");
        self.note(at, Some(Instant::now() + AGAIN));
    }

    /// True while nothing is to be reported there.
    pub(crate) fn rests(&self, at: &TopicPartition) -> bool {
        self.of(at).flatten().is_some_and(|again| Instant::now() < again)
    }

    fn of(&self, at: &TopicPartition) -> Option<Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(at).copied()
    }

    fn note(&self, at: &TopicPartition, again: Option<Instant>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= 2 * limits::TENANTS_MAX {
            known.clear();
        }
        known.insert(at.clone(), again);
    }
}

/// Where a tenant is told what happens; none where it has no such topic yet.
pub(crate) fn system_of(site: &Site, entry: &SubscriptionEntry) -> Option<TopicPartition> {
    let (context, name) = (&site.shared.context, TopicName::system());
    let made = context.control.view().topic(&entry.tenant, &name).is_some();
    let at = TopicPartition::new(context.topics.of_tenant(&entry.tenant, &name), 0);
    (made && !site.shared.known.rests(&at)).then_some(at)
}

/// Something that has happened to the lane now.
pub(crate) fn event(site: &Site, what: Happened, message: impl Into<Message>) -> SystemEvent {
    let (entry, time) = (site.current(), site.shared.context.clock.now());
    let lane = site.at.partition.0;
    SystemEvent { what, time, subscription: entry.id.clone(), lane, message: message.into() }
}

/// That its subscription is disabled, where its tenant was not told yet. The first lane tells it.
pub(crate) fn disabled(site: &Site, entry: &SubscriptionEntry, told: Option<Timestamp>) -> Option<SystemEvent> {
    let disabled = entry.disabled.as_ref().filter(|disabled| Some(disabled.since) != told)?;
    let first = site.at.partition.0 == 0;
    first.then(|| event(site, Happened::Disabled { revision: entry.revision }, disabled.why.clone()))
}

/// What a tenant has been told of a lane, with `disabled` told, too.
pub(crate) fn alerted(entry: &SubscriptionEntry) -> AlertedRow {
    AlertedRow { disabled: entry.disabled.as_ref().map(|disabled| disabled.since), position_lost: false }
}

/// Scheme, host and port of a URL: what comes behind may be secret.
pub(crate) fn origin(url: &str) -> String {
    Url::parse(url).map(|url| url[..Position::BeforePath].to_owned()).unwrap_or_default()
}

/// The beginning of an answer as text, without what only its caller may know. None where it is empty.
pub(crate) fn shown(piece: &[u8], webhook: &Webhook, entry: &SubscriptionEntry, now: Timestamp) -> Option<String> {
    (!piece.is_empty()).then(|| hidden(String::from_utf8_lossy(piece).into_owned(), webhook, entry, now))
}

/// The text without header values, secrets and what comes behind the origin of the URL.
pub(crate) fn hidden(mut text: String, webhook: &Webhook, entry: &SubscriptionEntry, now: Timestamp) -> String {
    let mut hide = |secret: &str| {
        if secret.len() >= SECRET_BYTES_MIN {
            if text.contains(secret) {
                text = text.replace(secret, MASK);
            }
            cut(&mut text, secret);
        }
    };
    for value in webhook.headers.values() {
        // Of `Bearer abc`, `abc` alone is the secret.
        hide(value);
        value.split_whitespace().for_each(&mut hide);
    }
    for secret in entry.secrets(now) {
        let whole = secret.reveal();
        hide(&whole);
        hide(whole.trim_start_matches("whsec_"));
    }
    if let Ok(url) = Url::parse(&webhook.url) {
        hide(&url[Position::BeforePath..]);
        hide(&url[Position::BeforePath..Position::AfterQuery]);
        hide(url.path());
        url.path_segments().into_iter().flatten().for_each(&mut hide);
        url.query_pairs().for_each(|(_, value)| hide(&value));
    }
    text
}

/// The end of the text may be the beginning of a secret.
fn cut(text: &mut String, secret: &str) {
    let beginnings = secret.char_indices().map(|(at, _)| &secret[..at]).filter(|of| of.len() >= SECRET_BYTES_MIN);
    if let Some(longest) = beginnings.rev().find(|beginning| text.ends_with(beginning)) {
        text.truncate(text.len() - longest.len());
        text.push_str(MASK);
    }
}

#[cfg(test)]
mod tests;
