//! Locks that go on after a panic elsewhere, and a bell for the threads that work in the background.
//!
//! A panic while a lock is held ends the thread that had it; what it was writing is either in RocksDB or not, and the
//! next one to write says so. Nothing is gained by panicking there too.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes one background thread when there is work, and tells it when to stop.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    stopped: bool,
}

impl Bell {
    /// There is work.
    pub(super) fn ring(&self) {
        let was = std::mem::replace(&mut lock(&self.state).rung, true);
        if !was {
            self.changed.notify_all();
        }
    }

    /// There will be no more.
    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    /// Waits for a ring, and takes it. False once stopped.
    pub(super) fn wait(&self) -> bool {
        let idle = |state: &mut State| !state.rung && !state.stopped;
        let mut state = self.changed.wait_while(lock(&self.state), idle).unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        !state.stopped
    }

    /// Waits for `time`, or less when stopped. False once stopped.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let running = |state: &mut State| !state.stopped;
        let waited = self.changed.wait_timeout_while(lock(&self.state), time, running);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }
}
