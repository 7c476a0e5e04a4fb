//! A full disk and a folder that cannot be written: a clear end, and a clean start afterwards with nothing lost.
//!
//! Needs the right to mount a small tmpfs; without it the tests say so loudly and pass.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::{Options, Which};
use fpaas_testkit::{Broker, Dev, Need, skip};

use crate::{KEY, LONG, Place, recording};

/// A tmpfs of a size; gone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let mounted = mount(&["-t", "tmpfs", "-o", options, "tmpfs"], at);
        if !mounted {
            skip(Need::Mount, "what a full or unwritable disk does");
        }
        mounted.then(|| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) -> bool {
        mount(&["-o", &format!("remount,{options}")], &self.0)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the tmpfs is still there: {}", self.0.display());
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    Command::new("mount")
        .args(arguments)
        .arg(at)
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
}

#[tokio::test]
async fn a_full_disk_stops_it_with_a_message_and_costs_nothing() -> Result<()> {
    let place = Place::new().await?;
    let disk = place.folder.path().join("disk");
    let Some(mount) = Mount::new(&disk, "size=1500k") else { return Ok(()) };
    let likes = place.likes().display().to_string();
    let dev = Dev::new(&disk, KEY)?.upstream(recording("4x")).arg("--apply").arg(likes).arg("--exit-when-idle");
    let mut full = dev.spawn()?;
    let status = full.wait(LONG).await?;
    let said = full.lines().join("\n");
    ensure!(status.code() == Some(1) || status.code() == Some(73), "{status}:\n{said}");
    ensure!(said.to_lowercase().contains("space"), "{said}");
    ensure!(mount.remount("size=200m"), "the tmpfs cannot be made larger");
    let mut last = dev.spawn()?;
    ensure!(last.wait(LONG).await?.success(), "{}", last.lines().join("\n"));
    let mut running = Dev::new(&disk, KEY)?.upstream(recording("max")).start().await?;
    ensure!(running.api.records("like-results").await?.len() == 719);
    ensure!(running.process.stop(LONG).await?.success());
    place.receiver.summary()?;
    Ok(())
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused_with_its_name() -> Result<()> {
    let place = Place::new().await?;
    let folder = place.folder.path().join("read-only");
    let Some(_mount) = Mount::new(&folder, "size=1m,ro") else { return Ok(()) };
    let mut refused = Dev::new(&folder, KEY)?.upstream(recording("max")).spawn()?;
    let status = refused.wait(LONG).await?;
    let said = refused.lines().join("\n");
    ensure!(status.code() == Some(73), "{status}: {said}");
    ensure!(said.contains("read-only/data") && said.contains("--data"), "{said}");
    Ok(())
}

/// The broker's disk is full: it ends, as it does with one folder. Every subscription waits, and goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_broker_is_waited_out_and_costs_nothing() -> Result<()> {
    let place = Place::new().await?;
    let disk = place.folder.path().join("broker");
    let Some(_mount) = Mount::new(&disk, "size=128m") else { return Ok(()) };
    let logs = disk.join("data").display().to_string();
    let options = Options::default().only(Which::Jars).property("log.dirs", &logs);
    let Some(broker) = Broker::start(&options).await else { return Ok(()) };
    let node = Dev::new(place.folder.path(), KEY)?.upstream(recording("4x"));
    let node = node.arg("--log").arg(format!("kafka://{}", broker.bootstrap()));
    let mut running = node.arg("--apply").arg(place.likes().display().to_string()).start().await?;
    place.receiver.wait(LONG, |calls| !calls.is_empty()).await?;

    fill(&disk.join("filler"))?;
    let gone = async {
        while tokio::net::TcpStream::connect(broker.address()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.context("the broker goes on with a full disk")?;
    let before = place.receiver.calls().len();
    std::fs::remove_file(disk.join("filler"))?;
    broker.start_again().await?;

    let read = async {
        // Until the broker leads its partitions again the API says so.
        let mut tail = loop {
            match running.api.tail("like-results", "from=earliest").await {
                Ok(tail) => break tail,
                Err(error) => ensure!(format!("{error:#}").contains("503"), "{error:#}"),
            }
        };
        for _ in 0..719 {
            tail.next().await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LONG * 2, read).await.context("not all results came")??;
    ensure!(place.receiver.calls().len() > before, "the disk was full after the end");
    let results = running.api.records("like-results").await?.len();
    ensure!(results == 719, "{results} results");
    ensure!(running.process.stop(LONG).await?.success(), "{}", running.process.lines().join("\n"));
    place.receiver.summary()?;
    Ok(())
}

/// Takes all the room that is left.
fn fill(at: &Path) -> Result<()> {
    let mut filler = std::fs::File::create(at)?;
    for size in [1024 * 1024, 4096, 1] {
        let block = vec![0u8; size];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    }
    Ok(())
}
