//! Every shell block of README and docs, every tip of `fpaas dev` and every example of the help runs as it is written.
//!
//! The set-up is the README's own: the block that ends with `fpaas dev`, in one terminal; in the other one, the line
//! that it prints for curl. The demo's tips are tried in `testkit/tests/demo.rs`; the Worker's page is not, since its
//! commands need an account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::process::program;
use fpaas_testkit::terminal::Typed;
use fpaas_testkit::{Broker, Need, Terminal, checkout, skip};

use crate::{LONG, recording};

/// A block may build, or be the demo, beside other tests.
const PATIENT: Duration = Duration::from_secs(400);
/// What a fence can be. Text that is typed is `sh`, and all of that runs.
const LANGUAGES: [&str; 4] = ["sh", "json", "text", "yaml"];

/// One block, and where it stands.
struct Block {
    file: PathBuf,
    line: usize,
    text: String,
}

impl Block {
    /// True of what keeps its terminal until it is stopped.
    fn serves(&self) -> bool {
        self.text.lines().any(|line| line.split(' ').take(2).eq(["bin/fpaas", "dev"]))
    }

    fn place(&self) -> String {
        format!("{}:{}\n{}", self.file.display(), self.line, self.text)
    }
}

fn pages() -> Result<Vec<PathBuf>> {
    let docs = std::fs::read_dir(checkout().join("docs"))?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>();
    let mut files = docs?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    files.insert(0, checkout().join("README.md"));
    Ok(files)
}

/// The shell blocks of a page.
fn blocks(file: &Path) -> Result<Vec<Block>> {
    let text = std::fs::read_to_string(file)?;
    let (mut found, mut open) = (Vec::new(), None::<(bool, Block)>);
    for (at, line) in text.lines().enumerate() {
        open = match (open, line.strip_prefix("```")) {
            (None, None) => None,
            (None, Some(language)) => {
                ensure!(LANGUAGES.contains(&language), "{}:{}: a block of {language:?}", file.display(), at + 1);
                let (file, line) = (file.to_owned(), at + 1);
                Some((language == "sh", Block { file, line, text: String::new() }))
            }
            (Some((shell, block)), Some("")) => {
                found.extend(shell.then_some(block));
                None
            }
            (Some((shell, mut block)), _) => {
                block.text.push_str(&format!("{line}\n"));
                Some((shell, block))
            }
        };
    }
    ensure!(open.is_none(), "{}: a block does not end", file.display());
    Ok(found)
}

/// Types the set-up and waits until it serves; answers it and the line for curl.
async fn serve(terminal: &Terminal, text: &str) -> Result<(Typed, String)> {
    let typed = terminal.run(text)?;
    let export = |line: &str| line.trim().strip_prefix("export FPAAS_SERVER=").map(|_| line.trim().to_owned());
    let export = typed.process.line(0, PATIENT, export).await?;
    Ok((typed, export))
}

#[tokio::test]
async fn every_command_that_the_docs_show_runs_after_the_readmes_set_up() -> Result<()> {
    let readme = blocks(&checkout().join("README.md"))?;
    let set_up = readme.iter().find(|block| block.serves()).context("the README starts no server")?;
    let mut count = 0;
    for page in pages()? {
        let home = tempfile::tempdir()?;
        let terminal = Terminal::new(home.path(), &recording("max"));
        let typed = blocks(&page)?.into_iter().filter(|block| !block.serves()).collect::<Vec<_>>();
        if typed.is_empty() {
            continue;
        }
        let (mut server, export) = serve(&terminal, &set_up.text).await.with_context(|| set_up.place())?;
        for block in &typed {
            let lines = terminal.done(&format!("{export}\n{}", block.text), PATIENT).await;
            let lines = lines.with_context(|| block.place())?;
            ensure!(
                !lines.iter().any(|line| line.contains("\"type\":\"urn:fpaas:problem")),
                "{}{lines:?}",
                block.place()
            );
        }
        count += typed.len();
        server.interrupt(LONG).await?;
    }
    ensure!(count >= 15, "only {count} blocks were found");
    Ok(())
}

#[tokio::test]
async fn every_tip_that_dev_prints_runs() -> Result<()> {
    let home = tempfile::tempdir()?;
    // Slow enough that there is always something new to follow.
    let terminal = Terminal::new(home.path(), &recording("1x"));
    let program = program("fpaas")?;
    let (mut server, export) = serve(&terminal, &format!("{} dev", program.display())).await?;
    server.process.line(0, LONG, |line| line.ends_with(" status").then_some(())).await?;
    let lines = server.process.lines();
    let tips = lines.iter().skip_while(|line| !line.starts_with("Try next")).skip(1);
    let tips: Vec<_> = tips.filter_map(|line| line.strip_prefix("  ")).collect();
    ensure!(tips.len() == 3, "{lines:?}");
    for tip in tips {
        run(&terminal, tip).await?;
    }
    terminal.done(&format!("{export}\ncurl -sS --fail-with-body \"$FPAAS_SERVER/readyz\""), LONG).await?;
    server.interrupt(LONG).await?;
    Ok(())
}

