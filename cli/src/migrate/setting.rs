//! A move as it was asked for: the folder, the cluster, and which of its steps are left to be done.
//!
//! Nothing of the folder changes before both sides were looked at, and nothing is made on the cluster before the folder
//! says that it moves. Owns the folder's part of a move: at its end it is the folder of a node on the cluster, with the
//! key that it had.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::Clock;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::topics::Topics;
use fpaas_log::{Embedded, EmbeddedConfig, Error as LogError, Fsync, Kafka, KafkaConfig, Log, Patient};
use tokio_util::sync::CancellationToken;

use super::cluster::{self, Found};
use super::drain::Draining;
use super::{Move, Moved};
use crate::args::Migrate;
use crate::clock::WallClock;
use crate::cluster::{self as brokers, SCHEME};
use crate::config::setting::{LOG, NODE_ID};
use crate::config::{Origin, Reading, Settings};
use crate::exit::Failure;
use crate::mark::{self, FolderMark, MOVED_LOG, State};
use crate::node::endpoints::Endpoints;
use crate::node::{VERSION, folder};
use crate::out;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Setting {
    folder: PathBuf,
    /// Held until the end: no node uses the folder meanwhile.
    _lock: File,
    mark: Option<FolderMark>,
    kafka: KafkaConfig,
    after: Topics,
    /// As it was given.
    to: String,
    node: Option<String>,
    drain_wait: Duration,
    endpoints: Endpoints,
}

impl Setting {
    /// Everything that can be wrong without asking the cluster is said here.
    pub(super) fn open(args: &Migrate, settings: &Settings) -> Result<Self, Failure> {
        let to = target(args, settings)?;
        let mut reading = Reading::new(settings);
        let kafka = brokers::of(&mut reading, Some(to.strip_prefix(SCHEME).unwrap_or(&to)));
        let node = reading.one(&NODE_ID, folder::checked_name);
        let endpoints = Endpoints::read(&mut reading, false);
        let kafka = reading.done(kafka)?;
        let drain_wait = humantime::parse_duration(&args.drain_wait)
            .map_err(|_| Failure::Usage(format!("--drain-wait {}: must be a time such as 60s", args.drain_wait)))?;
        let from = &args.from;
        if !from.join(folder::EMBEDDED_LOG).is_dir() && FolderMark::read(from)?.is_none() {
            return Err(Failure::Usage(format!("--from {}: there is no embedded installation", from.display())));
        }
        let lock = folder::lock(from)?;
        let after = Topics::with_prefix(&kafka.prefix);
        let mark = FolderMark::read(from)?;
        // Elsewhere it would begin anew, and two clusters might have all of it in the end.
        let elsewhere = |mark: &&FolderMark| mark.to != to || mark.prefix != kafka.prefix;
        if let Some(mark) = mark.as_ref().filter(elsewhere) {
            return Err(Failure::Usage(format!(
                "this move began to {} with --topic-prefix {}: give the same again",
                mark.to, mark.prefix
            )));
        }
        Ok(Self { folder: from.clone(), _lock: lock, mark, kafka, after, to, node, drain_wait, endpoints })
    }

