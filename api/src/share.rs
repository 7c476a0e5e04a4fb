//! Something that all tenants share, and how much of it one may have at a time: who asks for too much keeps nobody else
//! from having some.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fpaas_core::TenantId;

/// What there is.
#[derive(Debug)]
pub(crate) struct Shares {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
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

impl Shares {
    /// So much in all, and so much for one tenant.
    pub(crate) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
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
    /// Takes more of it; false where there is not so much, or where the tenant has too much.
    pub(crate) fn grow(&mut self, by: usize) -> bool {
        let mut taken = self.of.taken();
        let theirs = taken.by.get(&self.tenant).copied().unwrap_or_default();
        if taken.all.saturating_add(by) > self.of.all || theirs.saturating_add(by) > self.of.each {
            return false;
        }
        taken.all += by;
        taken.by.insert(self.tenant.clone(), theirs + by);
        drop(taken);
        self.amount += by;
        true
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_does_not_have_all_of_it_and_what_is_dropped_is_there_again() {
        let shares = Shares::new(10, 6);
        let [acme, rival] = ["acme", "rival"].map(|tenant| TenantId::parse(tenant).unwrap());
        let (mut one, mut other) = (shares.of(&acme), shares.of(&acme));
        assert!(one.grow(2) && one.grow(2) && other.grow(2));
        assert!(!other.grow(1), "acme has its share");
        let mut theirs = shares.of(&rival);
        assert!(theirs.grow(4) && !theirs.grow(1), "there is no more");
        drop(one);
        assert!(other.grow(4) && !other.grow(1) && !theirs.grow(1));
        drop((other, theirs));
        assert!(shares.taken().by.is_empty() && shares.taken().all == 0);
    }
}
