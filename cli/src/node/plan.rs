//! From arguments to a plan: everything that can be wrong with them is said before anything is opened.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use fpaas_core::limits;
use fpaas_dispatcher::Reach;
use fpaas_ingest::{Trust, Upstream};
use fpaas_log::Retention;

use super::backend::Address;
use super::folder::Naming;
use crate::args::{Dev, Node, Part, Serve};
use crate::client::apply::{self, Documents};
use crate::exit::Failure;

/// What is kept of the firehose, first reached, so that a live feed never fills a disk.
const FIREHOSE_TIME: Duration = Duration::from_secs(24 * 3600);
const FIREHOSE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Partitions of the firehose in dev.
const DEV_PARTITIONS: u32 = 4;

/// What a node will be.
#[derive(Debug)]
pub(super) struct Plan {
    /// `fpaas dev`: the key is shown, and commands on this machine find the server.
    pub(super) dev: bool,
    pub(super) parts: BTreeSet<Part>,
    pub(super) data: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) upstreams: Vec<Upstream>,
    /// Whose certificates they may have.
    pub(super) trust: Trust,
    /// As they were given.
    pub(super) upstream_texts: Vec<String>,
    pub(super) applied: Option<Documents>,
    pub(super) exit_when_idle: bool,
    pub(super) partitions: u32,
    /// What was said of them, if anything.
    pub(super) partitions_asked: Option<u32>,
    pub(super) log: Address,
    /// What the node is called, if that was said.
    pub(super) node_id: Option<String>,
    pub(super) reach: Reach,
}

impl Plan {
    pub(super) fn of_dev(dev: &Dev) -> Result<Self, Failure> {
        let parts = Part::value_variants().iter().copied().collect();
        Self::new(&dev.node, true, parts)
    }

    pub(super) fn of_serve(serve: &Serve) -> Result<Self, Failure> {
        let all = || Part::value_variants().iter().copied().collect();
        let parts: BTreeSet<Part> = if serve.only.is_empty() { all() } else { serve.only.iter().copied().collect() };
        if parts != all() && !serve.node.log.is_shared() {
            return Err(Failure::Usage(
                "--only: nodes share their work over Kafka: give --log kafka://…, too".to_owned(),
            ));
        }
        if serve.node.apply.is_some() && !parts.contains(&Part::Api) {
            return Err(Failure::Usage("--apply: needs the part api on this node".to_owned()));
        }
        let plan = Self::new(&serve.node, false, parts)?;
        Ok(Self { reach: Reach::Listed(serve.allow_webhook_cidr.clone().into()), ..plan })
    }

    fn new(node: &Node, dev: bool, parts: BTreeSet<Part>) -> Result<Self, Failure> {
        let upstreams = if parts.contains(&Part::Ingest) { upstreams(&node.upstream)? } else { Vec::new() };
        let plan = Self {
            dev,
            parts,
            data: node.data.clone(),
            listen: node.listen,
            upstreams,
            trust: trust(node.upstream_ca.as_deref())?,
            upstream_texts: node.upstream.clone(),
            applied: node.apply.as_deref().map(apply::read).transpose()?,
            exit_when_idle: node.exit_when_idle,
            partitions: node.partitions.unwrap_or(if dev { DEV_PARTITIONS } else { limits::FIREHOSE_PARTITIONS }),
            partitions_asked: node.partitions,
            log: Address::parse(&node.log)?,
            node_id: node.log.node_id.clone(),
            reach: Reach::Dev,
        };
        Ok(plan)
    }

    pub(super) fn naming(&self) -> Naming<'_> {
        if self.log.is_shared() { Naming::Among(self.node_id.as_deref()) } else { Naming::Alone }
    }

    pub(super) fn runs(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// How long one of `partitions` partitions of the firehose is kept.
    pub(super) fn firehose(&self, partitions: u32) -> Retention {
        Retention { time: Some(FIREHOSE_TIME), bytes: Some(FIREHOSE_BYTES / u64::from(partitions.max(1))) }
    }
}

/// Two of one name would move the same cursor, each past what the other has not brought.
fn distinct(upstreams: &[Upstream]) -> Result<(), Failure> {
    let mut ids = BTreeSet::new();
    match upstreams.iter().find(|upstream| !ids.insert(upstream.id())) {
        Some(twice) => Err(Failure::Usage(format!("--upstream: {} is given twice, and has one cursor", twice.id()))),
        None => Ok(()),
    }
}

fn trust(authorities: Option<&Path>) -> Result<Trust, Failure> {
    let usage = |error: fpaas_ingest::Error| Failure::Usage(error.to_string());
    authorities.map_or_else(|| Ok(Trust::default()), |path| Trust::default().and(path).map_err(usage))
}

fn upstreams(texts: &[String]) -> Result<Vec<Upstream>, Failure> {
    let parse = |text: &String| Upstream::parse(text).map_err(|error| Failure::Usage(error.to_string()));
    let upstreams = texts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    distinct(&upstreams)?;
    for upstream in &upstreams {
        if let Upstream::Recording(recording) = upstream {
            let path = recording.path.display();
            File::open(&recording.path)
                .map_err(|error| Failure::Usage(format!("--upstream: the recording {path} cannot be read: {error}")))?;
        }
    }
    Ok(upstreams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_upstreams_of_one_cursor_are_refused() {
        let refused = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
            upstreams(&texts).err().map(|failure| failure.to_string())
        };
        assert_eq!(refused(&["wss://a.example", "wss://b.example"]), None);
        for twice in ["wss://a.example", "wss://a.example/?cursor=7", "wss://A.example:443/other"] {
            let said = refused(&["wss://a.example", twice]).unwrap();
            assert_eq!(said, "--upstream: wss://a.example is given twice, and has one cursor");
        }
        let file = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(refused(&[file, &format!("{file}?speed=2x")]).is_some());
    }

    #[test]
    fn two_gigabytes_or_a_day_of_the_firehose_are_kept_whatever_its_partitions() {
        let arguments = ["fpaas", "dev", "--upstream", "wss://a.example"];
        let crate::args::Command::Dev(dev) = <crate::args::Args as clap::Parser>::parse_from(arguments).command else {
            panic!("it is dev")
        };
        let plan = Plan::of_dev(&dev).unwrap();
        for partitions in [1, 4, 16] {
            let kept = plan.firehose(partitions);
            assert_eq!(kept.time, Some(Duration::from_secs(24 * 60 * 60)));
            assert_eq!(kept.bytes.map(|bytes| bytes * u64::from(partitions)), Some(2 << 30));
        }
    }
}
