//! What a test wants of its broker.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

/// Where a broker comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// A container, by the crate `testcontainers`.
    Testcontainers,
    /// The broker's own jars, by the Java of this machine.
    Jars,
}

impl Display for Which {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Testcontainers => "testcontainers",
            Self::Jars => "jars",
        })
    }
}

/// What is said to Java where a broker is to come up soon and lives for a minute.
pub(super) const SOON: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// How the broker is to be; as it comes, it is plain, open to all, and creates no topic by itself.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) only: Option<Which>,
    pub(super) protocol: String,
    pub(super) lines: Vec<(String, String)>,
    pub(super) scram: Vec<(String, String)>,
    pub(super) behind: Vec<SocketAddr>,
    pub(super) java: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        let protocol = "PLAINTEXT".to_owned();
        Self { only: None, protocol, lines: Vec::new(), scram: Vec::new(), behind: Vec::new(), java: SOON }
    }
}

impl Options {
    /// From there and from nowhere else.
    #[must_use]
    pub fn only(self, which: Which) -> Self {
        Self { only: Some(which), ..self }
    }

    /// Compiled as one that runs for long: at first it takes twice the processor's time, and then it is fast. With
    /// memory for some thousand topics. Not in a container, whose network would take more of the processor than the
    /// broker does.
    #[must_use]
    pub fn for_speed(self) -> Self {
        Self { java: "-Xmx2g", ..self }.only(Which::Jars)
    }

    /// One more line of `server.properties`; it wins over what it would be otherwise. The listener of clients is named
    /// `CLIENT` (`listener.name.client.…`), that of tests `INSIDE`, whose user is `User:ANONYMOUS`.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.lines.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What clients must speak: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`. What it needs is up to properties;
    /// keys and certificates can stand in them as PEM (`listener.name.client.ssl.keystore.key`).
    #[must_use]
    pub fn security(self, protocol: &str) -> Self {
        Self { protocol: protocol.to_owned(), ..self }
    }

    /// A user for SCRAM-SHA-256 and SCRAM-SHA-512 that is there from the start. Takes the jars.
    #[must_use]
    pub fn scram(mut self, user: &str, password: &str) -> Self {
        self.scram.push((user.to_owned(), password.to_owned()));
        self.only(Which::Jars)
    }

    /// Tells clients to come there instead, such as to a proxy that leads to [`super::Broker::address`]. Said again, it
    /// is for the next broker of a cluster.
    #[must_use]
    pub fn behind(mut self, address: SocketAddr) -> Self {
        self.behind.push(address);
        self
    }
}
