//! A real Kafka broker for tests: from a container where a Docker daemon answers, else from the broker's own jars.
//!
//! It can be stopped, killed, paused and started again with the same data at the same address. It never outlives the
//! process that started it, also when that is killed. It speaks no more of Kafka's protocol than it takes to see that a
//! broker answers.

mod cluster;
mod container;
mod jars;
mod node;
mod options;
mod ports;
mod ready;
mod source;

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::OnceCell;

pub use cluster::Cluster;
pub use options::{Options, Which};

use crate::skip::skip;
use container::Container;
use jars::Jars;
use node::Node;
use source::{Missing, Source};

/// A broker that was started.
#[derive(Debug)]
pub struct Broker {
    node: Node,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Container(Container),
    Jars(Jars),
}

impl Broker {
    /// Starts one of its own. `None` where there is no way to: that was said then, and fails where `FPAAS_MUST_RUN`
    /// names `kafka`. Panics when a broker was started and did not come up.
    pub async fn start(options: &Options) -> Option<Self> {
        let started = Self::found(options).await;
        started.map_err(|missing| skipped(&missing)).ok()
    }

    /// Whether there is a way to start one, for whoever is no test; an error says what is missing. May pull the image.
    pub async fn available(options: &Options) -> Result<()> {
        Source::found(options).await.map(drop).map_err(|missing| anyhow!(missing.why))
    }

    /// The same as [`Self::start`] for whoever is no test: an error says why none came up.
    pub async fn started(options: &Options) -> Result<Self> {
        let source = Source::found(options).await.map_err(|missing| anyhow!(missing.why))?;
        Self::of(&source, Node::alone().with(options, 0), options).await
    }

    /// The one that all tests of this process share: each uses topics of its own, and none stops it.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Result<Broker, Missing>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(async || Self::found(&Options::default()).await).await;
        shared.as_ref().map_err(skipped).ok()
    }

    async fn found(options: &Options) -> Result<Self, Missing> {
        let source = Source::found(options).await?;
        Ok(must(Self::of(&source, Node::alone().with(options, 0), options).await))
    }

    async fn of(source: &Source, node: Node, options: &Options) -> Result<Self> {
        let engine = match source {
            Source::Container(image) => Engine::Container(Container::create(image, &node, options).await?),
            Source::Jars(java) => Engine::Jars(Jars::create(java, &node, options).await?),
        };
        let broker = Self { node, engine };
        broker.come_up().await?;
        write_down(broker.which());
        Ok(broker)
    }

    /// Where it comes from: `testcontainers` or `jars`.
    pub fn which(&self) -> Which {
        match self.engine {
            Engine::Container(_) => Which::Testcontainers,
            Engine::Jars(_) => Which::Jars,
        }
    }

    /// What clients are given, `127.0.0.1:PORT`: the broker itself, or what it stands behind (see [`Options::behind`]).
    pub fn bootstrap(&self) -> String {
        self.node.advertised().to_string()
    }

    /// Where it listens for clients: where a proxy in front of it leads.
    pub fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// A second way in for tests, as `127.0.0.1:PORT`: plain text, no login, no proxy, whatever clients must do.
    pub fn inside(&self) -> String {
        self.node.inside().to_string()
    }

    /// Its `node.id`.
    pub fn id(&self) -> i32 {
        self.node.id()
    }

    /// SIGTERM; returns when it has ended. What it holds stays.
    pub async fn stop(&self) -> Result<()> {
        match &self.engine {
            Engine::Container(container) => container.stop().await,
            Engine::Jars(jars) => jars.stop().await,
        }
    }

    /// SIGKILL; returns when it has ended. An error when it was not running. What it had written stays.
    pub async fn kill(&self) -> Result<()> {
        match &self.engine {
            Engine::Container(container) => container.kill().await,
            Engine::Jars(jars) => jars.kill().await,
        }
    }

    /// After [`Self::stop`] or [`Self::kill`]: the same data, the same address. Returns when it answers.
    pub async fn start_again(&self) -> Result<()> {
        match &self.engine {
            Engine::Container(container) => container.start().await?,
            Engine::Jars(jars) => jars.start().await?,
        }
        self.come_up().await
    }

    /// Stops it in the middle of whatever it does: connections stay open, and nothing is answered.
    pub async fn pause(&self) -> Result<()> {
        match &self.engine {
            Engine::Container(container) => container.pause().await,
            Engine::Jars(jars) => jars.pause().await,
        }
    }

    /// After [`Self::pause`]: it goes on.
    pub async fn resume(&self) -> Result<()> {
        match &self.engine {
            Engine::Container(container) => container.resume().await,
            Engine::Jars(jars) => jars.resume(),
        }
    }

    /// Runs one of Kafka's own tools against it, such as `org.apache.kafka.tools.AclCommand`. Takes the jars.
    pub async fn tool(&self, class: &str, arguments: &[&str]) -> Result<()> {
        let Engine::Jars(jars) = &self.engine else { anyhow::bail!("Kafka's tools are run from its jars") };
        jars.tool(class, &self.inside(), arguments).await
    }

    async fn come_up(&self) -> Result<()> {
        let up = match &self.engine {
            Engine::Container(container) => ready::wait(self.node.inside(), async || container.runs().await).await,
            Engine::Jars(jars) => ready::wait(self.node.inside(), async || jars.runs()).await,
        };
        match (up, &self.engine) {
            (Ok(()), _) => Ok(()),
            (Err(error), Engine::Container(container)) => Err(error).context(container.said().await),
            (Err(error), Engine::Jars(jars)) => Err(error).context(jars.said()),
        }
    }
}

/// Says which test does not run, and fails it where it must.
fn skipped(missing: &Missing) {
    skip(missing.need, &format!("{}: {}", source::test(), missing.why));
}

/// A broker that should be there and is not fails the test that asked for it.
#[expect(clippy::panic, reason = "it is how a test fails")]
fn must<T>(started: Result<T>) -> T {
    started.unwrap_or_else(|error| panic!("Kafka did not come up: {error:?}"))
}

/// `FPAAS_BROKERS` names a file that gets a line for each broker a test has used: so CI sees that there were some.
fn write_down(which: Which) {
    if let Some(file) = std::env::var_os("FPAAS_BROKERS") {
        let opened = std::fs::File::options().append(true).create(true).open(file);
        // Who reads it misses the line then, and fails.
        drop(opened.and_then(|mut file| writeln!(file, "{which}")));
    }
}
