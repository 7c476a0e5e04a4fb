//! What ingest and the log count, as the API's `/metrics` wants it. Counts nothing itself.

use std::sync::Arc;

use fpaas_api::{Family, Kind, Labels, Sources};
use fpaas_ingest::{State, Status};

use super::backend::Backend;

pub(super) fn sources(status: &Arc<Status>, backend: &Backend) -> Sources {
    let (status, backend) = (Arc::clone(status), backend.clone());
    Sources::default().with(move || ingest(&status)).with(move || log(&backend)).with(invariants)
}

fn ingest(status: &Status) -> Vec<Family> {
    let counts = status.counts();
    let (counter, none) = (|name, help| Family::new(name, Kind::Counter, help), Labels::from([]));
    let mut dropped = counter("fpaas_ingest_dropped", "Frames, operations and events dropped");
    for (reason, times) in status.drops() {
        dropped.push(&Labels::from([("reason", reason.label().to_owned())]), times);
    }
    let mut families = vec![
        counter("fpaas_ingest_frames", "Frames committed").with(&none, counts.frames),
        counter("fpaas_ingest_frame_bytes", "Bytes of the frames committed").with(&none, counts.frame_bytes),
        counter("fpaas_ingest_events", "Events committed").with(&none, counts.events),
        counter("fpaas_ingest_event_bytes", "Bytes of the events committed").with(&none, counts.event_bytes),
        dropped,
    ];
    families.extend(upstreams(status));
    families
}

/// By their number in the configuration: an address may be long, and hold a password.
fn upstreams(status: &Status) -> [Family; 2] {
    let gauge = |name, help| Family::new(name, Kind::Gauge, help);
    let mut connected = gauge("fpaas_ingest_upstream_connected", "1 while frames come, or may");
    let mut cursor = gauge("fpaas_ingest_upstream_cursor", "The last seq that is committed");
    for (number, upstream) in status.upstreams().borrow().iter().enumerate() {
        let labels = Labels::from([("upstream", number.to_string())]);
        connected.push(&labels, (upstream.state == State::Connected).into());
        if let Some(seq) = upstream.seq {
            cursor.push(&labels, seq);
        }
    }
    [connected, cursor]
}

fn invariants() -> Vec<Family> {
    let broken = Family::new("fpaas_invariants_broken", Kind::Counter, "Checks of our own that failed: bugs");
    vec![broken.with(&Labels::from([]), fpaas_core::invariant::count())]
}

fn log(backend: &Backend) -> Vec<Family> {
    let Some(lost) = backend.lost_records() else { return Vec::new() };
    let family = Family::new("fpaas_log_lost_records", Kind::Counter, "Records removed although they were held");
    vec![family.with(&Labels::from([]), lost)]
}
