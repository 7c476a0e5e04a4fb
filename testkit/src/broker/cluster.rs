//! Several brokers that are one cluster. From the jars: they reach each other on loopback, as clients do.

use anyhow::Result;
use futures_util::future::try_join_all;

use super::node::Node;
use super::options::{Options, Which};
use super::source::Source;
use super::{Broker, must, skipped};

/// Brokers 1, 2, …, each a controller too; topics have a copy on each, one of which may be missing.
#[derive(Debug)]
pub struct Cluster {
    brokers: Vec<Broker>,
}

impl Cluster {
    /// Starts so many at once, three being the fewest that survive one's death. `None` as with [`Broker::start`].
    pub async fn start(nodes: usize, options: &Options) -> Option<Self> {
        let options = options.clone().only(Which::Jars);
        let source = Source::found(&options).await.map_err(|missing| skipped(&missing)).ok()?;
        Some(must(Self::of(&source, nodes, &options).await))
    }

    async fn of(source: &Source, nodes: usize, options: &Options) -> Result<Self> {
        let nodes = Node::cluster(nodes).into_iter().enumerate().map(|(at, node)| node.with(options, at));
        let brokers = try_join_all(nodes.map(|node| Broker::of(source, node, options))).await?;
        Ok(Self { brokers })
    }

    /// What clients are given: all of them.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(Broker::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// In the order of their numbers.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// By its `node.id`, as metadata names a leader.
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.id() == id)
    }
}
