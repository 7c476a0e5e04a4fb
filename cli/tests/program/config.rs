//! Settings by file, variable and flag; `fpaas config`; and SIGHUP.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use expect_test::{Expect, expect};
use fpaas_testkit::process::program;
use fpaas_testkit::{Client, Need, Process, skip};
use serde_json::Value;
use tokio::process::Command;

use crate::{KEY, LONG, Place, recording};

/// In a folder of its own, with no variable of ours.
fn fpaas(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("fpaas")?);
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("FPAAS_") && name != "FPAAS_INVARIANTS") {
        command.env_remove(name);
    }
    command.current_dir(folder).env("FPAAS_CONTEXT", folder.join("context.json")).args(arguments);
    Ok(command)
}

/// Its code, what it printed and what it said.
async fn ended(mut command: Command) -> Result<(i32, String, String)> {
    let output = command.output().await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

/// A file for its owner alone.
fn write(folder: &Path, text: &str) -> Result<String> {
    let file = folder.join("fpaas.yaml");
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    Ok("fpaas.yaml".to_owned())
}

#[tokio::test]
async fn the_check_says_what_each_setting_is_and_where_that_was_said() -> Result<()> {
    let home = tempfile::tempdir()?;
    let file = write(home.path(), "log: kafka://in.file:1\ntopicPrefix: in-file\nnodeId: in-file\nfsync: never\n")?;
    let mut command =
        fpaas(home.path(), &["config", "check", "-o", "json", "--config", &file, "--topic-prefix", "typed"])?;
    command.env("FPAAS_TOPIC_PREFIX", "in-variable").env("FPAAS_NODE_ID", "in-variable").env("FPAAS_FSYNC", "");
    command.env("FPAAS_MESSAGES_JSON", "1").env("FPAAS_API_KEY", KEY);
    let (code, printed, said) = ended(command).await?;
    ensure!(code == 0 && !printed.contains(KEY), "{code}: {printed}{said}");
    let found: Value = serde_json::from_str(&printed)?;
    ensure!(found["starts"] == true && found["wrong"] == Value::Array(Vec::new()), "{found}");
    let settings = found["settings"].as_array().context("no settings")?;
    ensure!(settings.len() == 22, "{found}");
    for (key, value, source) in [
        ("topicPrefix", "typed", "flag"),
        ("nodeId", "in-variable", "environment"),
        ("log", "kafka://in.file:1", "file"),
        ("fsync", "never", "file"),
        ("data", "fpaas-data", "default"),
    ] {
        let setting = settings.iter().find(|setting| setting["key"] == key).context(key)?;
        ensure!(setting["value"] == value && setting["source"] == source, "{setting}");
    }
    let key = settings.iter().find(|setting| setting["key"] == "apiKey").context("no key")?;
    ensure!(key["hidden"] == true && key["value"].is_null() && key["at"] == "FPAAS_API_KEY", "{key}");
    Ok(())
}

/// Wrong in every way at once.
const WRONG: &str = "\
listen: nowhere
kafka_properties: a
upstream:
  - wss://anna:hunter2@a.example
  - ftp://anna:hunter2@b.example
partitions: '4'
apiKey: hunter2
messages: inof
";

async fn checked(output: &str, expected: &Expect) -> Result<()> {
    let home = tempfile::tempdir()?;
    let file = write(home.path(), WRONG)?;
    let mut command = fpaas(home.path(), &["config", "check", "--config", &file, "-o", output, "--node-id", "a b"])?;
    command.env("FPAAS_FSYNC", "sometimes");
    let (code, printed, said) = ended(command).await?;
    ensure!(code == 64 && said == "fpaas: fpaas serve would not start: 9 settings are wrong\n", "{code}: {said}");
    ensure!(!printed.contains("hunter2"), "{printed}");
    let printed = match output {
        "json" => {
            let found: Value = serde_json::from_str(&printed)?;
            format!("{:#}\n", found.get("wrong").context("nothing is wrong")?)
        }
        _ => printed,
    };
    expected.assert_eq(&printed);
    Ok(())
}

#[tokio::test]
async fn the_check_says_everything_that_is_wrong_at_once() -> Result<()> {
    checked(
        "text",
        &expect![[r#"
        data              fpaas-data                               default
        listen            nowhere                                  file: fpaas.yaml, line 1
        upstream          wss://…@a.example, ftp://…@b.example     file: fpaas.yaml, line 3
        upstreamCa        not set                                  default
        apply             not set                                  default
        exitWhenIdle      false                                    default
        partitions        of another type                          file: fpaas.yaml, line 6
        log               embedded                                 default
        topicPrefix       fpaas                                    default
        kafkaProperty     none                                     default
        kafkaProperties   not set                                  default
        nodeId            a b                                      flag: --node-id
        fsync             sometimes                                environment: FPAAS_FSYNC
        only              none                                     default
        allowWebhookCidr  none                                     default
        allowWebhookHost  none                                     default
        onlyWebhookHost   none                                     default
        webhookCa         not set                                  default
        webhookProxy      not set                                  default
        messages          inof                                     file: fpaas.yaml, line 8
        messagesJson      false                                    default
        apiKey            set, not shown                           file: fpaas.yaml, line 7

        wrong: fpaas.yaml, line 2, /kafka_properties: there is no such setting: write kafkaProperties
        wrong: fpaas.yaml, line 6, /partitions: must be a number, without quotes
        wrong: fpaas.yaml, line 8, /messages inof: must be a level such as info, or such as warn,fpaas_router=debug
        wrong: fpaas.yaml, line 1, /listen nowhere: must be an IP address and a port, such as 127.0.0.1:8080
        wrong: fpaas.yaml, line 5, /upstream/1 ftp://…@b.example: use wss://HOST, ws://HOST or file:PATH
        wrong: FPAAS_FSYNC=sometimes: must be always, never, or a time such as 50ms
        wrong: --node-id: only with --log kafka://HOST:PORT…
        wrong: --node-id a b: must be 1 to 64 of the characters a-z, A-Z, 0-9, '.', '_', '-'
        wrong: fpaas.yaml, line 7, /apiKey: must be 16 to 200 printable ASCII characters, with no space at either end
    "#]],
    )
    .await
}

#[tokio::test]
async fn the_check_says_the_same_as_json() -> Result<()> {
    checked("json", &as_json()).await
}

fn as_json() -> Expect {
    expect![[r#"
        [
          {
            "at": "fpaas.yaml, line 2",
            "detail": "there is no such setting: write kafkaProperties",
            "pointer": "/kafka_properties",
            "source": "file",
            "value": null
          },
          {
            "at": "fpaas.yaml, line 6",
            "detail": "must be a number, without quotes",
            "pointer": "/partitions",
            "source": "file",
            "value": null
          },
          {
            "at": "fpaas.yaml, line 8",
            "detail": "must be a level such as info, or such as warn,fpaas_router=debug",
            "pointer": "/messages",
            "source": "file",
            "value": "inof"
          },
          {
            "at": "fpaas.yaml, line 1",
            "detail": "must be an IP address and a port, such as 127.0.0.1:8080",
            "pointer": "/listen",
            "source": "file",
            "value": "nowhere"
          },
          {
            "at": "fpaas.yaml, line 5",
            "detail": "use wss://HOST, ws://HOST or file:PATH",
            "pointer": "/upstream/1",
            "source": "file",
            "value": "ftp://…@b.example"
          },
          {
            "at": "FPAAS_FSYNC",
            "detail": "must be always, never, or a time such as 50ms",
            "pointer": "/fsync",
            "source": "environment",
            "value": "sometimes"
          },
          {
            "at": "--node-id",
            "detail": "only with --log kafka://HOST:PORT…",
            "pointer": "/nodeId",
            "source": "flag",
            "value": null
          },
          {
            "at": "--node-id",
            "detail": "must be 1 to 64 of the characters a-z, A-Z, 0-9, '.', '_', '-'",
            "pointer": "/nodeId",
            "source": "flag",
            "value": "a b"
          },
          {
            "at": "fpaas.yaml, line 7",
            "detail": "must be 16 to 200 printable ASCII characters, with no space at either end",
            "pointer": "/apiKey",
            "source": "file",
            "value": null
          }
        ]
    "#]]
}

#[tokio::test]
async fn a_start_says_what_the_check_says() -> Result<()> {
    let home = tempfile::tempdir()?;
    for (role, text) in [
        ("serve", WRONG),
        ("dev", WRONG),
        ("dev", "only: [router]\n"),
        ("serve", "only: [router]\n"),
        ("serve", "log: kafka://a.example:1\nkafkaProperty: [acks=1]\napply: /no/such/file\n"),
        ("serve", "upstream: [file:/no/such/recording]\nupstreamCa: /no/such/file\n"),
        ("dev", "data: a\ndata: b\n"),
        ("dev", "{"),
    ] {
        let file = write(home.path(), text)?;
        let check = ["config", "check", "--for", role, "--config", &file, "-o", "text", "--listen", "127.0.0.1:0"];
        let (code, printed, _) = ended(fpaas(home.path(), &check)?).await?;
        let of_check: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("wrong: ")).collect();
        ensure!(code == 64 && !of_check.is_empty(), "{role} {text}: {code}: {printed}");
        let (code, _, said) = ended(fpaas(home.path(), &[role, "--config", &file, "--listen", "127.0.0.1:0"])?).await?;
        let of_start = match of_check.as_slice() {
            [only] => vec![said.trim_end().strip_prefix("fpaas: ").unwrap_or_default() == *only],
            many => many.iter().map(|wrong| said.lines().any(|line| line.strip_prefix("  ") == Some(wrong))).collect(),
        };
        ensure!(code == 64 && of_start.iter().all(|is| *is), "{role} {text}: {code}: {said}\nthe check: {printed}");
        ensure!(of_check.len() == 1 || said.lines().count() == of_check.len() + 1, "{said}\nthe check: {printed}");
    }
    ensure!(!home.path().join("fpaas-data").exists(), "something was made");
    Ok(())
}

#[tokio::test]
async fn the_check_sees_that_the_folder_is_that_of_another_log() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::create_dir(home.path().join("data"))?;
    std::fs::write(home.path().join("data/node-id"), "node-1")?;
    let (code, printed, _) = ended(fpaas(home.path(), &["config", "check", "--data", "data"])?).await?;
    ensure!(
        code == 64 && printed.contains("wrong: --data: the data folder data is that of a node on Kafka"),
        "{printed}"
    );
    Ok(())
}

#[tokio::test]
async fn the_default_that_is_printed_is_a_file_that_starts() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (code, printed, said) = ended(fpaas(home.path(), &["config", "default"])?).await?;
    ensure!(code == 0 && printed.contains("\n# Address of the API"), "{code}: {said}{printed}");
    let file = write(home.path(), &printed)?;
    for role in ["dev", "serve"] {
        let check = fpaas(home.path(), &["config", "check", "--for", role, "--config", &file])?;
        let (code, printed, said) = ended(check).await?;
        ensure!(code == 0 && said.is_empty(), "{role}: {code}: {printed}{said}");
    }
    Ok(())
}

/// What both need besides their own.
fn whole(place: &Place, more: &str) -> String {
    let (data, likes, upstream) = (place.folder.path().join("data"), place.likes(), recording("max"));
    format!(
        "data: {}\nlisten: 127.0.0.1:0\nupstream: [\"{upstream}\"]\napply: {}\nexitWhenIdle: true\npartitions: 2\n\
         apiKey: {KEY}\n{more}",
        data.display(),
        likes.display()
    )
}

#[tokio::test]
async fn dev_and_serve_start_from_a_file_alone() -> Result<()> {
    for (role, more) in [("dev", "fsync: never\n"), ("serve", "messagesJson: true\nallowWebhookCidr: [127.0.0.0/8]\n")]
    {
        let place = Place::new().await?;
        let file = write(place.folder.path(), &whole(&place, more))?;
        let mut command = fpaas(place.folder.path(), &[role])?;
        let mut process = Process::spawn(role, command.env("FPAAS_CONFIG", &file))?;
        let status = process.wait(LONG).await?;
        let said = process.lines();
        ensure!(status.success(), "{role}: {status}: {}", said.join("\n"));
        let calls = place.receiver.wait(LONG, |calls| !calls.is_empty()).await?;
        ensure!(!calls.is_empty() && std::fs::read_to_string(place.folder.path().join("data/api-key"))? == KEY);
        if role == "serve" {
            let messages = said.iter().filter(|line| line.contains("level")).count();
            let is_json = |line: &&String| serde_json::from_str::<Value>(line).is_ok_and(|it| it["fields"].is_object());
            ensure!(messages > 1 && said.iter().filter(is_json).count() == messages, "{}", said.join("\n"));
        }
    }
    Ok(())
}

/// A node whose file says `messages: {0}`, once it is up.
async fn node(place: &Place, messages: &str) -> Result<Process> {
    let text = format!(
        "data: {}\nlisten: 127.0.0.1:0\nupstream: [\"ws://127.0.0.1:9\"]\nmessages: {messages}\n",
        place.folder.path().join("data").display()
    );
    let file = write(place.folder.path(), &text)?;
    let process = Process::spawn("fpaas dev", &mut fpaas(place.folder.path(), &["dev", "--config", &file])?)?;
    let url = process.line(0, LONG, |line| Some(line.trim().strip_prefix("API")?.trim().to_owned())).await?;
    let key = std::fs::read_to_string(place.folder.path().join("data/api-key"))?;
    Client::new(&url, &key)?.get("/v1/topics").await?;
    Ok(process)
}

/// Replaces a word of the file, asks the node to read it again, and waits until it has said this.
async fn change(place: &Place, process: &mut Process, (from, to): (&str, &str), said: &str) -> Result<()> {
    let text = std::fs::read_to_string(place.folder.path().join("fpaas.yaml"))?;
    ensure!(text.contains(from), "{text}");
    write(place.folder.path(), &text.replace(from, to))?;
    let before = process.lines().len();
    process.hang_up()?;
    process.line(before, LONG, |line| line.contains(said).then_some(())).await
}

/// Said at `info`, whatever else has happened.
async fn stopped(process: &mut Process) -> Result<bool> {
    ensure!(process.stop(Duration::from_secs(20)).await?.success(), "{}", process.lines().join("\n"));
    Ok(process.lines().iter().any(|line| line.contains("stopping") && line.contains("SIGTERM")))
}

#[tokio::test]
async fn after_sighup_what_the_file_says_is_shown_and_nothing_else_has_changed() -> Result<()> {
    let place = Place::new().await?;
    let mut quiet = node(&place, "warn").await?;
    ensure!(!stopped(&mut quiet).await?, "info was shown");

    let mut loud = node(&place, "warn").await?;
    let more = ("messages: warn", "messages: info\nfsync: always");
    change(&place, &mut loud, more, "it is not as it was at the start").await?;
    let said = loud.lines().join("\n");
    ensure!(said.contains("the file of settings was read again") && said.contains("fsync"), "{said}");
    change(&place, &mut loud, ("messages: info", "messages: inof"), "must be a level").await?;
    change(&place, &mut loud, ("messages: inof", "mesages: warn"), "there is no such setting").await?;
    ensure!(stopped(&mut loud).await?, "what was right is not shown any more: {}", loud.lines().join("\n"));

    let mut hushed = node(&place, "info").await?;
    let less = ("messages: info", "messages: warn\nfsync: always");
    change(&place, &mut hushed, less, "it is not as it was at the start").await?;
    ensure!(!stopped(&mut hushed).await?, "info is still shown: {}", hushed.lines().join("\n"));
    Ok(())
}

#[tokio::test]
async fn a_variable_counts_more_than_the_file_after_sighup_too() -> Result<()> {
    let place = Place::new().await?;
    write(place.folder.path(), "messages: debug\n")?;
    let dev = place.dev()?.upstream("ws://127.0.0.1:9").env("FPAAS_MESSAGES", "info");
    let dev = dev.arg("--config").arg(place.folder.path().join("fpaas.yaml").display().to_string());
    let mut running = dev.start().await?;
    change(&place, &mut running.process, ("debug", "warn"), "messages=\"info\"").await?;
    ensure!(stopped(&mut running.process).await?, "{}", running.process.lines().join("\n"));
    Ok(())
}

#[tokio::test]
async fn without_a_file_sighup_is_logged_and_does_nothing() -> Result<()> {
    let place = Place::new().await?;
    let mut running = place.dev()?.upstream("ws://127.0.0.1:9").start().await?;
    for _ in 0..2 {
        let before = running.process.lines().len();
        running.process.hang_up()?;
        let said = |line: &str| line.contains("there is no file of settings").then_some(());
        running.process.line(before, LONG, said).await?;
    }
    ensure!(running.api.get("/v1/topics").await?["items"][0]["name"] == "firehose");
    ensure!(stopped(&mut running.process).await?);
    Ok(())
}

/// Runs what it is given in a terminal of its own, closes that once its API is there, and says how it ended.
const TERMINAL: &str = r#"
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.dup2(os.open("said", os.O_CREAT | os.O_WRONLY), 2)
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
while b"API " not in said:
    said += os.read(terminal, 4096)
os.close(terminal)
print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"#;

#[tokio::test]
async fn a_node_whose_terminal_is_closed_stops() -> Result<()> {
    if std::process::Command::new("python3").args(["-c", "import pty"]).output().is_err() {
        skip(Need::Python, "a node in a terminal that is closed");
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let fpaas = program("fpaas")?.display().to_string();
    let mut command = Command::new("python3");
    command.current_dir(home.path()).env("FPAAS_CONTEXT", home.path().join("context.json")).args(["-c", TERMINAL]);
    command.args([&fpaas, "dev", "--data", "data", "--listen", "127.0.0.1:0", "--upstream", "ws://127.0.0.1:9"]);
    let mut process = Process::spawn("fpaas dev in a terminal", &mut command)?;
    let code = process.line(0, LONG, |line| Some(line.strip_prefix("ended ")?.to_owned())).await?;
    let said = std::fs::read_to_string(home.path().join("said"))?;
    ensure!(code == "0" && said.contains("stopping") && said.contains("SIGHUP"), "{code}: {said}");
    process.wait(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_said_is_changed_over_the_api_while_it_runs() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream("ws://127.0.0.1:9").arg("--messages").arg("error");
    let mut running = dev.start().await?;
    let path = "/v1/admin/messages";
    ensure!(running.api.get(path).await? == serde_json::json!({"filter": "error"}));
    let wrong = running.api.send(reqwest::Method::PUT, path, Some(&serde_json::json!({"filter": "inof"}))).await?;
    ensure!(wrong.status == reqwest::StatusCode::BAD_REQUEST, "{}", wrong.body);
    let said = |process: &fpaas_testkit::Process| process.lines().iter().filter(|line| line.contains("INFO")).count();
    ensure!(said(&running.process) == 0, "{}", running.process.lines().join("\n"));
    running.api.put(path, &serde_json::json!({"filter": "info"})).await?;
    ensure!(running.process.stop(LONG).await?.success());
    ensure!(said(&running.process) > 0, "{}", running.process.lines().join("\n"));
    Ok(())
}
