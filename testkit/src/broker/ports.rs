//! Ports that stay a broker's own while it is stopped.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below those that systems give to whoever asks for any (Linux: from 32768 on): such a port could be given away while
/// its broker is down.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// One that nobody listens on, and that this process was not given before.
pub(super) fn free() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Processes that run at the same time begin at different ones.
    let mut port = u16::try_from(RandomState::new().hash_one(0) % u64::from(COUNT)).unwrap_or_default();
    loop {
        port = (port + 1) % COUNT;
        let candidate = FIRST + port;
        if !given.contains(&candidate) && TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)).is_ok() {
            given.push(candidate);
            return candidate;
        }
    }
}
