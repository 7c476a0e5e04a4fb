//! Starting, stopping, and what goes wrong before there is anything to stop.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::{Answer, Client, Dev, Process, Recording, Relay, Script, relay};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{KEY, LONG, Place, recording};

/// Runs the program with arguments that must fail; gives its code and what it said.
async fn fails(dev: &Dev, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = dev.command().args(arguments).output().await?;
    ensure!(!output.status.success(), "{arguments:?} succeeded");
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[tokio::test]
async fn a_signal_stops_it_in_time_with_exit_code_0_and_it_goes_on_where_it_was() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("4x")).arg("--apply").arg(place.likes().display().to_string());
    let mut running = dev.start().await?;
    place.receiver.wait(LONG, |calls| !calls.is_empty()).await?;
    let status = running.process.stop(Duration::from_secs(10)).await?;
    ensure!(status.code() == Some(0), "{status}:\n{}", running.process.lines().join("\n"));
    let mut last = dev.arg("--exit-when-idle").spawn()?;
    ensure!(last.wait(LONG).await?.success(), "{}", last.lines().join("\n"));
    let mut again = place.dev()?.upstream(recording("max")).start().await?;
    ensure!(again.api.records("like-results").await?.len() == 719);
    ensure!(again.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn ctrl_c_stops_it_in_time_with_exit_code_0_in_the_middle_of_its_work() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("4x")).arg("--apply").arg(place.likes().display().to_string());
    let mut running = dev.start().await?;
    place.receiver.wait(LONG, |calls| !calls.is_empty()).await?;
    let status = running.process.interrupt(Duration::from_secs(10)).await?;
    ensure!(status.code() == Some(0), "{status}:\n{}", running.process.lines().join("\n"));
    ensure!(running.process.lines().join("\n").contains("SIGINT"), "it does not say why it stops");
    Ok(())
}

