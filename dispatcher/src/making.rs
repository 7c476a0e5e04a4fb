//! Bodies that take a while are made on threads of their own, where neither lanes nor calls wait for them.
//!
//! A lane makes one at a time and a pool as many as there are processors, first come, first served: what one tenant's
//! expressions cost delays another of its pool by one body a lane. Invariants: bounded, one-tenant.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::body::{self, Body, Delivery, Head, Shape};

/// Leave to make them; cheap to clone, and then shared.
#[derive(Clone, Debug)]
pub(crate) struct Making {
    pool: Arc<Semaphore>,
    lane: Arc<Semaphore>,
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
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        Self { pool: Arc::new(Semaphore::new(processors)), lane: Arc::new(Semaphore::new(1)) }
    }

    /// Of one lane of it.
    pub(crate) fn of_a_lane(&self) -> Self {
        Self { lane: Arc::new(Semaphore::new(1)), ..self.clone() }
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
        let (_lane, _pool) = (self.lane.acquire().await, self.pool.acquire().await);
        let wanted = GivenUp(Arc::default());
        let given_up = Arc::clone(&wanted.0);
        let made = tokio::task::spawn_blocking(move || Body::make(&head, &shape, events.as_ref(), &given_up));
        made.await.map_err(io::Error::other)?
    }
}
