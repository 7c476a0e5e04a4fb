//! How subscriptions fare: their counters from the board, their lag from the log. One line per subscription each.

use std::sync::Arc;

use fpaas_state::{Counter, Counters, SubscriptionEntry};
use tracing::debug;

use crate::app::App;
use crate::family::{Family, Kind, Labels};
use crate::lag::{self, Lag};

type Pick = fn(&Counters) -> &Counter;

/// Name, help, and which counter it is.
const COUNTERS: [(&str, &str, Pick); 11] = [
    ("fpaas_router_matched_records", "Records that passed the filter", |of| &of.matched),
    ("fpaas_router_match_errors", "Records on which match could not be evaluated", |of| &of.match_errors),
    ("fpaas_lost_offsets", "Offsets that retention removed before they were read", |of| &of.lost),
    ("fpaas_dispatcher_batches", "Batches frozen", |of| &of.batches),
    ("fpaas_webhook_calls", "Webhook calls begun", |of| &of.calls),
    ("fpaas_webhook_failures", "Webhook calls that did not acknowledge", |of| &of.failures),
    ("fpaas_webhook_bad_responses", "The failures whose answer could not be read", |of| &of.bad_responses),
    ("fpaas_dispatcher_acknowledged_events", "Events acknowledged", |of| &of.acknowledged),
    ("fpaas_dispatcher_results", "Records written to output topics", |of| &of.results),
    ("fpaas_dispatcher_dead_letters", "Events given up on and kept", |of| &of.dead_letters),
    ("fpaas_dispatcher_dropped_events", "Events given up on and dropped", |of| &of.dropped),
];

/// Of all subscriptions there are.
pub(super) async fn families(app: &App) -> Vec<Family> {
    let view = app.context.control.view();
    let entries: Vec<_> = view.subscriptions.values().map(|entry| (labels(entry), entry)).collect();
    let mut families = COUNTERS.map(|(name, help, _)| Family::new(name, Kind::Counter, help));
    let mut stopped = Family::new("fpaas_subscription_stopped", Kind::Gauge, "1 when it will not go on by itself");
    let mut parked = Family::new("fpaas_dispatcher_parked_events", Kind::Gauge, "Events that wait for a retry");
    let mut lag = Family::new("fpaas_subscription_lag", Kind::Gauge, "Offsets that are not passed yet");
    let known: Vec<_> = entries.iter().map(|(_, entry)| &***entry).collect();
    let stands = lag::of_all(&app.context, &app.standings, &known).await;
    for ((labels, entry), stands) in entries.iter().zip(stands) {
        let counters = app.context.board.of(&entry.tenant, &entry.id, entry.incarnation);
        for (family, (_, _, pick)) in families.iter_mut().zip(COUNTERS) {
            family.push(labels, pick(&counters).get());
        }
        stopped.push(labels, (counters.stopped().is_some() || view.unmade(entry).is_some()).into());
        parked.push(labels, counters.parked());
        push_lag(stands, labels, &mut lag);
    }
    families.into_iter().chain([stopped, parked, lag]).collect()
}

fn labels(entry: &SubscriptionEntry) -> Labels {
    Arc::new([("tenant", entry.tenant.to_string()), ("subscription", entry.id.to_string())])
}

/// What the log does not say at the moment is left out: the other numbers are needed most just then.
fn push_lag(stands: Lag, labels: &Labels, lag: &mut Family) {
    let of = |stage: &str| labels.iter().cloned().chain([("of", stage.to_owned())]).collect::<Labels>();
    match stands.source {
        Ok(source) => lag.push(&of("source"), source.iter().map(|standing| standing.place.lag).sum()),
        Err(error) => debug!(%error, "the lag of a source is not known"),
    }
    match stands.lanes {
        Ok(lanes) => lag.push(&of("deliveries"), lanes.iter().map(|(_, place)| place.lag).sum()),
        Err(error) => debug!(%error, "the lag of deliveries is not known"),
    }
}
