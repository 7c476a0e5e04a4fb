//! The program as a person runs it: its commands, its folder, its disk, its signals, and every command the docs show.

#[path = "program/apply.rs"]
mod apply;
#[path = "program/codes.rs"]
mod codes;
#[path = "program/commands.rs"]
mod commands;
#[path = "program/config.rs"]
mod config;
#[path = "program/consumers.rs"]
mod consumers;
#[path = "program/culprits.rs"]
mod culprits;
#[path = "program/disk.rs"]
mod disk;
#[path = "program/docs.rs"]
mod docs;
#[path = "program/document.rs"]
mod document;
#[path = "program/formats.rs"]
mod formats;
#[path = "program/grown.rs"]
mod grown;
#[path = "program/hostile.rs"]
mod hostile;
#[path = "program/idle.rs"]
mod idle;
#[path = "program/kafka.rs"]
mod kafka;
#[path = "program/kafka_cluster.rs"]
mod kafka_cluster;
#[path = "program/kafka_input.rs"]
mod kafka_input;
#[path = "program/kafka_login.rs"]
mod kafka_login;
#[path = "program/keys.rs"]
mod keys;
#[path = "program/leaks.rs"]
mod leaks;
#[path = "program/lifecycle.rs"]
mod lifecycle;
#[path = "program/metrics.rs"]
mod metrics;
#[path = "program/migrate.rs"]
mod migrate;
#[path = "program/remade.rs"]
mod remade;
#[path = "program/routes.rs"]
mod routes;
#[path = "program/serve.rs"]
mod serve;
#[path = "program/stub.rs"]
mod stub;
#[path = "program/tenants.rs"]
mod tenants;
#[path = "program/verify_receiver.rs"]
mod verify_receiver;

use std::time::Duration;

use anyhow::Result;
use fpaas_testkit::{Dev, Receiver, Script};
use tempfile::TempDir;

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const KEY: &str = "program-test-key-0123456789";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The recording that comes with the repository, as an upstream.
pub(crate) fn recording(speed: &str) -> String {
    format!("file:{}?speed={speed}", fpaas_testkit::bundled().join("frames.bin.zst").display())
}

/// A folder and a receiver, and the likes of the recording as a file to apply.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) receiver: Receiver,
}

impl Place {
    pub(crate) async fn new() -> Result<Self> {
        let place = Self { folder: tempfile::tempdir()?, receiver: Receiver::start(SECRET, Script::ok()).await? };
        let url = place.receiver.url();
        let likes = format!(
            "# Likes\nsubscription:\n  id: likes\n  startFrom: earliest\n  \
             filter: {{collections: [app.bsky.feed.like], operations: [create]}}\n  \
             collector: {{maxEvents: 100, maxWaitMs: 50}}\n  \
             processor: {{webhook: {{url: \"{url}\", secret: {SECRET}}}}}\n  output: {{topic: like-results}}\n"
        );
        std::fs::write(place.likes(), likes)?;
        Ok(place)
    }

    pub(crate) fn likes(&self) -> std::path::PathBuf {
        self.folder.path().join("likes.yaml")
    }

    pub(crate) fn dev(&self) -> Result<Dev> {
        Dev::new(self.folder.path(), KEY)
    }
}
