//! When keys were last used, as far as this process has seen: to the minute, in memory, for people who look for a key
//! that nobody needs any more.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use fpaas_core::{KeyId, Timestamp};
use fpaas_state::View;

/// How coarse it is, in milliseconds.
const MINUTE: i64 = 60_000;

/// By the ids of keys that opened something: no more of them than there are keys.
#[derive(Debug, Default)]
pub(crate) struct Used(RwLock<BTreeMap<KeyId, Timestamp>>);

impl Used {
    /// A key of `view` has opened something.
    pub(crate) fn note(&self, view: &View, id: &KeyId, now: Timestamp) {
        let minute = Timestamp::from_millis(now.as_millis() - now.as_millis().rem_euclid(MINUTE));
        let before = self.of(id);
        if before == Some(minute) {
            return;
        }
        let mut used = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if before.is_none() {
            used.retain(|id, _| view.keys.contains_key(id));
        }
        used.insert(id.clone(), minute);
    }

    /// The minute in which it was last used.
    pub(crate) fn of(&self, id: &KeyId) -> Option<Timestamp> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> KeyId {
        KeyId::parse(&format!("{number:016}")).unwrap()
    }

    #[test]
    fn uses_are_kept_to_the_minute_and_forgotten_with_their_keys() {
        let (used, view) = (Used::default(), View::default());
        let at = Timestamp::from_millis;
        assert_eq!(used.of(&id(1)), None);
        used.note(&view, &id(1), at(119_999));
        assert_eq!(used.of(&id(1)), Some(at(60_000)));
        used.note(&view, &id(1), at(120_000));
        assert_eq!(used.of(&id(1)), Some(at(120_000)));
        // That view has no keys: at the first use of another one, the first is gone.
        used.note(&view, &id(2), at(120_000));
        assert_eq!((used.of(&id(1)), used.of(&id(2))), (None, Some(at(120_000))));
    }
}
