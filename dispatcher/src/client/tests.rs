//! The client against real servers on this machine, and names that resolve to what a test says.

use std::sync::Mutex;

use bytes::Bytes;
use fpaas_core::limits;
use http::HeaderMap;

use super::*;
use crate::Reach;

mod answers;
mod hanging;
mod http2;
mod mutual;
mod proxied;
mod refused;
mod server;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

fn call(url: &str) -> Call<'_> {
    let body = Bytes::from_static(b"{}");
    Call { url, headers: HeaderMap::new(), body, timeout: PATIENCE, wants_body: true, identity: None }
}

/// Names resolve to this, and whoever looks one up is noted.
#[derive(Clone, Debug, Default)]
struct Names {
    answers: Arc<Mutex<Vec<std::net::SocketAddr>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    fn to(addresses: &[&str]) -> Self {
        let names = Self::default();
        names.now(addresses);
        names
    }

    fn now(&self, addresses: &[&str]) {
        let parse = |address: &&str| std::net::SocketAddr::new(address.parse().unwrap(), 0);
        *self.answers.lock().unwrap() = addresses.iter().map(parse).collect();
    }

    fn lookup(&self) -> Lookup {
        let names = self.clone();
        Lookup::new(move |name| {
            names.asked.lock().unwrap().push(name);
            let found = names.answers.lock().unwrap().clone();
            async move { Ok(found) }
        })
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Where these networks may be called, and the test's own authority is trusted.
fn listed(networks: &[&str]) -> Config {
    let networks: Vec<_> = networks.iter().map(|network| network.parse().unwrap()).collect();
    let mut config = Config::reaching(Reach::Listed(networks.into()));
    config.network.trust = crate::Trust::with(&server::file("ca.pem")).unwrap();
    config
}