/// The receiver as the README says to start it, only at an address of the test's own.
#[tokio::test]
async fn the_readmes_receiver_gets_what_the_readmes_subscription_sends() -> Result<()> {
    let (Ok(receiver), fpaas) = (program("receiver"), program("fpaas")?) else {
        skip(Need::Program, "the README's receiver: run `make build`");
        return Ok(());
    };
    let readme = std::fs::read_to_string(checkout().join("README.md"))?;
    let command = readme.split('`').find(|code| code.starts_with("bin/receiver ")).context("no receiver")?;
    let address = "http://127.0.0.1:8787/";
    let put = blocks(&checkout().join("README.md"))?;
    let put = put.iter().find(|block| block.text.contains("curl -sS -X PUT")).context("no subscription")?;
    ensure!(put.text.contains(address), "{}", put.place());
    let home = tempfile::tempdir()?;
    let terminal = Terminal::new(home.path(), &recording("max"));
    let (mut server, export) = serve(&terminal, &format!("{} dev", fpaas.display())).await?;
    let answer = terminal.done(&format!("{export}\n{}", put.text), LONG).await?.join("");
    let secret = answer.split('"').find(|text| text.starts_with("whsec_")).context("no secret in the answer")?;
    ensure!(command == "bin/receiver --secret whsec_…", "{command}");
    let command = command.replace("bin/receiver", &receiver.display().to_string()).replace("whsec_…", secret);
    let mut receiver = terminal.run(&format!("{command} --listen 127.0.0.1:0"))?;
    let up = |line: &str| line.strip_prefix("receiver is up at ").map(str::to_owned);
    let up = receiver.process.line(0, LONG, up).await?;
    terminal.done(&format!("{export}\n{}", put.text.replace(address, &up)), LONG).await?;
    run(&terminal, &format!("{} tap like-results --follow", fpaas.display())).await?;
    receiver.interrupt(LONG).await?;
    server.interrupt(LONG).await?;
    Ok(())
}

/// A terminal in a folder with the files that the examples name, where `fpaas` is found.
fn at_home(home: &Path) -> Result<Terminal> {
    let program = program("fpaas")?;
    let path = format!("{}:{}", program.parent().context("no folder")?.display(), std::env::var("PATH")?);
    let mut terminal = Terminal::new(home, &recording("1x")).env("PATH", &path);
    home.clone_into(&mut terminal.folder);
    std::fs::copy(checkout().join("testdata/pds20/frames.bin.zst"), home.join("frames.bin.zst"))?;
    std::fs::copy(checkout().join("examples/likes.yaml"), home.join("likes.yaml"))?;
    Ok(terminal)
}

#[tokio::test]
async fn the_file_in_the_help_of_apply_is_applied() -> Result<()> {
    let home = tempfile::tempdir()?;
    let terminal = at_home(home.path())?;
    let help = terminal.done("fpaas apply --help", LONG).await?;
    let file = help.iter().skip_while(|line| *line != "  subscription:");
    let file: Vec<_> = file.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    ensure!(file.len() >= 5, "{help:?}");
    std::fs::write(home.path().join("help.yaml"), file.join("\n"))?;
    let (mut server, _) = serve(&terminal, "fpaas dev").await?;
    let said = terminal.done("fpaas apply -f help.yaml", LONG).await?;
    ensure!(said == ["subscription likes created"], "{said:?}");
    server.interrupt(LONG).await?;
    Ok(())
}

/// Only the folder and the address are the test's own.
#[tokio::test]
async fn the_example_in_the_help_of_serve_serves() -> Result<()> {
    let home = tempfile::tempdir()?;
    let terminal = at_home(home.path())?;
    let help = terminal.done("fpaas serve --help", LONG).await?;
    let mut examples = help.iter().filter_map(|line| line.trim().strip_prefix("fpaas serve --data "));
    let example = examples.next().context("no example")?;
    let arguments =
        example.strip_prefix("/var/lib/fpaas --listen 0.0.0.0:8080 ").context("another folder or address")?;
    let mut server = terminal.run(&format!("fpaas serve --data served --listen 127.0.0.1:0 {arguments}"))?;
    server.process.line(0, LONG, |line| line.contains("fpaas serve is up").then_some(())).await?;
    server.interrupt(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn every_example_of_the_help_runs() -> Result<()> {
    let home = tempfile::tempdir()?;
    let terminal = at_home(home.path())?;
    let lines = terminal.done("fpaas --help", LONG).await?;
    let examples =
        lines.iter().skip_while(|line| *line != "Examples:").skip(1).map_while(|line| line.strip_prefix("  "));
    let examples: Vec<_> = examples.filter_map(|line| line.split_once("  ")).map(|(command, _)| command).collect();
    ensure!(examples.len() >= 5, "{lines:?}");
    let mut server: Option<Typed> = None;
    for example in examples {
        let Some(example) = on_a_broker(example).await else { continue };
        let example = example.as_str();
        if example.starts_with("fpaas dev") {
            if let Some(mut before) = server.take() {
                before.interrupt(LONG).await?;
            }
            server = Some(serve(&terminal, example).await?.0);
        } else {
            run(&terminal, example).await?;
        }
    }
    server.context("no example starts a server")?.interrupt(LONG).await?;
    Ok(())
}

/// A cluster's address is the test's own; `None` where there is none to be had, which is said.
async fn on_a_broker(example: &str) -> Option<String> {
    if !example.contains("kafka://") {
        return Some(example.to_owned());
    }
    Some(example.replace("HOST:9092", &Broker::shared().await?.bootstrap()))
}

/// To its end; what follows a topic, to its first record.
async fn run(terminal: &Terminal, text: &str) -> Result<()> {
    if !text.contains("--follow") {
        terminal.done(text, LONG).await.with_context(|| text.to_owned())?;
        return Ok(());
    }
    let mut typed = terminal.run(text)?;
    typed.process.line(0, LONG, |line| line.contains("\"offset\"").then_some(())).await?;
    typed.interrupt(LONG).await?;
    Ok(())
}
