//! `fpaas apply`: what a file would change, what it changes, and what it leaves alone.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use fpaas_testkit::Dev;
use serde_json::{Value, json};

use crate::commands::{ok, run};
use crate::stub::{Stub, answer};
use crate::{LONG, Place};

fn write(place: &Place, text: &str) -> Result<String> {
    let file: PathBuf = place.folder.path().join("file.yaml");
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

async fn silent(place: &Place) -> Result<(Dev, fpaas_testkit::dev::Running)> {
    let dev = place.dev()?.upstream("ws://127.0.0.1:9");
    let running = dev.start().await?;
    Ok((dev, running))
}

/// A subscription of a topic of the file, and one of the output of that.
const CHAIN: &str = "\
subscription: {id: first, source: {topic: in}, processor: {webhook: {url: http://a.example/}}, output: {topic: mid}}
---
subscription: {id: second, source: {topic: mid}, processor: {webhook: {url: http://a.example/}}}
---
topic: {name: in, partitions: 2}
";

#[tokio::test]
async fn what_a_file_makes_is_taken_as_there_by_its_later_documents() -> Result<()> {
    let place = Place::new().await?;
    let (dev, mut running) = silent(&place).await?;
    let file = write(&place, CHAIN)?;
    let said = ok(&dev, &["apply", "-f", &file, "--dry-run"]).await?;
    let not_tried =
        |source| format!("  its filter could not be tried: its source {source} is still to be made by this file");
    let expected = [
        "topic in would be created".to_owned(),
        "subscription first would be created".to_owned(),
        not_tried("in"),
        "subscription second would be created".to_owned(),
        not_tried("mid"),
    ];
    ensure!(said.lines().eq(expected), "{said}");
    ensure!(ok(&dev, &["get"]).await?.is_empty(), "a dry run has made something");
    let (code, _, error) = run(&dev, &["apply", "-f", &file, "--dry-run", "--diff-exit-code"]).await?;
    ensure!(code == 2 && error.contains("of 3 documents, 3 would change something"), "{code}: {error}");

    let said = ok(&dev, &["apply", "-f", &file]).await?;
    ensure!(
        said.lines().eq(["topic in created", "subscription first created", "subscription second created"]),
        "{said}"
    );
    let revision = ok(&dev, &["get", "first", "--etag"]).await?;
    let unchanged = ok(&dev, &["apply", "-f", &file]).await?;
    ensure!(unchanged.lines().all(|line| line.ends_with(" unchanged")), "{unchanged}");
    ensure!(ok(&dev, &["get", "first", "--etag"]).await? == revision, "it was put for nothing");
    ok(&dev, &["apply", "-f", &file, "--dry-run", "--diff-exit-code"]).await?;
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn what_would_be_refused_is_said_before_it_is_and_the_rest_is_tried() -> Result<()> {
    let place = Place::new().await?;
    let (dev, mut running) = silent(&place).await?;
    ok(&dev, &["apply", "-f", &write(&place, "topic: {name: a.b, partitions: 2}")?]).await?;
    for (text, code, said) in [
        ("topic: {name: a.b, partitions: 3}", 79, "/partitions: cannot change"),
        // Left out, it would be one partition.
        ("topic: {name: a.b}", 79, "/partitions: cannot change"),
        ("topic: {name: a_b}", 79, "the topic a.b is there"),
        ("topic: {name: b, partitions: 0}", 64, "/partitions: must be 1 to 256"),
        ("topic: {name: c.d}\n---\ntopic: {name: c_d}", 79, "this file makes the topic c.d"),
        (
            "subscription: {id: s, processor: {webhook: {url: http://a.example/}}, output: {topic: a_b}}",
            79,
            "its output topic a_b: ",
        ),
        (
            "subscription: {id: s, source: {topic: no}, processor: {webhook: {url: http://a.example/}}}",
            64,
            "no topic no",
        ),
    ] {
        let file = write(&place, &format!("{text}\n---\ntopic: {{name: zuletzt}}"))?;
        let (ended, out, error) = run(&dev, &["apply", "-f", &file, "--dry-run"]).await?;
        ensure!(ended == code && out.contains(" would be refused\n") && out.contains(said), "{text}: {ended}: {out}");
        ensure!(
            error.contains(", 1 would be refused") && out.contains("topic zuletzt would be created"),
            "{error}{out}"
        );
        // The server says the same where it is put.
        let (ended, _, error) = run(&dev, &["apply", "-f", &write(&place, text)?]).await?;
        ensure!(ended == code, "{text}: {ended}: {error}");
    }
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_pause_and_a_start_are_not_undone_unsaid_and_a_secret_is_compared_and_not_shown() -> Result<()> {
    let place = Place::new().await?;
    let (dev, mut running) = silent(&place).await?;
    let likes = place.likes().display().to_string();
    ok(&dev, &["apply", "-f", &likes]).await?;
    ok(&dev, &["pause", "likes"]).await?;
    let text = std::fs::read_to_string(&likes)?;
    let changed = write(&place, &text.replace("maxEvents: 100", "maxEvents: 50"))?;
    let said = ok(&dev, &["apply", "-f", &changed]).await?;
    let expected = "subscription likes updated\n  /collector/maxEvents: 100 -> 50\n  it stays paused: ";
    ensure!(said.starts_with(expected), "{said}");
    ensure!(ok(&dev, &["get", "likes"]).await?.contains("\"paused\""), "it was resumed");
    let active = write(&place, &text.replace("  id: likes", "  id: likes\n  state: active"))?;
    let said = ok(&dev, &["apply", "-f", &active]).await?;
    ensure!(said.contains("  /state: \"paused\" -> \"active\"\n") && !said.contains("stays"), "{said}");

    let later = write(&place, &text.replace("startFrom: earliest", "startFrom: latest"))?;
    let said = ok(&dev, &["apply", "-f", &later]).await?;
    ensure!(said.starts_with("subscription likes unchanged\n  its startFrom stays \"earliest\""), "{said}");

    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let secret = write(&place, &text.replace(crate::SECRET, other))?;
    for (dry, said) in [(true, "would change"), (false, "updated"), (false, "unchanged")] {
        let mut arguments = vec!["apply", "-f", &secret];
        arguments.extend(dry.then_some("--dry-run"));
        let out = ok(&dev, &arguments).await?;
        ensure!(out.starts_with(&format!("subscription likes {said}\n")) && !out.contains("whsec_"), "{said}: {out}");
        ensure!(out.contains("  /processor/webhook/secret: another one\n") == (said != "unchanged"), "{out}");
    }
    let shown: Value = serde_json::from_str(&ok(&dev, &["apply", "-f", &secret, "-o", "json"]).await?)?;
    ensure!(shown["outcome"] == "unchanged" && shown["changes"] == json!([]), "{shown}");
    let table = ok(&dev, &["apply", "-f", &secret, "-o", "table"]).await?;
    ensure!(table.lines().count() == 2 && table.contains("subscription  likes  unchanged"), "{table}");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn values_of_headers_are_shown_neither_by_a_command_nor_by_a_node_that_is_given_a_file() -> Result<()> {
    let place = Place::new().await?;
    let likes = std::fs::read_to_string(place.likes())?;
    let with = |value: &str| likes.replace("secret: ", &format!("headers: {{x-key: {value}}}, secret: "));
    let (dev, mut running) = silent(&place).await?;
    ok(&dev, &["apply", "-f", &write(&place, &with("credential-1"))?]).await?;
    for (value, arguments) in [
        ("credential-2", &["--dry-run"] as &[&str]),
        ("credential-3", &["--dry-run", "-o", "json"]),
        ("credential-4", &["-o", "json"]),
        ("credential-5", &[]),
    ] {
        let file = write(&place, &with(value))?;
        let said = ok(&dev, &[&["apply", "-f", &file], arguments].concat()).await?;
        ensure!(said.contains("/processor/webhook/headers/x-key") && !said.contains("credential-"), "{said}");
    }
    ensure!(running.process.stop(LONG).await?.success());
    let mut running = dev.arg("--apply").arg(write(&place, &with("credential-6"))?).start().await?;
    ensure!(running.process.stop(LONG).await?.success());
    let said = running.process.lines().join("\n");
    ensure!(said.contains("/processor/webhook/headers/x-key: another one"), "{said}");
    ensure!(!said.contains("credential-"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_key_that_may_only_read_tries_what_it_can_and_says_what_it_cannot() -> Result<()> {
    let place = Place::new().await?;
    let (dev, mut running) = silent(&place).await?;
    let likes = std::fs::read_to_string(place.likes())?.replace("secret: ", "headers: {x-key: one}, secret: ");
    ok(&dev, &["apply", "-f", &write(&place, &likes)?]).await?;
    let made: Value = serde_json::from_str(&ok(&dev, &["keys", "create", "--scope", "read"]).await?)?;
    let key = made["key"].as_str().unwrap_or_default();
    let file = write(&place, &format!("{likes}\n---\ntopic: {{name: more}}\n"))?;
    let asked = ["apply", "-f", &file, "--dry-run", "--api-key", key, "--server", running.api.url()];
    let said = ok(&dev, &asked).await?;
    ensure!(said.contains("topic more would be created\n  it could not be tried: "), "{said}");
    let header = "  its header x-key could not be compared: this key is not shown its value\n";
    let secret = "  its secret could not be compared: ";
    ensure!(said.contains(&format!("subscription likes unchanged\n{header}{secret}")), "{said}");
    // That another value is `unchanged` would be said of something that nobody has seen: the server decides.
    let unsigned = "subscription: {id: plain, processor: {webhook: {url: http://a.example/, headers: {x-key: one}}}}";
    ok(&dev, &["apply", "-f", &write(&place, unsigned)?]).await?;
    let other = write(&place, &unsigned.replace("one", "two"))?;
    let (code, out, error) =
        run(&dev, &["apply", "-f", &other, "--api-key", key, "--server", running.api.url()]).await?;
    ensure!(code == 77 && out.is_empty() && error.contains("scope write"), "{code}: {out}{error}");
    let (code, _, error) = run(&dev, &["pause", "likes", "--api-key", key, "--server", running.api.url()]).await?;
    ensure!(code == 77 && error.contains("scope write"), "{code}: {error}");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_reader_that_is_gone_does_not_end_it_half_way() -> Result<()> {
    let place = Place::new().await?;
    let (dev, mut running) = silent(&place).await?;
    let file = write(&place, CHAIN)?;
    for (arguments, expected) in [(&["--dry-run", "--diff-exit-code"] as &[&str], 2), (&[], 0)] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let status = dev.command().args(["apply", "-f", &file]).args(arguments).stdout(writer).status().await?;
        ensure!(status.code() == Some(expected), "{arguments:?}: {status}");
    }
    let unchanged = ok(&dev, &["apply", "-f", &file]).await?;
    let is_all = unchanged.lines().count() == 3 && unchanged.lines().all(|line| line.ends_with(" unchanged"));
    ensure!(is_all, "{unchanged}");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

/// A subscription with so many events, as the server shows it.
fn shown(events: u32) -> String {
    json!({"id": "likes", "state": "active", "collector": {"maxEvents": events}}).to_string()
}

fn tried(events: u32) -> String {
    let subscription: Value = serde_json::from_str(&shown(events)).unwrap_or_default();
    answer("200 OK", "", &json!({"subscription": subscription, "recent": {}}).to_string())
}

fn found(events: u32, revision: u32) -> String {
    answer("200 OK", &format!("etag: \"{revision}\"\r\n"), &shown(events))
}

#[tokio::test]
async fn a_change_of_somebody_elses_in_between_is_not_undone() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let file = write(&place, "subscription: {id: likes, collector: {maxEvents: 5}}")?;
    let stale = || answer("412 Precondition Failed", "", r#"{"detail": "it is there, in the revision \"2\""}"#);
    // What they made of it is something else.
    let stub = Stub::start(vec![found(1, 1), tried(5), stale(), found(9, 2), tried(5)])?;
    let (code, out, error) = stub.run(&dev, &["apply", "-f", &file]).await?;
    ensure!(code == 79 && out.is_empty(), "{code}: {out}");
    ensure!(error.contains("subscription likes: somebody else has changed it meanwhile"), "{error}");
    let put = stub.asked().into_iter().nth(2).unwrap_or_default();
    ensure!(put.starts_with("put /v1/subscriptions/likes http") && put.contains("\nif-match: \"1\""), "{put}");
    // What they made of it is the same, as when two nodes are given one file.
    let stub = Stub::start(vec![found(1, 1), tried(5), stale(), found(5, 2), tried(5)])?;
    let (code, out, error) = stub.run(&dev, &["apply", "-f", &file]).await?;
    ensure!(code == 0 && out == "subscription likes unchanged\n", "{code}: {out}{error}");
    // It was made in between.
    let none = || answer("404 Not Found", "", r#"{"detail": "there is no subscription likes"}"#);
    let stub = Stub::start(vec![none(), stale(), found(5, 2), tried(5)])?;
    let (code, out, error) = stub.run(&dev, &["apply", "-f", &file]).await?;
    ensure!(code == 0 && out == "subscription likes unchanged\n", "{code}: {out}{error}");
    let put = stub.asked().into_iter().nth(1).unwrap_or_default();
    ensure!(put.contains("\nif-none-match: *"), "{put}");
    Ok(())
}

#[tokio::test]
async fn what_has_no_etag_is_not_put_over_whatever_is_there() -> Result<()> {
    let place = Place::new().await?;
    let file = write(&place, "subscription: {id: likes, collector: {maxEvents: 5}}")?;
    let stub = Stub::start(vec![answer("200 OK", "", &shown(1)), tried(5), answer("200 OK", "", &shown(5))])?;
    let (code, out, error) = stub.run(&place.dev()?, &["apply", "-f", &file]).await?;
    ensure!(code == 1 && out.is_empty() && error.contains("has no ETag, and nothing is put"), "{code}: {out}{error}");
    ensure!(stub.asked().len() == 2, "it was put");
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_is_compared_and_its_private_key_is_shown_nowhere() -> Result<()> {
    let place = Place::new().await?;
    let (dev, mut running) = silent(&place).await?;
    let pem = |name: &str| std::fs::read_to_string(fpaas_testkit::checkout().join("testdata/tls").join(name));
    let document = |certificate: &str, key: &str, more: &str| {
        let block = |text: &str| text.lines().map(|line| format!("          {line}\n")).collect::<String>();
        let (certificate, key) = (block(certificate), block(key));
        let webhook = "  processor:\n    webhook:\n      url: https://a.example/\n      clientCertificate:\n";
        let shown = format!("        certificate: |\n{certificate}        privateKey: |\n{key}");
        format!("subscription:\n  id: likes\n  metadata: {{{more}}}\n{webhook}{shown}")
    };
    let [acme, other] = ["client-acme", "client-umbrella"]
        .map(|name| Ok::<_, std::io::Error>((pem(&format!("{name}.pem"))?, pem(&format!("{name}.key"))?)));
    let (acme, other) = (acme?, other?);
    // Lines of what is private: a key holds its public half, too, which the certificate shows.
    let hidden = [acme.1.lines().nth(1), other.1.lines().nth(12)].map(Option::unwrap_or_default);
    let hides = |text: &str| !text.contains("PRIVATE KEY") && hidden.iter().all(|line| !text.contains(line));
    ensure!(hidden.iter().all(|line| line.len() == 64), "{hidden:?}");
    let certificate = "  /processor/webhook/clientCertificate/certificate: ";
    for ((pem, key), more, said, changes) in [
        (&acme, "a: a", "created", vec![]),
        (&acme, "a: a", "unchanged", vec![]),
        (&acme, "a: b", "updated", vec!["  /metadata/a: \"a\" -> \"b\""]),
        (&other, "a: b", "updated", vec![certificate]),
        (&other, "a: b", "unchanged", vec![]),
    ] {
        let file = write(&place, &document(pem, key, more))?;
        let dry = ok(&dev, &["apply", "-f", &file, "--dry-run"]).await?;
        let out = ok(&dev, &["apply", "-f", &file]).await?;
        ensure!(hides(&dry) && hides(&out), "{dry}{out}");
        ensure!(out.starts_with(&format!("subscription likes {said}\n")), "{said}: {out}");
        let lines: Vec<_> = out.lines().skip(1).collect();
        let found = lines.iter().zip(&changes).all(|(line, change)| line.starts_with(change));
        ensure!(lines.len() == changes.len() && found, "{out}");
        let shown = ok(&dev, &["get", "likes", "-o", "yaml"]).await?;
        ensure!(shown.contains("BEGIN CERTIFICATE") && !shown.contains("privateKey") && hides(&shown), "{shown}");
    }
    // A key that is not the certificate's is refused, though nothing else of it is new.
    let file = write(&place, &document(&other.0, &acme.1, "a: b"))?;
    let (code, out, error) = run(&dev, &["apply", "-f", &file]).await?;
    let pointer = "/processor/webhook/clientCertificate/privateKey: is not the key of the certificate";
    ensure!(code == 64 && error.contains(pointer) && hides(&out) && hides(&error), "{code}: {out}{error}");
    // One who forgets the names of the fields is not shown it either.
    let text = document(&acme.0, &acme.1, "").replace("clientCertificate:\n        certificate:", "clientCertificate:");
    let text = text.split("        privateKey: |\n").collect::<String>();
    let (code, out, error) = run(&dev, &["apply", "-f", &write(&place, &text)?]).await?;
    ensure!(code == 64 && error.contains("expected an object") && hides(&out) && hides(&error), "{code}: {out}{error}");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}
