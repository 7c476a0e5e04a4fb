//! A full disk and a folder that cannot be written: a clear end, and a clean start afterwards with nothing lost.
//!
//! Needs the right to mount a small tmpfs; without it the tests say so loudly and pass.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use fpaas_testkit::{Dev, Need, skip};

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
