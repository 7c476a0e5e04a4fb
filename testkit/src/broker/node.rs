//! One node of a cluster: its addresses, and its `server.properties`.
//!
//! Three listeners: `CLIENT` as the options say, `INSIDE` plain for brokers among themselves and for tests, and
//! `CONTROLLER`. A port has the same number inside a container and outside, so that an address is true on both sides.

use std::net::{Ipv4Addr, SocketAddr};

use super::options::Options;
use super::ports;

/// Any 16 bytes in Base64: brokers that share it are one cluster.
pub(super) const CLUSTER_ID: &str = "ZnBhYXMtdGVzdC1sb2c0eA";

/// Enough for tests; Kafka's own default is a gigabyte for each.
pub(super) const HEAP: &str = "-Xmx512m -Xms128m";

/// What was decided about a node before it is there.
#[derive(Clone, Debug)]
pub(super) struct Node {
    id: i32,
    client: u16,
    inside: u16,
    controller: u16,
    /// Of all nodes, itself included: `1@127.0.0.1:20001,…`.
    voters: String,
    nodes: usize,
    behind: Option<SocketAddr>,
}

impl Node {
    /// A cluster of one.
    pub(super) fn alone() -> Self {
        let [client, inside, controller] = [(); 3].map(|()| ports::free());
        let voters = format!("1@127.0.0.1:{controller}");
        Self { id: 1, client, inside, controller, voters, nodes: 1, behind: None }
    }

    /// A cluster of so many; each is broker and controller.
    pub(super) fn cluster(nodes: usize) -> Vec<Self> {
        let alone: Vec<_> = (1..).zip((0..nodes).map(|_| Self::alone())).collect();
        let voter = |(id, node): &(i32, Self)| format!("{id}@127.0.0.1:{}", node.controller);
        let voters = alone.iter().map(voter).collect::<Vec<_>>().join(",");
        alone.into_iter().map(|(id, node)| Self { id, voters: voters.clone(), nodes, ..node }).collect()
    }

    /// As the options want it, being the `at`-th of its cluster.
    pub(super) fn with(self, options: &Options, at: usize) -> Self {
        Self { behind: options.behind.get(at).copied(), ..self }
    }

    pub(super) fn id(&self) -> i32 {
        self.id
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.client).into()
    }

    pub(super) fn inside(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.inside).into()
    }

    pub(super) fn advertised(&self) -> SocketAddr {
        self.behind.unwrap_or_else(|| self.address())
    }

    /// The ports that are reached from outside.
    pub(super) fn ports(&self) -> [u16; 2] {
        [self.client, self.inside]
    }

    /// `server.properties`: it listens on `bind`, its data is in `logs`. Of two lines of a name the last counts.
    pub(super) fn properties(&self, bind: &str, logs: &str, options: &Options) -> Vec<(String, String)> {
        let Self { id, client, inside, controller, voters, .. } = self;
        let own = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", id.to_string()),
            ("controller.quorum.voters", voters.clone()),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "INSIDE".to_owned()),
            (
                "listeners",
                format!("CLIENT://{bind}:{client},INSIDE://{bind}:{inside},CONTROLLER://127.0.0.1:{controller}"),
            ),
            ("advertised.listeners", format!("CLIENT://{},INSIDE://{}", self.advertised(), self.inside())),
            (
                "listener.security.protocol.map",
                format!("CLIENT:{},INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT", options.protocol),
            ),
            ("log.dirs", logs.to_owned()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        let lines = own.chain(self.replication()).chain(quick()).chain(options.lines.iter().cloned());
        lines.map(|(name, value)| (name, escaped(&value))).collect()
    }

    /// As many copies as there are nodes, of which one may be missing.
    fn replication(&self) -> impl Iterator<Item = (String, String)> + use<> {
        let (copies, present) = (self.nodes.to_string(), (self.nodes - 1).max(1).to_string());
        [
            ("default.replication.factor", copies.clone()),
            ("min.insync.replicas", present.clone()),
            ("offsets.topic.replication.factor", copies.clone()),
            ("transaction.state.log.replication.factor", copies.clone()),
            ("transaction.state.log.min.isr", present.clone()),
            ("share.coordinator.state.topic.replication.factor", copies),
            ("share.coordinator.state.topic.min.isr", present),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
    }
}

/// As the file wants a value. Images write theirs into it as they are given.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n")
}

/// What makes tests quick, and what they must not be able to rely on.
fn quick() -> impl Iterator<Item = (String, String)> {
    [
        // A typing error in a topic's name is an error.
        ("auto.create.topics.enable", "false"),
        // A group's first member need not wait for others.
        ("group.initial.rebalance.delay.ms", "0"),
        // Each is a folder with four files: fifty of both kinds are a second of the first transaction.
        ("offsets.topic.num.partitions", "8"),
        ("transaction.state.log.num.partitions", "8"),
        // A killed broker may come back only when its session is over.
        ("broker.heartbeat.interval.ms", "500"),
        ("broker.session.timeout.ms", "4000"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into_iter()
}
