//! What commands end with, against a server that refuses, and one that breaks off.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::Place;
use crate::stub::{Stub, answer};

fn problem(status: u16, kind: &str) -> String {
    let body = format!(r#"{{"type": "urn:fpaas:problem:{kind}", "title": "no", "detail": "because of {kind}"}}"#);
    answer(&format!("{status} No"), "content-type: application/problem+json\r\n", &body)
}

#[tokio::test]
async fn every_refusal_ends_with_the_code_that_the_docs_name() -> Result<()> {
    let (place, mut seen) = (Place::new().await?, 0);
    let dev = place.dev()?;
    let page = std::fs::read_to_string(fpaas_testkit::checkout().join("docs/errors.md"))?;
    let table = std::fs::read_to_string(fpaas_testkit::checkout().join("docs/cli.md"))?;
    let headings = page.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix(')')?.split_once("` ("));
    for (kind, status) in headings {
        let row = table.lines().find(|line| line.starts_with("| ") && line.contains(&format!("[`{kind}`]")));
        let code = row.and_then(|row| row.split(' ').nth(1)?.parse::<i32>().ok());
        let stub = Stub::start(vec![problem(status.parse()?, kind)])?;
        let (ended, _, said) = stub.run(&dev, &["topics", "out"]).await?;
        ensure!(Some(ended) == code, "{kind}: {ended}, and the page says {code:?}: {said}");
        ensure!(said.contains(&format!("because of {kind}")), "{kind}: {said}");
        seen += 1;
    }
    ensure!(seen >= 15, "only {seen} kinds of problems were found");
    let stub = Stub::start(vec![])?;
    let (ended, _, said) = stub.run(&dev, &["topics", "out"]).await?;
    ensure!(ended == 69, "{ended}: {said}");
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_how_far_it_is() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let healthy = || answer("200 OK", "", r#"{"healthy": true, "version": "1"}"#);
    let json = "content-type: application/json\r\n";
    let starting = answer("503 No", json, r#"{"ready": false, "phase": "assigning"}"#);
    let stub = Stub::start(vec![healthy(), starting])?;
    let (code, out, said) = stub.run(&dev, &["admin", "ready", "-o", "table"]).await?;
    ensure!(code == 75 && out.contains("false  assigning  1"), "{code}: {out}{said}");
    ensure!(said.contains("the node is not ready: assigning"), "{said}");
    // What stands before a server says nothing of that.
    let stub = Stub::start(vec![healthy(), answer("503 No", "content-type: text/html\r\n", "<p>no</p>")])?;
    let (code, out, said) = stub.run(&dev, &["admin", "ready"]).await?;
    ensure!(code == 75 && out.is_empty() && said.contains("503"), "{code}: {out}{said}");
    Ok(())
}

#[tokio::test]
async fn what_is_deleted_is_what_was_counted_and_not_one_that_was_made_again() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let found = || answer("200 OK", "etag: \"7\"\r\n", "{}");
    let none = || answer("200 OK", "", r#"{"items": []}"#);
    let gone = || problem(412, "precondition-failed");
    let counted = || vec![found(), none(), none(), problem(404, "not-found"), gone()];
    for (line, answers, tag) in [
        ("delete likes", counted(), Some("\"7\"")),
        ("delete likes --if-match 5", counted(), Some("\"5\"")),
        ("delete likes --yes", vec![gone()], None),
        ("delete-topic out", vec![found(), none(), gone()], Some("\"7\"")),
        ("delete-topic out --yes", vec![gone()], None),
    ] {
        let stub = Stub::start(answers)?;
        let (code, out, said) = stub.run(&dev, &line.split(' ').collect::<Vec<_>>()).await?;
        ensure!(code == 79 && out.is_empty(), "{line}: {code}: {out}{said}");
        let asked = stub.asked().pop().unwrap_or_default();
        let sent = asked.lines().find_map(|line| line.strip_prefix("if-match: "));
        ensure!(asked.starts_with("delete ") && sent == tag, "{line}: {asked}");
    }
    Ok(())
}

const TAIL: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_tail_that_breaks_off_goes_on_behind_what_it_has_shown() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let first = format!("{TAIL}: tail\nid: 0-0\n\nid: 1-0\ndata: {{\"n\":1}}\n\ndata: {{\"n\":");
    let second = format!("{TAIL}: tail\nid: 1-0\n\nevent: lost\nid: 4-0\ndata: {{\"offsets\":3}}\n\n");
    let third = format!("{TAIL}id: 5-0\ndata: {{\"n\":5}}\n\n");
    let stub = Stub::start(vec![first, problem(503, "unavailable"), second, third])?;
    let (code, out, said) = stub.run(&dev, &["tap", "out", "--follow", "-n", "2"]).await?;
    ensure!(code == 0 && out == "{\"n\":1}\n{\"n\":5}\n", "{code}: {out}{said}");
    ensure!(said.contains("has broken off") && said.contains("goes on behind the last record"), "{said}");
    ensure!(said.contains("are lost to this tail: {\"offsets\":3}"), "{said}");
    let places: Vec<_> = stub.asked().iter().map(|request| last_id(request)).collect();
    let expected = [None, Some("1-0"), Some("1-0"), Some("4-0")].map(|id| id.map(str::to_owned));
    ensure!(places == expected, "{places:?}");
    Ok(())
}

#[tokio::test]
async fn what_retention_has_removed_from_a_page_is_said() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let lost = r#"{"partition":3,"from":7,"to":120}"#;
    for arguments in [["tap", "out", "--from", "earliest"], ["dead-letters", "likes", "--from", "earliest"]] {
        let first = format!(r#"{{"items":[{{"n":1}}],"cursor":"c","nextOffset":1,"lost":[{lost}]}}"#);
        let last = r#"{"items":[{"n":2}],"cursor":null,"nextOffset":2}"#;
        let stub = Stub::start(vec![answer("200 OK", "", &first), answer("200 OK", "", last)])?;
        let (code, out, said) = stub.run(&dev, &arguments).await?;
        ensure!(code == 0 && out == "{\"n\":1}\n{\"n\":2}\n", "{code}: {out}{said}");
        ensure!(said.matches("are lost to this page").count() == 1 && said.contains(lost), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn who_waits_for_a_replay_is_told_that_another_one_has_followed_it() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let shown = |state: &str, second: u32| {
        let replay = json!({"state": state, "startedAt": format!("2026-11-23T21:00:0{second}.000Z"), "progress": 0.5});
        answer("200 OK", "", &replay.to_string())
    };
    for (answers, code) in [
        (vec![shown("running", 1), shown("running", 1), shown("done", 1)], 0),
        (vec![shown("running", 1), shown("done", 2)], 79),
        // It was sent again, with its key.
        (vec![shown("ended", 1)], 79),
    ] {
        let stub = Stub::start(answers)?;
        let (ended, out, said) = stub.run(&dev, &["replay", "likes", "--wait"]).await?;
        ensure!(ended == code && out.is_empty() == (code != 0), "{ended}: {out}{said}");
        ensure!(said.contains("another one has followed it") == (code != 0), "{said}");
    }
    Ok(())
}

fn last_id(request: &str) -> Option<String> {
    request.lines().find_map(|line| line.strip_prefix("last-event-id: ")).map(str::to_owned)
}

#[tokio::test]
async fn a_tail_ends_where_the_server_refuses_it_and_fails_where_there_is_none() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let stub = Stub::start(vec![format!("{TAIL}: tail\nid: 0\n\n"), problem(404, "not-found")])?;
    let (code, _, said) = stub.run(&dev, &["tap", "out", "--follow"]).await?;
    ensure!(code == 66 && said.contains("because of not-found"), "{code}: {said}");
    let (code, _, said) = Stub::start(vec![])?.run(&dev, &["tap", "out", "--follow"]).await?;
    ensure!(code == 69 && !said.contains("trying again"), "{code}: {said}");
    Ok(())
}
