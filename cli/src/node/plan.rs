//! From settings to a plan: everything that can be wrong with them is said, all at once, before anything is opened.
//!
//! `fpaas config check` makes the same plan, and says what is wrong with it instead of running it.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use fpaas_core::limits;
use fpaas_ingest::{Error, Trust, Upstream};
use fpaas_log::Retention;

use super::backend::{Address, EMBEDDED};
use super::endpoints::Endpoints;
use super::folder::{self, Naming};
use crate::args::Part;
use crate::client::apply::{self, Documents};
use crate::config::setting::{
    API_KEY, APPLY, DATA, EXIT_WHEN_IDLE, LISTEN, LOG, NODE_ID, ONLY, PARTITIONS, UPSTREAM, UPSTREAM_CA,
};
use crate::config::{Reading, Role, Settings, Wrongs, shown};
use crate::telemetry;

/// What is kept of the firehose, first reached, so that a live feed never fills a disk.
const FIREHOSE_TIME: Duration = Duration::from_secs(24 * 3600);
const FIREHOSE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Partitions of the firehose in dev.
const DEV_PARTITIONS: u32 = 4;
/// The most it may be made with.
const PARTITIONS_MAX: u32 = 256;

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
    /// As they were given, without passwords.
    pub(super) upstream_texts: Vec<String>,
    pub(super) applied: Option<Documents>,
    pub(super) exit_when_idle: bool,
    pub(super) partitions: u32,
    /// What was said of them, if anything.
    pub(super) partitions_asked: Option<u32>,
    pub(super) log: Address,
    /// What the node is called, if that was said.
    pub(super) node_id: Option<String>,
    pub(super) endpoints: Endpoints,
    /// The operator's key, if one was given: taken out by the one who keeps it.
    pub(super) key: Option<String>,
}

impl Plan {
    /// Or all that is wrong with them.
    pub(super) fn new(settings: &Settings) -> Result<Self, Wrongs> {
        let mut reading = Reading::new(settings);
        telemetry::read(&mut reading);
        let plan = Self::read(&mut reading, settings.role == Role::Dev);
        reading.done(plan)
    }

    /// Reads all of them before it answers. `None` where a setting is wrong that it cannot be without.
    fn read(reading: &mut Reading<'_>, dev: bool) -> Option<Self> {
        let parts = parts(reading);
        let data = reading.one(&DATA, path);
        let listen = reading.one(&LISTEN, listen);
        let upstreams = if parts.contains(&Part::Ingest) { upstreams(reading) } else { Vec::new() };
        let trust = reading.one(&UPSTREAM_CA, trust);
        let applied = reading.one(&APPLY, |file| apply::read(Path::new(file)));
        if reading.is_said(&APPLY) && !parts.contains(&Part::Api) {
            reading.refuse(&APPLY, "needs the part api on this node");
        }
        let exit_when_idle = reading.is_on(&EXIT_WHEN_IDLE);
        let partitions_asked = reading.one(&PARTITIONS, partitions);
        let log = Address::read(reading);
        let node_id = reading.one(&NODE_ID, folder::checked_name);
        let endpoints = Endpoints::read(reading, dev);
        let key = reading.one(&API_KEY, key).flatten();
        Some(Self {
            dev,
            parts,
            data: data?,
            listen: listen?,
            upstreams,
            trust: trust.unwrap_or_default(),
            upstream_texts: reading.texts(&UPSTREAM).iter().map(|text| shown(text)).collect(),
            applied,
            exit_when_idle,
            partitions: partitions_asked.unwrap_or(if dev { DEV_PARTITIONS } else { limits::FIREHOSE_PARTITIONS }),
            partitions_asked,
            log: log?,
            node_id,
            endpoints,
            key,
        })
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

/// All of them where nothing is said, as in dev; and where it is wrong, so that what is theirs is looked at.
fn parts(reading: &mut Reading<'_>) -> BTreeSet<Part> {
    let all: BTreeSet<_> = Part::value_variants().iter().copied().collect();
    let part = |text: &str| Part::from_str(text, false).map_err(|_| "must be ingest, router, dispatcher or api");
    let parts: BTreeSet<_> = reading.each(&ONLY, part).into_iter().collect();
    if parts.len() < reading.texts(&ONLY).len().max(1) {
        return all;
    }
    if parts != all && reading.text(&LOG) == Some(EMBEDDED) {
        reading.refuse(&ONLY, "nodes share their work over Kafka: give --log kafka://…, too");
    }
    parts
}

fn path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() { Err("must be a folder") } else { Ok(PathBuf::from(text)) }
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8080")
}

fn partitions(text: &str) -> Result<u32, String> {
    let (least, most) = (1, PARTITIONS_MAX);
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("must be a number from {least} to {most}"))
}