    /// Moves, or goes on where an earlier run was cut off.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        if self.mark.as_ref().is_some_and(|mark| mark.state == State::Finished) {
            return self.say(None);
        }
        if !self.log_folder().is_dir() {
            // Cut off at the very end.
            return self.finish(None);
        }
        self.refuse_leftover()?;
        let cluster = self.connect().await?;
        let moved = self.move_to(&cluster).await;
        close(cluster).await?;
        self.finish(moved?)
    }

    /// `None` where all of it was there already.
    async fn move_to(&mut self, cluster: &Arc<Kafka>) -> Result<Option<Moved>, Failure> {
        match (cluster::look(&*patient(cluster), &self.after).await?, &self.mark) {
            (Found::Move(there), Some(mark)) if there.id == mark.id && there.state == State::Finished => {
                return Ok(None);
            }
            (Found::Move(there), Some(mark)) if there.id == mark.id => {}
            (Found::Nothing, _) => {}
            (Found::Move(_), _) => return Err(self.occupied("another installation moves there, or has")),
            (Found::Others(topics), _) => {
                return Err(self.occupied(&format!("there are topics, such as {}", first(&topics))));
            }
        }
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        // What the mark says must not outlive what it is said of.
        let config = EmbeddedConfig { fsync: Fsync::Always, ..EmbeddedConfig::new(Arc::clone(&clock)) };
        let opened = Embedded::open(&self.log_folder(), config);
        let log = opened.map_err(|error| Failure::Folder(error.to_string()))?;
        let moved = self.from(Arc::clone(&log) as _, cluster, clock).await;
        log.close()?;
        moved.map(Some)
    }

    async fn from(&mut self, log: Arc<dyn Log>, cluster: &Arc<Kafka>, clock: Arc<dyn Clock>) -> Result<Moved, Failure> {
        let mark = match &self.mark {
            Some(mark) => mark.clone(),
            None => self.begin(Arc::clone(&log), clock).await?,
        };
        let moved = async {
            let (from, to) = ((log, &Topics::default()), (patient(cluster), &self.after));
            Move::new(from, to, (&mark.id, &mark.node)).await?.run().await
        };
        moved.await.map_err(again)
    }

    /// Removes what the move has made on the cluster; then the folder may be started again.
    pub(super) async fn abandon(self) -> Result<(), Failure> {
        let Some(mark) = self.mark.as_ref().filter(|mark| mark.state == State::Begun) else {
            return Err(Failure::Usage(format!("--abandon: no move of {} is under way", self.folder.display())));
        };
        let cluster = self.connect().await?;
        let log = patient(&cluster);
        match cluster::look(&*log, &self.after).await? {
            Found::Nothing => {}
            Found::Move(there) if there.id == mark.id && there.state == State::Begun => {
                let mut topics = log.list_topics(&format!("{}.", self.after.prefix())).await?;
                // Last: until then, nothing starts there.
                topics.retain(|topic| *topic != self.after.migration());
                for topic in topics.iter().chain([&self.after.migration()]) {
                    log.delete_topic(topic).await?;
                }
            }
            Found::Move(there) if there.id == mark.id => {
                return Err(Failure::Usage(
                    "--abandon: all of it is on the cluster, and it may have gone on there: run this without"
                        .to_owned(),
                ));
            }
            Found::Move(_) | Found::Others(_) => return Err(self.occupied("what is there is not of this move")),
        }
        close(cluster).await?;
        FolderMark::remove(&self.folder)?;
        out::line(format_args!("given up: {} may be started as before", self.folder.display())).map(drop)
    }

    /// The first run. The drain comes before anything is said anywhere: it is the installation's own work.
    async fn begin(&mut self, log: Arc<dyn Log>, clock: Arc<dyn Clock>) -> Result<FolderMark, Failure> {
        let node = self.node.clone().map_or_else(folder::new_name, Ok)?;
        let draining = Draining {
            log,
            topics: Topics::default(),
            node: folder::EMBEDDED_NODE.into(),
            clock,
            config: self.endpoints.config(VERSION),
            wait: self.drain_wait,
        };
        draining.run().await?;
        let mark = FolderMark::begun(folder::new_name()?, &self.to, self.after.prefix(), &node);
        mark.write(&self.folder)?;
        crashpoint::hit(Point::MigrationBegun);
        self.mark = Some(mark.clone());
        Ok(mark)
    }

    async fn connect(&self) -> Result<Arc<Kafka>, Failure> {
        Kafka::open(self.kafka.clone()).await.map_err(|error| match error {
            LogError::Retry(why) => {
                Failure::Unreachable(format!("{why}; check the address in --to, and that Kafka is up"))
            }
            error => Failure::Usage(error.to_string()),
        })
    }

    /// The folder becomes that of a node on the cluster. Each step is done again where it was cut off.
    fn finish(mut self, moved: Option<Moved>) -> Result<(), Failure> {
        let Some(mark) = &mut self.mark else { return Ok(()) };
        folder::set_name(&self.folder, &mark.node)?;
        let (log, kept) = (self.folder.join(folder::EMBEDDED_LOG), self.folder.join(MOVED_LOG));
        if log.is_dir() {
            std::fs::rename(&log, &kept).and_then(|()| mark::synced(&self.folder))?;
        }
        mark.state = State::Finished;
        mark.write(&self.folder)?;
        self.say(moved.as_ref())
    }

    fn say(&self, moved: Option<&Moved>) -> Result<(), Failure> {
        for (topic, tally) in moved.into_iter().flat_map(|moved| &moved.topics) {
            out::line(format_args!("{:>12} records {:>15} bytes  {topic}", tally.records, tally.bytes)).map(drop)?;
        }
        if let Some(moved) = moved {
            out::line(format_args!("{:>12} positions", moved.positions)).map(drop)?;
        }
        let (folder, to, prefix) = (self.folder.display(), &self.to, self.after.prefix());
        out::line(format_args!(
            "\nmoved. Go on with `serve`, or `dev`:\n\n  \
             fpaas serve --data {folder} --log {to} --topic-prefix {prefix}\n\n\
             The folder keeps the API key, for other nodes, too (FPAAS_API_KEY). What was the log is in \
             {folder}/{MOVED_LOG}:\nnothing reads it any more, and it may be removed."
        ))
        .map(drop)
    }

    fn log_folder(&self) -> PathBuf {
        self.folder.join(folder::EMBEDDED_LOG)
    }

    fn refuse_leftover(&self) -> Result<(), Failure> {
        let kept = self.folder.join(MOVED_LOG);
        if kept.exists() {
            return Err(Failure::Folder(format!("{} is in the way: move it elsewhere", kept.display())));
        }
        Ok(())
    }

    fn occupied(&self, why: &str) -> Failure {
        let prefix = self.after.prefix();
        Failure::Usage(format!(
            "nothing can move to {} under {prefix}.…: {why}; choose another --topic-prefix, or remove what is there",
            self.to
        ))
    }
}

