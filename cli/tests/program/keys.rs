//! The API's key: made, kept for its owner alone, replaced, refused.

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

fn is_private(file: &Path) -> Result<bool> {
    Ok(file.metadata()?.permissions().mode() & 0o777 == 0o600)
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
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
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