/// An empty one is none.
fn key(text: &str) -> Result<Option<String>, &'static str> {
    if text.is_empty() { Ok(None) } else { folder::checked_key(text).map(Some) }
}

fn trust(authorities: &str) -> Result<Trust, String> {
    Trust::default().and(Path::new(authorities)).map_err(|error| match error {
        Error::Authorities { why, .. } => why,
        error => error.to_string(),
    })
}

fn upstreams(reading: &mut Reading<'_>) -> Vec<Upstream> {
    let upstreams = reading.each(&UPSTREAM, upstream);
    if reading.texts(&UPSTREAM).is_empty() {
        reading.refuse(&UPSTREAM, "there must be one at least");
    }
    if let Some(twice) = twice(&upstreams) {
        reading.refuse(&UPSTREAM, format!("{twice} is given twice, and has one cursor"));
    }
    upstreams
}

/// Two of one name would move the same cursor, each past what the other has not brought.
fn twice(upstreams: &[Upstream]) -> Option<&str> {
    let mut ids = BTreeSet::new();
    upstreams.iter().map(Upstream::id).find(|id| !ids.insert(*id))
}

fn upstream(text: &str) -> Result<Upstream, String> {
    let upstream = Upstream::parse(text).map_err(|error| match error {
        Error::Upstream { why, .. } => why,
        error => error.to_string(),
    })?;
    if let Upstream::Recording(recording) = &upstream {
        let path = recording.path.display();
        File::open(&recording.path).map_err(|error| format!("the recording {path} cannot be read: {error}"))?;
    }
    Ok(upstream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, Wrongs> {
        let arguments = ["fpaas", "dev"].iter().chain(arguments);
        Plan::new(&<crate::args::Args as clap::Parser>::parse_from(arguments).settings())
    }

    #[test]
    fn two_upstreams_of_one_cursor_are_refused() {
        let refused = |first: &str, second: &str| {
            plan(&["--upstream", first, "--upstream", second]).err().map(|wrongs| wrongs.to_string())
        };
        assert_eq!(refused("wss://a.example", "wss://b.example"), None);
        for twice in ["wss://a.example", "wss://a.example/?cursor=7", "wss://A.example:443/other"] {
            let said = refused("wss://a.example", twice).unwrap();
            assert_eq!(said, "--upstream: wss://a.example is given twice, and has one cursor");
        }
        let file = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(refused(file, &format!("{file}?speed=2x")).is_some());
    }

    #[test]
    fn two_gigabytes_or_a_day_of_the_firehose_are_kept_whatever_its_partitions() {
        let plan = plan(&["--upstream", "wss://a.example"]).unwrap();
        for partitions in [1, 4, 16] {
            let kept = plan.firehose(partitions);
            assert_eq!(kept.time, Some(Duration::from_secs(24 * 60 * 60)));
            assert_eq!(kept.bytes.map(|bytes| bytes * u64::from(partitions)), Some(2 << 30));
        }
    }

    #[test]
    fn what_no_number_stands_for_is_said_where_people_look() {
        let numbers = format!("{DEV_PARTITIONS} for dev, {} for serve", limits::FIREHOSE_PARTITIONS);
        assert!(
            crate::config::default::TEXT
                .contains(&format!("1 to {PARTITIONS_MAX}, fixed when it is made; null: {numbers}"))
        );
        assert!(PARTITIONS.help.ends_with(&format!("[default: {numbers}]")));
        assert_eq!(plan(&[]).unwrap().partitions, DEV_PARTITIONS);
    }
}
