//! Something that all tenants share, and how much of it one may have at a time: who asks for too much keeps nobody else
//! from having some.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fpaas_core::TenantId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What there is.
#[derive(Debug)]
pub(crate) struct Shares {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: BTreeMap<TenantId, usize>,
}

/// What one request has of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Shares>,
    tenant: TenantId,
    amount: usize,
}

/// Why there is no more of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All tenants together have all of it.
    All,
    /// This tenant has as much as one may have.
    Own {
        /// Which.
        tenant: TenantId,
        /// How much that is.
        most: usize,
    },
}

impl Shares {
    /// So much in all, and so much for one tenant.
    pub(crate) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default(), freed: Notify::new() })
    }

    /// Nothing yet.
    pub(crate) fn of(self: &Arc<Self>, tenant: &TenantId) -> Share {
        Share { of: Arc::clone(self), tenant: tenant.clone(), amount: 0 }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes more of it, where there is so much and the tenant has not too much.
    pub(crate) fn grow(&mut self, by: usize) -> Result<(), Full> {
        let mut taken = self.of.taken();
        let theirs = taken.by.get(&self.tenant).copied().unwrap_or_default();
        if theirs.saturating_add(by) > self.of.each {
            return Err(Full::Own { tenant: self.tenant.clone(), most: self.of.each });
        }
        if taken.all.saturating_add(by) > self.of.all {
            return Err(Full::All);
        }
        taken.all += by;
        taken.by.insert(self.tenant.clone(), theirs + by);
        drop(taken);
        self.amount += by;
        Ok(())
    }

    /// The same, once there is so much.
    async fn grown(mut self, by: usize) -> Self {
        loop {
            let of = Arc::clone(&self.of);
            let mut freed = std::pin::pin!(of.freed.notified());
            // What is given back from here on is heard of.
            freed.as_mut().enable();
            if self.grow(by).is_ok() {
                return self;
            }
            freed.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        taken.all = taken.all.saturating_sub(self.amount);
        let theirs = taken.by.get(&self.tenant).copied().unwrap_or_default().saturating_sub(self.amount);
        if theirs == 0 {
            taken.by.remove(&self.tenant);
        } else {
            taken.by.insert(self.tenant.clone(), theirs);
        }
        drop(taken);
        self.of.freed.notify_waiters();
    }
}

/// Work that is waited for: first for the tenant's other work, then, among tenants, in the order in which they ask. So
/// one that asks a hundred times is one of those who wait.
#[derive(Debug)]
pub(crate) struct Turns {
    waiting: Arc<Shares>,
    own: Arc<Shares>,
    all: Arc<Semaphore>,
}

/// Is over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _waiting: Share,
    _own: Share,
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// So many at a time, and so many of one tenant; and so many of one tenant that wait or have their turn.
    pub(crate) fn new(all: usize, each: usize, waiting: usize) -> Self {
        let waiting = Shares::new(usize::MAX, waiting);
        Self { waiting, own: Shares::new(usize::MAX, each), all: Arc::new(Semaphore::new(all)) }
    }

    /// The tenant's turn, once it comes; what it has waited for where that takes too long.
    pub(crate) async fn of(&self, tenant: &TenantId, wait: Duration) -> Result<Turn, Full> {
        let mut waiting = self.waiting.of(tenant);
        waiting.grow(1)?;
        let until = tokio::time::Instant::now() + wait;
        let own = tokio::time::timeout_at(until, self.own.of(tenant).grown(1)).await;
        let own = own.map_err(|_| Full::Own { tenant: tenant.clone(), most: self.own.each })?;
        match tokio::time::timeout_at(until, Arc::clone(&self.all).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _waiting: waiting, _own: own, _permit: permit }),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Full::All),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants<const N: usize>(names: [&str; N]) -> [TenantId; N] {
        names.map(|name| TenantId::parse(name).unwrap())
    }

    #[test]
    fn one_tenant_does_not_have_all_of_it_and_what_is_dropped_is_there_again() {
        let shares = Shares::new(10, 6);
        let [acme, rival] = tenants(["acme", "rival"]);
        let (mut one, mut other) = (shares.of(&acme), shares.of(&acme));
        assert_eq!((one.grow(2), one.grow(2), other.grow(2)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(other.grow(1), Err(Full::Own { tenant: acme, most: 6 }));
        let mut theirs = shares.of(&rival);
        assert_eq!((theirs.grow(4), theirs.grow(1)), (Ok(()), Err(Full::All)));
        drop(one);
        assert_eq!(other.grow(4), Ok(()));
        assert_eq!(theirs.grow(1), Err(Full::All));
        drop((other, theirs));
        assert!(shares.taken().by.is_empty() && shares.taken().all == 0);
    }

    const WAIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_asks_often_keeps_nobody_else_waiting() {
        let turns = Turns::new(2, 1, 8);
        let [acme, rival, third] = tenants(["acme", "rival", "third"]);
        let first = turns.of(&acme, WAIT).await.unwrap();
        let mut more = Box::pin(turns.of(&acme, WAIT));
        assert!(futures_util::poll!(more.as_mut()).is_pending(), "one of a tenant at a time");
        let theirs = turns.of(&rival, WAIT).await.unwrap();
        // All are taken. Whoever waits for the whole comes before a tenant that waits for itself.
        let mut last = Box::pin(turns.of(&third, WAIT));
        assert!(futures_util::poll!(last.as_mut()).is_pending());
        drop(first);
        assert!(futures_util::poll!(more.as_mut()).is_pending());
        let last = last.await.unwrap();
        drop(theirs);
        drop((more.await.unwrap(), last));
        assert!(turns.own.taken().by.is_empty() && turns.all.available_permits() == 2);
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_tenant_so_many_wait_and_the_next_is_told_at_once() {
        let turns = Turns::new(2, 1, 3);
        let [acme, rival] = tenants(["acme", "rival"]);
        let _first = turns.of(&acme, WAIT).await.unwrap();
        let mut waiting = [Box::pin(turns.of(&acme, WAIT)), Box::pin(turns.of(&acme, WAIT))];
        for one in &mut waiting {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        let began = tokio::time::Instant::now();
        assert_eq!(turns.of(&acme, WAIT).await.unwrap_err(), Full::Own { tenant: acme.clone(), most: 3 });
        assert_eq!(began.elapsed(), Duration::ZERO);
        turns.of(&rival, WAIT).await.unwrap();
        drop(waiting);
        assert_eq!(turns.waiting.taken().by.get(&acme), Some(&1), "whoever went away waits no more");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_for_what() {
        let turns = Turns::new(2, 1, 8);
        let [acme, rival, third] = tenants(["acme", "rival", "third"]);
        let _one = turns.of(&acme, WAIT).await.unwrap();
        assert_eq!(turns.of(&acme, WAIT).await.unwrap_err(), Full::Own { tenant: acme, most: 1 });
        let _other = turns.of(&rival, WAIT).await.unwrap();
        assert_eq!(turns.of(&third, WAIT).await.unwrap_err(), Full::All);
        assert!(!turns.own.taken().by.contains_key(&third), "whoever went away waits no more");
    }
}
