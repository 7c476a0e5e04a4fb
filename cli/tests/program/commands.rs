//! The commands against a running server.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::{Answer, Dev, Script};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{LONG, Place, recording};

pub(crate) async fn run(dev: &Dev, arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = dev.command().args(arguments).output().await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

pub(crate) async fn ok(dev: &Dev, arguments: &[&str]) -> Result<String> {
    let (code, out, error) = run(dev, arguments).await?;
    ensure!(code == 0, "{arguments:?}: {code}: {error}");
    Ok(out)
}

#[tokio::test]
async fn every_command_does_what_its_help_says() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max"));
    let mut running = dev.start().await?;
    let file = place.likes().display().to_string();
    ensure!(ok(&dev, &["apply", "-f", &file]).await? == "subscription likes created\n");
    ensure!(ok(&dev, &["apply", "-f", &file]).await? == "subscription likes unchanged\n");
    ensure!(ok(&dev, &["get"]).await?.contains("\"likes\""));
    let likes: Value = serde_json::from_str(&ok(&dev, &["get", "likes"]).await?)?;
    ensure!(likes["collector"]["maxEvents"] == 100, "{likes}");
    ensure!(!likes.to_string().contains("whsec_"), "the secret was shown");
    place.receiver.wait(LONG, |calls| !calls.is_empty()).await?;
    ensure!(ok(&dev, &["tap", "like-results", "--follow", "-n", "719"]).await?.lines().count() == 719);
    let status: Value = serde_json::from_str(&ok(&dev, &["status", "likes"]).await?)?;
    ensure!(status["counters"]["matched"] == 719, "{status}");
    ensure!(ok(&dev, &["tap", "firehose", "-n", "5"]).await?.lines().count() == 5);
    ensure!(ok(&dev, &["topics"]).await?.contains("like-results"));
    let table = ok(&dev, &["status", "-o", "table"]).await?;
    let cells: Vec<_> = table.lines().nth(1).unwrap_or_default().split_whitespace().take(5).collect();
    ensure!(cells == ["likes", "active", "0", "0", "719"], "{table}");
    ensure!(ok(&dev, &["get", "likes", "-o", "yaml"]).await?.contains("maxEvents: 100"));

    ensure!(ok(&dev, &["apply", "-f", &file, "--dry-run"]).await?.starts_with("subscription likes unchanged\n"));
    let changed = std::fs::read_to_string(&file)?.replace("100", "50") + "\n---\ntopic: {name: more}\n";
    let other = place.folder.path().join("changed.yaml");
    std::fs::write(&other, changed)?;
    let tried = ok(&dev, &["apply", "--dry-run", "-f", &other.display().to_string()]).await?;
    ensure!(tried.contains("subscription likes would change\n  /collector/maxEvents: 100 -> 50\n"), "{tried}");
    ensure!(tried.starts_with("topic more would be created\n") && tried.contains("\n  it would have got "), "{tried}");
    let likes: Value = serde_json::from_str(&ok(&dev, &["get", "likes"]).await?)?;
    ensure!(likes["collector"]["maxEvents"] == 100, "a dry run has changed it");

    ensure!(ok(&dev, &["pause", "likes"]).await? == "subscription likes paused\n");
    ensure!(ok(&dev, &["status", "likes"]).await?.contains("\"paused\""));
    ensure!(ok(&dev, &["resume", "likes"]).await? == "subscription likes resumed\n");
    let rotated: Value = serde_json::from_str(&ok(&dev, &["rotate-secret", "likes", "--overlap", "1h"]).await?)?;
    ensure!(rotated["secret"] != rotated["previous"]["secret"] && rotated["previous"]["until"].is_string());
    let (code, _, error) = run(&dev, &["rotate-secret", "likes", "--overlap", "soon"]).await?;
    ensure!(code == 64 && error.contains("--overlap soon"), "{code}: {error}");

    let events = place.folder.path().join("events.jsonl");
    std::fs::write(&events, ok(&dev, &["tap", "firehose", "-n", "3"]).await? + "{\"kind\": \"mine\"}")?;
    let first: Value = serde_json::from_str(&ok(&dev, &["tap", "firehose", "-n", "1", "--partition", "1"]).await?)?;
    ensure!(first["partition"] == 1, "{first}");
    let at = (first["offset"].as_u64().unwrap_or_default() + 1).to_string();
    let next = ok(&dev, &["tap", "firehose", "-n", "1", "--partition", "1", "--offset", &at, "-o", "table"]).await?;
    let cells: Vec<_> = next.lines().nth(1).unwrap_or_default().split_whitespace().take(2).collect();
    ensure!(cells.first() == Some(&"1") && cells.get(1).is_some_and(|offset| **offset >= *at), "{next}");
    let said = ok(&dev, &["jmespath", "kind", "-f", &events.display().to_string()]).await?;
    ensure!(said.lines().count() == 4 && said.ends_with("{\"matches\":true,\"value\":\"mine\"}\n"), "{said}");
    let (code, _, error) = run(&dev, &["jmespath", "a[", "-f", &events.display().to_string()]).await?;
    ensure!(code == 64 && error.contains("/expression"), "{code}: {error}");
    for shell in ["bash", "zsh", "fish"] {
        ensure!(ok(&dev, &["completion", shell]).await?.contains("rotate-secret"), "{shell}");
    }
    ensure!(ok(&dev, &["delete", "likes"]).await? == "subscription likes deleted\n");
    let (code, _, error) = run(&dev, &["get", "likes"]).await?;
    ensure!(code == 66, "{code}: {error}");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_subscription_is_tried_and_replayed_and_keys_and_tenants_are_kept_from_a_shell() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max"));
    let mut running = dev.start().await?;
    ok(&dev, &["apply", "-f", &place.likes().display().to_string()]).await?;
    ensure!(ok(&dev, &["tap", "like-results", "--follow", "-n", "719"]).await?.lines().count() == 719);

    let calls = || place.receiver.calls().len();
    let before = calls();
    let json = |text: String| Ok::<Value, anyhow::Error>(serde_json::from_str(&text)?);
    let tried = json(ok(&dev, &["test", "likes"]).await?)?;
    ensure!(tried["call"].is_null() && calls() == before, "{tried}");
    let events = place.folder.path().join("events.jsonl");
    std::fs::write(&events, ok(&dev, &["tap", "firehose", "-n", "50"]).await?)?;
    let tried = json(ok(&dev, &["test", "likes", "--call", "-f", &events.display().to_string()]).await?)?;
    ensure!(tried["call"]["outcome"] == "acknowledged" && calls() == before + 1, "{tried}");
    let marked = place.receiver.calls().pop().is_some_and(|call| call.header("fpaas-test") == Some("true"));
    ensure!(marked && tried["call"]["webhookId"].as_str().is_some_and(|id| id.starts_with("test_")), "{tried}");

    let replayed = json(ok(&dev, &["replay", "likes", "--wait"]).await?)?;
    ensure!(replayed["state"] == "done" && replayed["progress"] == 1.0, "{replayed}");
    ensure!(ok(&dev, &["tap", "like-results", "--follow", "-n", "1438"]).await?.lines().count() == 1438);
    ensure!(json(ok(&dev, &["replay", "likes", "--show"]).await?)? == replayed);
    ensure!(ok(&dev, &["replay", "likes", "--cancel"]).await? == "the replay of likes is cancelled\n");
    ensure!(run(&dev, &["replay", "likes", "--show"]).await?.0 == 66);
    let (code, _, error) = run(&dev, &["replay", "likes", "--from", "soon"]).await?;
    ensure!(code == 64 && error.contains("/from"), "{code}: {error}");
    ensure!(json(ok(&dev, &["secret", "likes"]).await?)?["secret"] == crate::SECRET);
    ensure!(ok(&dev, &["dead-letters", "likes"]).await?.is_empty());
    let redriven = json(ok(&dev, &["redrive", "likes", "--rate", "9", "--reason", "status", "--wait"]).await?)?;
    ensure!(redriven["state"] == "done" && redriven["redriven"] == 0, "{redriven}");
    ensure!(json(ok(&dev, &["redrive", "likes", "--show"]).await?)? == redriven);
    ensure!(ok(&dev, &["redrive", "likes", "--cancel"]).await? == "the redrive of likes is cancelled\n");
    let (code, _, error) = run(&dev, &["redrive", "likes", "--reason", "bad luck"]).await?;
    ensure!(code == 64 && error.contains("/reasons"), "{code}: {error}");

    ensure!(json(ok(&dev, &["tenants", "put", "acme", "--pool", "_free"]).await?)?["pool"] == "_free");
    let made = json(ok(&dev, &["keys", "create", "--tenant", "acme", "--scope", "read"]).await?)?;
    let (key, id) = (made["key"].as_str().unwrap_or_default(), made["id"].as_str().unwrap_or_default());
    ensure!(ok(&dev, &["get", "--api-key", key, "--server", running.api.url()]).await?.is_empty());
    ensure!(ok(&dev, &["keys", "list", "--tenant", "acme"]).await?.contains(id));
    ensure!(ok(&dev, &["keys", "delete", id, "--tenant", "acme"]).await? == format!("key {id} deleted\n"));
    ensure!(run(&dev, &["get", "--api-key", key, "--server", running.api.url()]).await?.0 == 77);
    let listed = ok(&dev, &["tenants", "list"]).await?;
    let acme = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|line| line == ["acme", "_free", "-"]);
    ensure!(acme, "{listed}");
    ensure!(ok(&dev, &["tenants", "delete", "acme"]).await? == "tenant acme deleted\n");

    let (code, _, error) = run(&dev, &["delete-topic", "like-results", "--yes"]).await?;
    ensure!(code == 79 && error.contains("is used by subscriptions: likes"), "{code}: {error}");
    ok(&dev, &["delete", "likes"]).await?;
    let (code, _, error) = run(&dev, &["delete-topic", "like-results"]).await?;
    ensure!(code == 64 && error.contains("with like-results go all of its records: nothing is deleted"), "{error}");
    let (code, said) = at_a_terminal(&dev, "delete-topic like-results", "y\n").await?;
    ensure!(code == 0 && said.contains("topic like-results deleted"), "{code}: {said}");
    // Nothing goes with one that is empty.
    std::fs::write(&events, "topic: {name: empty}")?;
    ok(&dev, &["apply", "-f", &events.display().to_string()]).await?;
    ensure!(ok(&dev, &["delete-topic", "empty"]).await? == "topic empty deleted\n");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_place_and_nothing_is_applied() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream("ws://127.0.0.1:9");
    let mut running = dev.start().await?;
    let file = place.folder.path().join("bad.yaml");
    let file_text = file.display().to_string();
    for (text, said) in [
        ("subscription: {id: a, colector: {}}", "/colector"),
        (
            "subscription: {id: a, collector: {maxEvents: 0}, processor: {webhook: {url: ftp://x/}}}",
            "/collector/maxEvents",
        ),
        (
            "subscription: {id: a, filter: {match: 'a['}, processor: {webhook: {url: http://a.example/}}}",
            "/filter/match",
        ),
        ("subscription: {id: a, ordering: total, processor: {webhook: {url: http://a.example/}}}", "/ordering"),
        ("topic: {name: firehose}", "reserved"),
        ("nothing: {}", "document 1"),
    ] {
        std::fs::write(&file, text)?;
        let (code, _, error) = run(&dev, &["apply", "-f", &file_text]).await?;
        ensure!(code == 64 && error.contains(said), "{text}: {code}: {error}");
    }
    ensure!(ok(&dev, &["get"]).await?.is_empty());
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_wrong_key_is_told_from_a_missing_server() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream("ws://127.0.0.1:9");
    let mut running = dev.start().await?;
    let url = running.api.url().to_owned();
    let (code, _, error) = run(&dev, &["get", "--server", &url, "--api-key", "another-key-0123456789"]).await?;
    ensure!(code == 77, "{code}: {error}");
    let version = ok(&dev, &["--version"]).await?;
    ensure!(version.starts_with("fpaas ") && version.contains('('), "{version}");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn what_goes_with_a_subscription_is_said_and_nobody_deletes_it_by_accident() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max"));
    let mut running = dev.start().await?;
    place.receiver.set_script(Script::new(|_| Answer::Status(503)));
    ok(&dev, &["apply", "-f", &place.likes().display().to_string()]).await?;
    place.receiver.wait(LONG, |calls| !calls.is_empty()).await?;
    // It is frozen, so it is delivered and not acknowledged.
    let (code, _, error) = run(&dev, &["delete", "likes"]).await?;
    ensure!(code == 64 && error.contains("that its endpoint has not taken"), "{code}: {error}");
    ensure!(error.contains("nothing is deleted; give --yes"), "{error}");
    let (code, said) = at_a_terminal(&dev, "delete likes", "n\n").await?;
    ensure!(code == 1 && said.contains("Delete it? [y/N]") && said.contains("nothing is deleted"), "{code}: {said}");
    ok(&dev, &["get", "likes"]).await?;
    let tag = ok(&dev, &["get", "likes", "--etag"]).await?;
    ensure!(run(&dev, &["pause", "likes", "--if-match", "999999"]).await?.0 == 79, "another revision was taken for it");
    let revision = tag.trim().trim_matches('"');
    ok(&dev, &["pause", "likes", "--if-match", revision]).await?;
    let (code, _, error) = run(&dev, &["delete", "likes", "--yes", "--if-match", revision]).await?;
    ensure!(code == 79 && error.contains("read it again"), "{code}: {error}");
    let (code, said) = at_a_terminal(&dev, "delete likes", "y\n").await?;
    ensure!(code == 0 && said.contains("subscription likes deleted"), "{code}: {said}");
    ensure!(run(&dev, &["delete", "likes", "--yes"]).await?.0 == 66, "it is still there");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