/// What follows from a failure half-way.
fn again(failure: Failure) -> Failure {
    let next = "the folder starts no more until the same command has come to its end, or --abandon has undone it";
    match failure {
        Failure::Usage(why) => Failure::Usage(format!("{why}; {next}")),
        Failure::Failed(why) => Failure::Failed(format!("{why}; {next}")),
        other => other,
    }
}

/// `--to`, or the log of the file.
fn target(args: &Migrate, settings: &Settings) -> Result<String, Failure> {
    let filed = matches!(settings.origin(&LOG, None), Origin::File { .. });
    let said = |(flag, log): (&str, &String)| {
        let wrong = |why: String| Failure::Usage(format!("{flag} {log}: {why}"));
        brokers::brokers(log, "").map(|_| log.clone()).map_err(wrong)
    };
    let filed = settings.texts(&LOG).first().filter(|_| filed).map(|log| ("--config: log", log));
    let none = || Failure::Usage(format!("which cluster? Give --to {SCHEME}HOST:PORT,…, or a file with --config"));
    args.to.as_ref().map(|to| ("--to", to)).or(filed).map_or_else(|| Err(none()), said)
}

/// Waits for a cluster that is away for a moment; who waits no longer ends the program, and runs it again.
fn patient(cluster: &Arc<Kafka>) -> Arc<dyn Log> {
    Arc::new(Patient::new(Arc::clone(cluster) as Arc<dyn Log>, CancellationToken::new()))
}

async fn close(cluster: Arc<Kafka>) -> Result<(), Failure> {
    let closed = tokio::task::spawn_blocking(move || cluster.close()).await;
    closed.map_err(|error| Failure::Failed(format!("leaving the groups failed: {error}")))
}

fn first(topics: &[String]) -> &str {
    topics.first().map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser as _;

    fn asked(typed: &[&str]) -> (Migrate, Settings) {
        let args = Args::try_parse_from(["fpaas", "migrate", "--from", "data"].iter().chain(typed)).unwrap();
        let settings = args.settings();
        let Command::Migrate(migrate) = args.command else { panic!("another command") };
        (migrate, settings)
    }

    #[test]
    fn the_cluster_is_the_one_that_is_typed_or_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.yaml");
        std::fs::write(&file, "log: kafka://10.0.0.1:9092\nnodeId: a\n").unwrap();
        let named = file.display().to_string();
        let to = |typed: &[&str]| {
            let (migrate, settings) = asked(typed);
            target(&migrate, &settings).map_err(|why| why.to_string())
        };
        assert_eq!(to(&["--config", &named]).unwrap(), "kafka://10.0.0.1:9092");
        assert_eq!(to(&["--config", &named, "--to", "kafka://10.0.0.2:1"]).unwrap(), "kafka://10.0.0.2:1");
        assert!(to(&["--to", "10.0.0.2:1"]).unwrap_err().starts_with("--to 10.0.0.2:1: must be kafka://"));
        assert!(to(&[]).unwrap_err().starts_with("which cluster?"));
        std::fs::write(&file, "log: embedded\n").unwrap();
        assert!(to(&["--config", &named]).unwrap_err().starts_with("--config: log embedded: must be kafka://"));
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said_before_anything_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.yaml");
        std::fs::write(&file, "nodeId: a b\nallowWebhookCidr: [everything]\ntopicPrefix: a.b\n").unwrap();
        let (migrate, settings) = asked(&["--to", "kafka://10.0.0.2:1", "--config", &file.display().to_string()]);
        let said = Setting::open(&migrate, &settings).unwrap_err().to_string();
        for pointer in ["/nodeId a b", "/allowWebhookCidr/0 everything", "/topicPrefix a.b"] {
            assert!(said.contains(pointer), "{pointer}: {said}");
        }
    }
}
