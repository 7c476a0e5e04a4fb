//! Looks whether what is read moves on where the brokers have more.
//!
//! A consumer of librdkafka may stand still for ever after its broker stood still or died (seen in 2.12.1, where leader
//! epochs had changed): it asks for nothing and says nothing. What reads it is then made anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use fpaas_core::{Offset, TopicPartition};
use tracing::warn;

use super::admin::Admin;
use super::layer::Layer;
use super::stream::Stream;
use crate::{Error, Result};

/// How often it is looked. What has not moved from one look to the next, and could have, stands still.
const LOOK: Duration = Duration::from_secs(5);
/// How soon the end of a log is noticed.
const STEP: Duration = Duration::from_millis(200);

/// Where the streams of a layer stood, by their place in memory: no other stream is there while the layer has it.
type Seen = HashMap<usize, Offset>;

/// Watches these layers for as long as they are there.
pub(super) fn start(layers: &Arc<Mutex<Vec<Layer>>>, admin: &Arc<Admin>) -> Result<()> {
    let (layers, admin) = (Arc::downgrade(layers), Arc::clone(admin));
    let spawned = thread::Builder::new().name("kafka-watch".to_owned()).spawn(move || watch(&layers, &admin));
    spawned.map(drop).map_err(|error| Error::Fatal(format!("no thread to watch what is read: {error}")))
}

fn watch(layers: &Weak<Mutex<Vec<Layer>>>, admin: &Admin) {
    let mut behind: HashMap<u64, Seen> = HashMap::new();
    loop {
        let began = Instant::now();
        while began.elapsed() < LOOK {
            if layers.strong_count() == 0 {
                return;
            }
            thread::sleep(STEP);
        }
        let Some(layers) = layers.upgrade() else { return };
        let read: Vec<_> = locked(&layers).iter().map(|layer| (layer.id(), layer.all())).collect();
        let now: HashMap<u64, Seen> = read.iter().map(|(id, streams)| (*id, left_behind(admin, streams))).collect();
        for (id, seen) in &now {
            let before = behind.get(id);
            let stands = seen.iter().any(|(stream, next)| before.is_some_and(|it| it.get(stream) == Some(next)));
            if stands {
                warn!(layer = id, "what reads topics stands still and is made anew");
                locked(&layers).retain(|layer| layer.id() != *id || layer.abandon());
            }
        }
        behind = now;
    }
}

fn locked(layers: &Mutex<Vec<Layer>>) -> std::sync::MutexGuard<'_, Vec<Layer>> {
    layers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The streams that the brokers have more for and that are not held back by their readers. None where the brokers do
/// not say.
fn left_behind(admin: &Admin, streams: &[Arc<Stream>]) -> Seen {
    let read: Vec<_> = streams.iter().filter(|stream| stream.is_open()).map(|it| (it, it.next())).collect();
    let at: Vec<&TopicPartition> = read.iter().map(|(stream, _)| stream.at()).collect();
    let Ok(ends) = admin.ends_now(&at) else { return Seen::new() };
    let more = |at: &TopicPartition, next: Offset| ends.get(at).is_some_and(|end| *end > next);
    let left = read.into_iter().filter(|(stream, next)| more(stream.at(), *next));
    left.map(|(stream, next)| (Arc::as_ptr(stream) as usize, next)).collect()
}