/// As a person who types the answer: its code, and what stood on the screen.
async fn at_a_terminal(dev: &Dev, line: &str, typed: &str) -> Result<(i32, String)> {
    let command = dev.command();
    let program = command.as_std();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{} {line}", program.get_program().display()), "/dev/null"]);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("an input")?;
    input.write_all(typed.as_bytes()).await?;
    let output = child.wait_with_output().await?;
    drop(input);
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[tokio::test]
async fn a_request_that_is_given_again_is_done_once() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream("ws://127.0.0.1:9");
    let mut running = dev.start().await?;
    ok(&dev, &["apply", "-f", &place.likes().display().to_string()]).await?;
    let rotate = |key| ["rotate-secret", "likes", "--idempotency-key", key];
    let first = ok(&dev, &rotate("one")).await?;
    ensure!(ok(&dev, &rotate("one")).await? == first, "it was rotated twice");
    ensure!(ok(&dev, &rotate("two")).await? != first, "another request was not done");
    let (code, _, error) =
        run(&dev, &["rotate-secret", "likes", "--overlap", "1s", "--idempotency-key", "one"]).await?;
    ensure!(code == 64 && error.contains("another request"), "{code}: {error}");
    let made = ["keys", "create", "--scope", "read", "--idempotency-key", "three"];
    ok(&dev, &made).await?;
    let (code, _, error) = run(&dev, &made).await?;
    ensure!(code == 79, "a key was shown twice: {code}: {error}");
    let mut typed = dev.command();
    typed.args(["rotate-secret", "likes", "--secret", "-"]).stdin(Stdio::piped());
    typed.stdout(Stdio::piped());
    let mut child = typed.spawn()?;
    let mut input = child.stdin.take().context("an input")?;
    input.write_all(format!("{}\n", crate::SECRET).as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(crate::SECRET));
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}