/// Its command is applied and answered, although everything else stops already.
#[tokio::test]
async fn a_request_that_is_under_way_at_a_signal_is_answered() -> Result<()> {
    let place = Place::new().await?;
    let mut running = place.dev()?.upstream("ws://127.0.0.1:9").start().await?;
    let address = running.api.url().strip_prefix("http://").context("an address")?.to_owned();
    let body = r#"{"partitions":1}"#;
    let head = format!(
        "PUT /v1/topics/late HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\
         expect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(&address).await?;
    connection.write_all(head.as_bytes()).await?;
    let mut go_on = [0; 25];
    connection.read_exact(&mut go_on).await?;
    ensure!(&go_on == b"HTTP/1.1 100 Continue\r\n\r\n", "{}", String::from_utf8_lossy(&go_on));
    let late = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        connection.write_all(body.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let (answer, stopped) = tokio::join!(late, running.process.stop(LONG));
    let answer = answer?;
    ensure!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    ensure!(stopped?.success());
    Ok(())
}

#[tokio::test]
async fn a_number_of_partitions_that_cannot_be_any_more_is_refused() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max")).arg("--exit-when-idle");
    for (partitions, code) in [(Some("2"), 0), (Some("3"), 64), (Some("2"), 0), (None, 0)] {
        let dev = partitions.map_or(dev.clone(), |count| dev.clone().arg("--partitions").arg(count));
        let mut process = dev.spawn()?;
        let status = process.wait(LONG).await?;
        let said = process.lines().join("\n");
        ensure!(status.code() == Some(code), "{partitions:?}: {status}: {said}");
        let refused = "--partitions 3: the topic fpaas.firehose has 2 since it was made, which stays";
        ensure!(said.contains(refused) == (code == 64), "{partitions:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_folder_that_is_there_already_is_taken() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max")).arg("--exit-when-idle");
    std::fs::create_dir(dev.data())?;
    let mut process = dev.spawn()?;
    ensure!(process.wait(LONG).await?.success(), "{}", process.lines().join("\n"));
    ensure!(dev.data().join("log").is_dir());
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_not_loopback_is_warned_of_and_works_and_closes_the_numbers() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let mut command = dev.command();
    command.arg("dev").arg("--data").arg(dev.data()).args(["--listen", "0.0.0.0:0", "--api-key", KEY]);
    let mut process = Process::spawn("fpaas dev", command.args(["--upstream", "ws://127.0.0.1:9"]))?;
    let url = process.line(0, LONG, |line| Some(line.trim().strip_prefix("API")?.trim().to_owned())).await?;
    let said = process.lines().join("\n");
    ensure!(said.contains("WARN") && said.contains("can be reached from other machines"), "{said}");
    ensure!(Client::new(&url, KEY)?.get("/v1/topics").await?["items"][0]["name"] == "firehose");
    let http = reqwest::Client::builder().no_proxy().build()?;
    ready(&url).await?;
    ensure!(http.get(format!("{url}/metrics")).send().await?.status() == 401);
    ensure!(process.stop(LONG).await?.success());
    Ok(())
}

/// Waits until `/readyz` says so; until then it says why not.
async fn ready(url: &str) -> Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let began = Instant::now();
    loop {
        let answer = http.get(format!("{url}/readyz")).send().await?;
        let (status, said) = (answer.status(), serde_json::from_str::<serde_json::Value>(&answer.text().await?)?);
        let phase = said.get("phase").and_then(serde_json::Value::as_str);
        if status == 200 {
            ensure!(phase == Some("ready"), "{said}");
            return Ok(());
        }
        ensure!(status == 503 && matches!(phase, Some("starting" | "assigning")), "{said}");
        ensure!(began.elapsed() < LONG, "it does not become ready: {said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn readiness_needs_no_key_and_no_upstream() -> Result<()> {
    let place = Place::new().await?;
    // Nothing listens on port 9 of loopback.
    let mut running = place.dev()?.upstream("ws://127.0.0.1:9").start().await?;
    ready(running.api.url()).await?;
    let said = |line: &str| line.contains("127.0.0.1:9").then(|| line.to_owned()).filter(|line| line.contains("reach"));
    running.process.line(0, LONG, said).await?;
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream("ws://127.0.0.1:9");
    let mut running = dev.start().await?;
    let mut second = dev.spawn()?;
    let status = second.wait(LONG).await?;
    let said = second.lines().join("\n");
    ensure!(status.code() == Some(73) && said.contains("another fpaas is using it"), "{status}: {said}");
    let intruder = Dev::new(place.folder.path(), "another-key-0123456789")?
        .upstream("ws://127.0.0.1:9")
        .spawn()?
        .wait(LONG)
        .await?;
    ensure!(intruder.code() == Some(73), "{intruder}");
    ensure!(std::fs::read_to_string(dev.data().join("api-key"))? == KEY, "the key was replaced without the lock");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_the_arguments_is_said_before_anything_is_made() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?;
    let data = dev.data().display().to_string();
    let cases: [(&[&str], i32, &str); 11] = [
        (&["bogus"], 64, "bogus"),
        (&["dev", "--data", &data, "--listen", "bogus"], 64, "--listen"),
        (&["dev", "--data", &data, "--upstream", "file:/no/such/recording"], 64, "/no/such/recording"),
        (&["dev", "--data", &data, "--upstream", "ftp://x"], 64, "ftp"),
        (&["dev", "--data", &data, "--api-key", "short"], 64, "16 to 200"),
        (&["dev", "--data", &data, "--fsync", "sometimes"], 64, "--fsync"),
        (&["serve", "--data", &data, "--allow-webhook-cidr", "10/8"], 64, "--allow-webhook-cidr"),
        (&["serve", "--data", &data, "--partitions", "0"], 64, "--partitions"),
        (&["dev", "--data", "/dev/null/x"], 73, "--data"),
        (&["status", "likes"], 64, "fpaas dev"),
        (&["status", "--server", "http://127.0.0.1:9", "--api-key", KEY], 69, "cannot be reached"),
    ];
    for (arguments, code, said) in cases {
        let (found, text) = fails(&dev, arguments).await?;
        ensure!(found == Some(code) && text.contains(said), "{arguments:?}: {found:?}: {text}");
    }
    ensure!(!dev.data().join("log").exists(), "something was made");
    Ok(())
}

#[tokio::test]
async fn a_relay_that_cuts_connections_costs_nothing() -> Result<()> {
    let place = Place::new().await?;
    let faults = relay::Script { refuse: 1, cut_after: vec![300, 1, 700], ..relay::Script::default() };
    let relay = Relay::start(Recording::bundled()?, faults).await?;
    let dev = place.dev()?.upstream(relay.url()).arg("--apply").arg(place.likes().display().to_string());
    let mut running = dev.start().await?;
    let mut tail = running.api.tail("like-results", "from=earliest").await?;
    let read = async {
        for _ in 0..719 {
            tail.next().await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LONG, read).await??;
    ensure!(relay.cuts() == 3 && relay.refused() == 1, "{} cuts, {} refusals", relay.cuts(), relay.refused());
    ensure!(running.api.records("like-results").await?.len() == 719);
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

/// Takes a second and a half for each call, and there are 719 events in batches of one.
async fn slow(place: &Place) -> Result<Dev> {
    let slow = Script::new(|_| Answer::Slow(Duration::from_millis(1500)));
    place.receiver.set_script(slow);
    let one = std::fs::read_to_string(place.likes())?.replace("maxEvents: 100", "maxEvents: 1");
    std::fs::write(place.likes(), one)?;
    Ok(place.dev()?.upstream(recording("max")).arg("--apply").arg(place.likes().display().to_string()))
}

#[tokio::test]
async fn a_stop_with_a_backlog_and_a_slow_endpoint_is_in_time() -> Result<()> {
    let place = Place::new().await?;
    let mut running = slow(&place).await?.start().await?;
    place.receiver.wait(LONG, |calls| calls.len() > 1).await?;
    let begun = std::time::Instant::now();
    ensure!(running.process.stop(Duration::from_secs(10)).await?.success());
    ensure!(begun.elapsed().as_secs() < 9, "{:?}", begun.elapsed());
    ensure!(!running.process.lines().join("\n").contains("cut off"), "something had to be cut off");
    Ok(())
}

#[tokio::test]
async fn a_deleted_subscription_calls_nobody_any_more() -> Result<()> {
    let place = Place::new().await?;
    let mut running = slow(&place).await?.start().await?;
    let calls = place.receiver.wait(LONG, |calls| !calls.is_empty()).await?.len();
    running.api.send(reqwest::Method::DELETE, "/v1/subscriptions/likes", None).await?.ok()?;
    // The call that is on its way may end, and no other begins.
    let more = place.receiver.wait(Duration::from_secs(4), |now| now.len() > calls + 1).await;
    ensure!(more.is_err(), "called again after it was deleted");
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_changed_collector_holds_for_the_batch_that_is_open() -> Result<()> {
    let place = Place::new().await?;
    let patient = std::fs::read_to_string(place.likes())?
        .replace("maxEvents: 100, maxWaitMs: 50", "maxEvents: 10000, maxWaitMs: 300000");
    std::fs::write(place.likes(), patient)?;
    let dev = place.dev()?.upstream(recording("max")).arg("--apply").arg(place.likes().display().to_string());
    let mut running = dev.start().await?;
    let mut likes = running.api.get("/v1/subscriptions/likes").await?;
    likes["collector"] = serde_json::json!({"maxEvents": 719});
    running.api.put("/v1/subscriptions/likes", &likes).await?;
    place.receiver.wait(LONG, |calls| !calls.is_empty()).await?;
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_frame_above_the_limit_is_dropped_and_the_next_one_comes() -> Result<()> {
    let place = Place::new().await?;
    let mut frames = Recording::bundled()?;
    let long = relay::Script::default();
    let mut huge = frames.frames.first().cloned().context("the recording is empty")?;
    huge.bytes = vec![0xa1; 6 * 1024 * 1024].into();
    (huge.seq, huge.time) = (None, None);
    frames.frames.insert(100, huge);
    let file = place.folder.path().join("long.bin");
    frames.write(&file)?;
    let relay = Relay::start(frames, long).await?;
    let apply = place.likes().display().to_string();
    for upstream in [format!("file:{}", file.display()), relay.url()] {
        let folder = tempfile::tempdir()?;
        let dev = Dev::new(folder.path(), KEY)?.upstream(upstream).arg("--apply").arg(&apply);
        let mut running = dev.start().await?;
        let mut tail = running.api.tail("like-results", "from=earliest").await?;
        for _ in 0..719 {
            tokio::time::timeout(LONG, tail.next()).await??;
        }
        ensure!(running.process.stop(LONG).await?.success());
        let said = running.process.lines().join("\n");
        ensure!(said.contains("FrameTooLong, 1"), "{said}");
    }
    ensure!(relay.cursors().len() == 1, "the relay was dialled again: {:?}", relay.cursors());
    Ok(())
}
