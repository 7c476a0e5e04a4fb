//! How many bytes all lanes of a pool may hold together. Invariant: bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound that many share; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    used: Arc<AtomicUsize>,
    most: usize,
}

/// A share of it, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    of: Budget,
    bytes: usize,
}

impl Budget {
    /// Of so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { used: Arc::default(), most }
    }

    /// So many bytes, or `None` where there are not so many.
    pub(crate) fn take(&self, bytes: usize) -> Option<Taken> {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Taken { of: self.clone(), bytes })
    }

    /// Nothing of it yet.
    pub(crate) fn nothing(&self) -> Taken {
        Taken { of: self.clone(), bytes: 0 }
    }
}

impl Taken {
    /// True where so many bytes more are there.
    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        self.of.used.load(Ordering::SeqCst).saturating_add(more) <= self.of.most
    }

    /// How many bytes more are there.
    pub(crate) fn room(&self) -> usize {
        self.of.most.saturating_sub(self.of.used.load(Ordering::SeqCst))
    }

    /// It is so many bytes now, whatever the bound says: they are there already.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.of.used.fetch_add(bytes, Ordering::SeqCst);
        self.of.used.fetch_sub(self.bytes, Ordering::SeqCst);
        self.bytes = bytes;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_taken_again() {
        let budget = Budget::new(10);
        let first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        let mut parked = budget.nothing();
        assert!(parked.has_room_for(4) && !parked.has_room_for(5));
        parked.set(9);
        assert!(budget.take(1).is_none(), "what is there counts above the bound, too");
        drop(first);
        assert!(budget.take(1).is_some());
        parked.set(0);
        assert!(budget.take(10).is_some());
    }
}
