//! What is believed of topics, so that not every commit has to ask: for a while, and until something does not fit it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::TopicSpec;

/// How long a topic is believed to be as it was seen: somebody else may change it.
const BELIEVED: Duration = Duration::from_secs(30);
/// How long a broker that has not heard of a topic is not believed: each follows the cluster's metadata by itself, and
/// on a busy machine one that has just started takes its time.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Believed(Mutex<HashMap<String, Of>>);

/// Each with the time at which it was seen.
#[derive(Debug, Default)]
struct Of {
    spec: Option<(TopicSpec, Instant)>,
    /// How many partitions it has, all led.
    count: Option<(u32, Instant)>,
    there: Option<Instant>,
}

impl Believed {
    pub(super) fn spec(&self, topic: &str) -> Option<TopicSpec> {
        let topics = self.topics();
        let (spec, since) = topics.get(topic)?.spec.as_ref()?;
        (since.elapsed() < BELIEVED).then(|| spec.clone())
    }

    pub(super) fn count(&self, topic: &str) -> Option<u32> {
        let (count, since) = self.topics().get(topic)?.count?;
        (since.elapsed() < BELIEVED).then_some(count)
    }

    /// True of a topic that is believed to be there.
    pub(super) fn has(&self, topic: &str) -> bool {
        self.spec(topic).is_some() || self.count(topic).is_some()
    }

    /// True of one that was there a moment ago, and that was not deleted here since.
    pub(super) fn was_there(&self, topic: &str) -> bool {
        self.topics().get(topic).and_then(|of| of.there).is_some_and(|since| since.elapsed() < HEARD_WITHIN)
    }

    /// It is so.
    pub(super) fn note(&self, topic: &str, spec: TopicSpec) {
        let (mut topics, now) = (self.topics(), Instant::now());
        let of = topics.entry(topic.to_owned()).or_default();
        (of.spec, of.there) = (Some((spec, now)), Some(now));
    }

    /// It has so many partitions, all led.
    pub(super) fn note_count(&self, topic: &str, count: u32) {
        let (mut topics, now) = (self.topics(), Instant::now());
        let of = topics.entry(topic.to_owned()).or_default();
        (of.count, of.there) = (Some((count, now)), Some(now));
    }

    /// It is to be asked for again.
    pub(super) fn forget(&self, topic: &str) {
        if let Some(of) = self.topics().get_mut(topic) {
            (of.spec, of.count) = (None, None);
        }
    }

    /// It is deleted.
    pub(super) fn remove(&self, topic: &str) {
        self.topics().remove(topic);
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, Of>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_asked_for_again_and_was_there_all_the_same() {
        let believed = Believed::default();
        assert!(!believed.has("t") && !believed.was_there("t"));
        believed.note("t", TopicSpec::kept(3));
        believed.note_count("t", 3);
        assert_eq!((believed.spec("t"), believed.count("t")), (Some(TopicSpec::kept(3)), Some(3)));
        believed.forget("t");
        assert!(!believed.has("t") && believed.was_there("t"));
        believed.note_count("t", 4);
        assert!(believed.has("t"));
        believed.remove("t");
        assert!(!believed.has("t") && !believed.was_there("t"));
    }
}
