//! Bodies that take a while are made on threads of their own, where neither lanes nor calls wait for them.
//!
//! A lane makes one at a time, a tenant of a pool half as many as there are processors, at least one, and a pool as
//! many
//! as there are processors, first come, first served: what one tenant's expressions cost delays others of its pool by
//! one body where there is one processor, and not at all otherwise. Invariants: bounded, one-tenant.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use fpaas_core::TenantId;
use tokio::sync::Semaphore;

use crate::body::{self, Body, Delivery, Head, Shape};

/// Leave to make them; cheap to clone, and then shared.
#[derive(Clone, Debug)]
pub(crate) struct Making {
    pool: Arc<Semaphore>,
    tenants: Arc<Mutex<HashMap<TenantId, Weak<Semaphore>>>>,
    tenant: Arc<Semaphore>,
    lane: Arc<Semaphore>,
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// How many of them one tenant has.
fn share() -> usize {
    (processors() / 2).max(1)
}

/// Whoever waited for a body does not any more.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Making {
    /// Of a pool.
    pub(crate) fn new() -> Self {
        let made = |permits| Arc::new(Semaphore::new(permits));
        Self { pool: made(processors()), tenants: Arc::default(), tenant: made(share()), lane: made(1) }
    }

    /// Of one lane of it, of that tenant.
    pub(crate) fn of_a_lane(&self, tenant: &TenantId) -> Self {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tenants.get(tenant).and_then(Weak::upgrade);
        let shared = known.unwrap_or_else(|| {
            tenants.retain(|_, shared| shared.strong_count() > 0);
            let shared = Arc::new(Semaphore::new(share()));
            tenants.insert(tenant.clone(), Arc::downgrade(&shared));
            shared
        });
        Self { tenant: shared, lane: Arc::new(Semaphore::new(1)), ..self.clone() }
    }

    /// The body of these events. Not made to its end where nobody waits for it any more.
    pub(crate) async fn body(
        &self,
        head: Head,
        shape: Shape,
        events: impl AsRef<[Delivery]> + Send + 'static,
    ) -> io::Result<Body> {
        if !body::is_work(&shape, events.as_ref()) {
            return Body::make(&head, &shape, events.as_ref(), &AtomicBool::new(false));
        }
        // Neither is ever closed.
        let (_lane, _tenant) = (self.lane.acquire().await, self.tenant.acquire().await);
        let _pool = self.pool.acquire().await;
        let wanted = GivenUp(Arc::default());
        let given_up = Arc::clone(&wanted.0);
        let made = tokio::task::spawn_blocking(move || Body::make(&head, &shape, events.as_ref(), &given_up));
        made.await.map_err(io::Error::other)?
    }
}
