//! A real SIGKILL at a random moment: what was acknowledged is there, what was not is there as a whole or not at all.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::{Clock, ManualClock, Offset, TopicPartition};
use fpaas_log::conformance::kit::{assigned, position, read, text, value};
use fpaas_log::{Embedded, EmbeddedConfig, Fsync, Log, TopicSpec, Transaction};

const FOLDER: &str = "FPAAS_TEST_LOG_FOLDER";

fn open(folder: &Path, fsync: Fsync) -> Arc<Embedded> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at_micros(1_700_000_000_000_000));
    Embedded::open(folder, EmbeddedConfig { fsync, write_buffer_bytes: 256 * 1024, ..EmbeddedConfig::new(clock) })
        .unwrap()
}

fn place(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// What the killed process does: commits and says so, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only as a child of the test below"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let log = open(Path::new(&folder), Fsync::Never);
    log.create_topic("t", &TopicSpec::kept(2)).await.unwrap();
    let mut membership = log.join("group", "member").await.unwrap();
    let writer = log.writer("writer", Some(&membership)).await.unwrap();
    let leases = assigned(&mut membership).await;
    let from = position(&*log, "group", &place(0)).await.map_or(0, |position| position.offset.0);
    for n in from.. {
        let mut transaction = Transaction::under(&leases[0]);
        transaction.append(place(0), text(format!("{n} {}", "x".repeat(n as usize % 3000))));
        transaction.append(place(1), text(n.to_string()));
        transaction.advance(place(0), Offset(n + 1), Bytes::new());
        writer.commit(transaction).await.unwrap();
        writeln!(std::io::stdout(), "acknowledged {}", n + 1).unwrap();
    }
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child once it has acknowledged so many more; what it said last.
fn kill_after(mut child: Child, more: usize) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let number = |line: String| line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse().ok());
    let mut last = lines.by_ref().filter_map(number).nth(more).unwrap();
    child.kill().unwrap();
    // What it had said before the kill counts too.
    lines.filter_map(number).for_each(|n| last = n);
    assert!(!child.wait().unwrap().success());
    last
}

#[tokio::test]
async fn a_killed_process_keeps_what_it_acknowledged_and_no_half_of_anything() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..12usize {
        let acknowledged = kill_after(start(folder.path()), round * 97 % 400);
        let log = open(folder.path(), Fsync::Never);
        let moved = position(&*log, "group", &place(0)).await.unwrap().offset.0;
        assert!(moved >= acknowledged, "round {round}: {moved} of {acknowledged}");
        for partition in 0..2 {
            let records = read(&*log, &place(partition)).await;
            assert_eq!(records.len() as u64, moved, "round {round}");
            let in_order = records
                .iter()
                .enumerate()
                .all(|(n, record)| value(record).split(' ').next() == Some(n.to_string().as_str()));
            assert!(in_order, "round {round}");
        }
        log.close().unwrap();
    }
}
