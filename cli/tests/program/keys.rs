//! The API's key and the folder: made, kept for their owner alone, replaced, refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use fpaas_testkit::{Client, Process};
use reqwest::{Method, StatusCode};

use crate::{LONG, Place};

/// A started `fpaas dev` that is given `arguments`, and where it is.
async fn start(place: &Place, arguments: &[&str]) -> Result<(Process, String)> {
    let dev = place.dev()?;
    let mut command = dev.command();
    command.arg("dev").arg("--data").arg(dev.data()).args([
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "ws://127.0.0.1:9",
    ]);
    let process = Process::spawn("fpaas dev", command.args(arguments))?;
    let url = process.line(0, LONG, |line| Some(line.trim().strip_prefix("API")?.trim().to_owned())).await?;
    Ok((process, url))
}

async fn opens(url: &str, key: &str) -> Result<bool> {
    let status = Client::new(url, key)?.send(Method::GET, "/v1/topics", None).await?.status;
    ensure!(status == StatusCode::OK || status == StatusCode::UNAUTHORIZED, "{status}");
    Ok(status == StatusCode::OK)
}

fn mode(path: &Path) -> Result<u32> {
    Ok(path.metadata()?.permissions().mode() & 0o777)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?)
}

fn is_private(file: &Path) -> Result<bool> {
    Ok(mode(file)? == 0o600)
}

#[tokio::test]
async fn the_data_folder_is_its_owners_alone_and_one_that_is_not_ours_keeps_its_mode() -> Result<()> {
    const WARNING: &str = "other users of this machine can open the data folder";
    let place = Place::new().await?;
    let data = place.dev()?.data();
    // Made anew, and as an older version left it.
    for before in [None, Some(0o755), Some(0o750)] {
        if let Some(before) = before {
            set_mode(&data, before)?;
        }
        let (mut process, _) = start(&place, &[]).await?;
        ensure!(mode(&data)? == 0o700, "{before:?}: {:o}", mode(&data)?);
        ensure!(process.stop(LONG).await?.success());
        ensure!(!process.lines().iter().any(|line| line.contains(WARNING)), "{:?}", process.lines());
    }
    std::fs::write(data.join("a file of somebody's"), "")?;
    set_mode(&data, 0o755)?;
    let (mut process, _) = start(&place, &[]).await?;
    ensure!(mode(&data)? == 0o755 && process.stop(LONG).await?.success());
    ensure!(process.lines().iter().any(|line| line.contains(WARNING)), "{:?}", process.lines());
    Ok(())
}

#[tokio::test]
async fn the_key_is_kept_for_its_owner_alone_until_another_one_replaces_it() -> Result<()> {
    let place = Place::new().await?;
    let file = place.dev()?.data().join("api-key");
    let (mut process, url) = start(&place, &[]).await?;
    let made = std::fs::read_to_string(&file)?;
    ensure!(made.len() >= 40 && is_private(&file)? && opens(&url, &made).await?, "{made:?}");
    ensure!(process.stop(LONG).await?.success());
    // As some copies leave it.
    set_mode(&file, 0o644)?;
    let given = "0123456789 ~!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}";
    let (mut process, url) = start(&place, &["--api-key", given]).await?;
    ensure!(std::fs::read_to_string(&file)? == given && is_private(&file)?, "not replaced");
    ensure!(opens(&url, given).await? && !opens(&url, &made).await?, "the old key opens, or the new one does not");
    ensure!(process.stop(LONG).await?.success());
    let (mut process, url) = start(&place, &[]).await?;
    ensure!(opens(&url, given).await? && !opens(&url, &made).await?, "it was not kept");
    ensure!(process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused_and_changes_nothing() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let long = "x".repeat(201);
    for key in ["fifteen-letters", &long, "sixteen-letters-é", "a tab\tin the middle", "a space behind it "] {
        let output = dev.command().arg("dev").arg("--data").arg(dev.data()).args(["--api-key", key]).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(64), "{key:?}: {}: {said}", output.status);
        ensure!(said.contains("--api-key") && said.contains("16 to 200 printable ASCII"), "{key:?}: {said}");
        ensure!(!said.contains(key), "the key is shown: {said}");
        ensure!(!dev.data().exists(), "{key:?}: something was made");
    }
    for key in ["sixteen-letters-", &"x".repeat(200)] {
        let (mut process, url) = start(&place, &["--api-key", key]).await?;
        ensure!(opens(&url, key).await?, "{key}");
        ensure!(process.stop(LONG).await?.success());
    }
    Ok(())
}
