//! Which hosts' connections are kept: so many, so that idle connections are bounded in all and not for each host alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fpaas_core::limits;
use tokio::time::Instant;

use super::IDLE;

/// Hosts that were called not long ago, each with its scheme and port, and when. A host that is shown a certificate is
/// one for each of them.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<HashMap<String, Instant>>);

impl Kept {
    /// How a host is called that is shown the certificate of that digest.
    pub(super) fn host_of(digest: &str, host: &str) -> String {
        format!("{digest} {host}")
    }

    /// The connections of that certificate are closed: there is room for others.
    pub(super) fn forget(&self, digest: &str) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|host, _| !host.starts_with(digest));
    }

    /// True where a connection to `host` may be kept after a call at `now`: while there is no room for another host,
    /// those who come later open one for each call.
    pub(super) fn keeps(&self, host: &str, now: Instant) -> bool {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(called) = hosts.get_mut(host) {
            *called = now;
            return true;
        }
        if hosts.len() >= limits::WEBHOOK_HOSTS_KEPT_MAX {
            // By then those of its connections that nobody used are closed, and the longest call in them is over.
            let gone = IDLE + std::time::Duration::from_millis(*limits::WEBHOOK_TIMEOUT_MS.end());
            hosts.retain(|_, called| now.saturating_duration_since(*called) < gone);
        }
        let has_room = hosts.len() < limits::WEBHOOK_HOSTS_KEPT_MAX;
        if has_room {
            hosts.insert(host.to_owned(), now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn so_many_hosts_are_kept_and_room_comes_back_once_theirs_are_closed() {
        let (kept, now) = (Kept::default(), Instant::now());
        let host = |n: usize| format!("{n}.example");
        assert!((0..limits::WEBHOOK_HOSTS_KEPT_MAX).all(|n| kept.keeps(&host(n), now)));
        let other = host(limits::WEBHOOK_HOSTS_KEPT_MAX);
        assert!(!kept.keeps(&other, now));
        assert!(kept.keeps(&host(0), now + Duration::from_secs(900)));
        assert!(!kept.keeps(&other, now + Duration::from_secs(949)));
        let later = now + Duration::from_secs(951);
        assert!(kept.keeps(&other, later));
        // The one that was called in between stays, and the others have left.
        assert_eq!(kept.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_host_counts_once_for_each_certificate_and_all_of_one_are_forgotten_at_once() {
        let (kept, now) = (Kept::default(), Instant::now());
        for host in ["a.example", "b.example"] {
            for of in ["1f", "2f"] {
                assert!(kept.keeps(&Kept::host_of(of, host), now));
            }
            assert!(kept.keeps(host, now));
        }
        kept.forget("1f");
        let mut left: Vec<_> = kept.0.lock().unwrap().keys().cloned().collect();
        left.sort();
        assert_eq!(left, ["2f a.example", "2f b.example", "a.example", "b.example"]);
    }
}
