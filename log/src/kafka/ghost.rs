//! Who has a member's place in its group, when the group says that it is another's.
//!
//! A broker that stands still for longer than a session answers our rejoining twice: first the request that we have
//! given up on, by a member id that nobody is told, then the next one, which it fences. So our place may be held by
//! what is left of ourselves, which is asked nothing and beats no heart; or by another process of our name, and then
//! each of the two would fence the other for ever.

use std::thread;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::admin::Admin;

/// How long the brokers may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// How much later than at the end of a session a place may be given away.
const MARGIN: Duration = Duration::from_secs(3);
/// A broker calls a static member by its name, a hyphen and a UUID (KIP-345).
const UUID_BYTES: usize = 36;

/// A member as the group describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) id: String,
    pub(super) client_id: String,
}

impl Described {
    fn name(&self) -> Option<&str> {
        self.id.get(..self.id.len().checked_sub(UUID_BYTES)?)?.strip_suffix('-')
    }
}

/// Whose place it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) group: &'a str,
    pub(super) name: &'a str,
    pub(super) client_id: &'a str,
    /// After so long without a heart that beats the group gives a place away.
    pub(super) session: Duration,
}

impl Place<'_> {
    /// True where the place is free or held by what is left of ourselves: of this client, or of a process before it,
    /// which lasts no longer than a session. Also when nobody says so in time: whoever joins is asked again where it is
    /// fenced. False when it is too late to ask.
    pub(super) fn is_ours(self, admin: &Admin, given_up: impl Fn() -> bool) -> bool {
        let (began, mut others) = (Instant::now(), None);
        while began.elapsed() < PATIENCE.max(2 * self.session) {
            if given_up() {
                return false;
            }
            match admin.members_now(self.group) {
                Ok(members) if self.is_free(&members) => return true,
                Ok(_) if others.get_or_insert_with(Instant::now).elapsed() > self.session + MARGIN => return false,
                Ok(_) => {}
                Err(failed) => debug!(self.group, %failed, "who is a member is not known, asking again"),
            }
            thread::sleep(PAUSE);
        }
        warn!(self.group, member = self.name, "nobody says whose this member's place is: joining again");
        true
    }

    fn is_free(self, members: &[Described]) -> bool {
        let holder = members.iter().find(|member| member.name() == Some(self.name));
        holder.is_none_or(|holder| holder.client_id == self.client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_anothers_where_another_client_has_the_name() {
        let member = |name: &str, client_id: &str| Described {
            id: format!("{name}-0b3a8f2e-52a4-4bd9-8f5e-7f2f1c9a6d10"),
            client_id: client_id.to_owned(),
        };
        let is_free = |members: &[Described], name, client_id| {
            Place { group: "g", name, client_id, session: Duration::ZERO }.is_free(members)
        };
        let others =
            [member("b", "x"), member("a-b", "y"), Described { id: "a".to_owned(), client_id: "z".to_owned() }];
        assert!(is_free(&others, "a", "ours") && is_free(&[], "a", "ours"));
        assert!(is_free(&[member("b", "x"), member("a", "ours")], "a", "ours"));
        assert!(!is_free(&[member("b", "ours"), member("a", "theirs")], "a", "ours"));
        assert!(!is_free(&[member("a-b", "theirs")], "a-b", "ours"));
    }
}
