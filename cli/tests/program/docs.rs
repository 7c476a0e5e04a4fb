//! Every `sh` block of README and docs runs, against a server that reads the recording. Blocks of other kinds (`make
//! demo`, programs that run until they are stopped) are tried where they are tested anyhow.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::{KEY, LONG, Place, recording};

/// One block, and where it stands.
struct Block {
    file: PathBuf,
    line: usize,
    text: String,
}

fn blocks() -> Result<Vec<Block>> {
    let root = fpaas_testkit::checkout();
    let mut files = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let mut open: Option<Block> = None;
        for (at, line) in text.lines().enumerate() {
            match &mut open {
                Some(_) if line.trim_end() == "```" => found.extend(open.take()),
                Some(block) => block.text.push_str(&format!("{line}\n")),
                None if line.trim_end() == "```sh" => {
                    open = Some(Block { file: file.clone(), line: at + 1, text: String::new() });
                }
                None => {}
            }
        }
    }
    Ok(found)
}

#[tokio::test]
async fn every_command_that_the_docs_show_runs() -> Result<()> {
    let blocks = blocks()?;
    ensure!(blocks.len() >= 3, "only {} blocks were found", blocks.len());
    // A page is read from its top, on a server of its own.
    for page in blocks.chunk_by(|one, next| one.file == next.file) {
        let place = Place::new().await?;
        let mut running = place.dev()?.upstream(recording("max")).start().await?;
        for block in page {
            run(block, running.api.url()).await?;
        }
        ensure!(running.process.stop(LONG).await?.success());
    }
    Ok(())
}

#[tokio::test]
async fn every_tip_that_dev_prints_runs() -> Result<()> {
    let place = Place::new().await?;
    let mut running = place.dev()?.upstream(recording("max")).start().await?;
    // The last of them.
    running.process.line(0, LONG, |line| line.ends_with(" status").then_some(())).await?;
    let lines = running.process.lines();
    let tips: Vec<_> = lines.iter().skip_while(|line| !line.starts_with("Try next")).skip(1).collect();
    let tips: Vec<_> = tips.into_iter().filter(|line| line.starts_with("  ")).collect();
    ensure!(tips.len() == 3, "{lines:?}");
    for text in tips {
        // What follows a topic goes on until it is stopped.
        let text = if text.contains("--follow") {
            text.replace("--follow", "--follow -n 1 --from earliest")
        } else {
            text.clone()
        };
        let text = text.replacen("--from latest", "", 1);
        run(&Block { file: "the tips of fpaas dev".into(), line: 0, text }, running.api.url()).await?;
    }
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}

async fn run(block: &Block, server: &str) -> Result<()> {
    let program = fpaas_testkit::process::program("fpaas")?;
    let folder = program.parent().context("the program has no folder")?;
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &block.text]).current_dir(fpaas_testkit::checkout()).kill_on_drop(true);
    shell.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH")?));
    shell.env("FPAAS_SERVER", server).env("FPAAS_API_KEY", KEY);
    let output = tokio::time::timeout(LONG, shell.output()).await;
    let place = format!("{}:{}", block.file.display(), block.line);
    let output = output.with_context(|| format!("{place} does not end"))??;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{place}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    Ok(())
}
