//! How many calls an endpoint gets at a time, and when it gets none: one per tenant and URL, shared by all lanes here
//! that call it.
//!
//! Each lane always has one call; what an endpoint takes beyond that is learned ([`limiter`]) and shared in turn, first
//! come, first served, one turn a lane. A breaker ([`breaker`]) lets an endpoint that does nothing but fail rest. Does
//! not own what failed calls lead to. Invariants: one-tenant, bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use fpaas_core::{TenantId, limits};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use breaker::{Admission, Breaker};
use limiter::Limiter;

pub(crate) mod breaker;
pub(crate) mod limiter;

/// The endpoints that lanes call.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(Mutex<HashMap<(TenantId, String), Weak<Endpoint>>>);

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Endpoint {
    state: Mutex<State>,
    /// Calls beyond one a lane.
    extra: Arc<Semaphore>,
    /// The breaker lets somebody through, or not any more.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    breaker: Breaker,
    /// Permits that were ever added and not taken away.
    permits: usize,
    calls: usize,
    last_good: Option<Instant>,
}

/// How a call ended, for its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Good,
    /// It failed, and says nothing of how much the endpoint can take.
    Failed,
    /// It failed because there was too much: 429, 503, no answer in time.
    Overloaded,
}

/// Leave to call an endpoint once.
#[derive(Debug)]
pub(crate) struct Turn {
    endpoint: Arc<Endpoint>,
    permit: Option<OwnedSemaphorePermit>,
    begun: Instant,
    /// It decides whether a breaker closes.
    probe: bool,
    over: bool,
}

impl Endpoints {
    /// That of a tenant's URL.
    pub(crate) fn of(&self, tenant: &TenantId, url: &str) -> Arc<Endpoint> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes after the path may differ from call to call.
        let url = url.split(['?', '#']).next().unwrap_or(url);
        let key = (tenant.clone(), url.to_owned());
        if let Some(found) = all.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        all.retain(|_, endpoint| endpoint.strong_count() > 0);
        let endpoint = Arc::new(Endpoint::new());
        all.insert(key, Arc::downgrade(&endpoint));
        endpoint
    }
}

impl Endpoint {
    fn new() -> Self {
        let state =
            State { limiter: Limiter::default(), breaker: Breaker::default(), permits: 0, calls: 0, last_good: None };
        Self { state: Mutex::new(state), extra: Arc::new(Semaphore::new(0)), changed: Notify::new() }
    }

    /// Leave for one call, as soon as there is. `first` where the lane calls nothing now. Cancel-safe.
    pub(crate) async fn turn(self: Arc<Self>, first: bool) -> Turn {
        loop {
            self.until_admitted().await;
            let permit = if first { None } else { Arc::clone(&self.extra).acquire_owned().await.ok() };
            // The breaker may have opened meanwhile.
            if let Some(turn) = self.begin(permit) {
                return turn;
            }
        }
    }

    /// Returns once the breaker lets a call through.
    async fn until_admitted(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let admission = self.state().breaker.admit(Instant::now());
            match admission {
                Admission::Yes | Admission::Probe => return,
                Admission::At(time) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(time) => {}
                        () = changed => {}
                    }
                }
                Admission::AfterProbe => changed.await,
            }
        }
    }

    fn begin(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Option<Turn> {
        let mut state = self.state();
        let probe = match state.breaker.admit(Instant::now()) {
            Admission::Yes => false,
            Admission::Probe => true,
            Admission::At(_) | Admission::AfterProbe => return None,
        };
        if probe {
            state.breaker.begin_probe();
        }
        state.calls += 1;
        drop(state);
        Some(Turn { endpoint: Arc::clone(self), permit, begun: Instant::now(), probe, over: false })
    }

    /// How many batches a lane may have under way so that none waits for nothing.
    pub(crate) fn worthwhile(&self) -> usize {
        (self.state().limiter.extra() + 1).min(limits::LANE_CALLS_MAX)
    }

    /// True where a call went well within the time after which nothing but failures disable it.
    pub(crate) fn was_good_lately(&self) -> bool {
        self.state().last_good.is_some_and(|last| last.elapsed() < limits::DISABLE_AFTER)
    }

    /// True while the breaker lets nothing through but a probe.
    pub(crate) fn rests(&self) -> bool {
        self.state().breaker.is_open()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many permits as the limiter says; those that are out are taken away as they come back.
    fn follow_limit(&self, state: &mut State, returned: Option<OwnedSemaphorePermit>) {
        let wanted = state.limiter.extra();
        if let Some(permit) = returned
            && state.permits > wanted
        {
            permit.forget();
            state.permits -= 1;
        }
        if wanted > state.permits {
            self.extra.add_permits(wanted - state.permits);
            state.permits = wanted;
        }
        while state.permits > wanted
            && let Ok(idle) = Arc::clone(&self.extra).try_acquire_owned()
        {
            idle.forget();
            state.permits -= 1;
        }
    }
}

impl Turn {
    /// The call begins now and not when it had leave: its body had to be made.
    pub(crate) fn begins(&mut self) {
        self.begun = Instant::now();
    }

    /// The call is over. What the breaker makes of it, where it opens or closes with it.
    pub(crate) fn over(mut self, health: Health) -> Option<breaker::Change> {
        self.over = true;
        let (endpoint, permit) = (Arc::clone(&self.endpoint), self.permit.take());
        let (now, mut state) = (Instant::now(), endpoint.state());
        let calls = state.calls;
        state.limiter.note(now, now.saturating_duration_since(self.begun), health, calls);
        if health == Health::Good {
            state.last_good = Some(now);
        }
        let change = state.breaker.note(now, health == Health::Good, self.probe);
        endpoint.follow_limit(&mut state, permit);
        drop(state);
        if change.is_some() {
            endpoint.changed.notify_waiters();
        }
        change
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.endpoint.state();
        state.calls -= 1;
        if self.probe && !self.over {
            state.breaker.drop_probe(Instant::now());
            drop(state);
            self.endpoint.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
