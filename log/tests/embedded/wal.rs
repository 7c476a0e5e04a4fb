//! What a power cut may leave of several write-ahead logs, and what it may not.
//!
//! The folder here is one whose sorted files are those of the first moment and whose logs are all that were written
//! since, as where the disk was too slow to follow: every log is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fpaas_log::conformance::kit::{append, read, text, value};
use fpaas_log::{Embedded, EmbeddedConfig, Error, Fsync, Log, Result, TopicSpec};
use tempfile::TempDir;

use crate::history::{
    TRANSACTIONS, config, cut, fill_and, flip, places, punch, runtime, scattered, whole_transactions,
};
use crate::support::copy;

/// So little that a new log is begun every few transactions.
fn small(fsync: Fsync) -> EmbeddedConfig {
    EmbeddedConfig { write_buffer_bytes: 64 * 1024, ..config(fsync) }
}

/// The history of one log and what it leaves.
struct Past {
    folder: TempDir,
    fsync: Fsync,
    /// Every log, in order.
    logs: Vec<Written>,
}

/// One write-ahead log: its name, its length, and where in it transactions end.
struct Written {
    name: String,
    length: u64,
    ends: Vec<u64>,
}

impl Past {
    fn new(fsync: Fsync) -> Self {
        Self::after(fsync, async |_| ())
    }

    /// The same, with something done first.
    fn after(fsync: Fsync, first: impl AsyncFnOnce(&Embedded)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let past = |name: &str| folder.path().join(name);
        fs::create_dir(past("logs")).unwrap();
        let log = Embedded::open(&past("live"), small(fsync)).unwrap();
        copy(&past("live"), &past("first"));
        runtime().block_on(first(&log));
        let mut ends = Vec::new();
        let half = TRANSACTIONS as usize / 2;
        runtime().block_on(fill_and(&log, || {
            ends.push(keep_logs(&past("live/db"), &past("logs")));
            if ends.len() == half {
                wait_for_files(&past("live/db"));
                copy(&past("live"), &past("half"));
            }
        }));
        copy(&past("live"), &past("last"));
        drop(log);
        let names = logs(&past("logs")).into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        let logs: Vec<_> = names
            .map(|name| Written {
                length: fs::metadata(past("logs").join(&name)).unwrap().len(),
                ends: ends.iter().filter(|(log, _)| *log == name).map(|(_, end)| *end).collect(),
                name,
            })
            .collect();
        assert!(logs.len() > 5, "{} logs", logs.len());
        assert_eq!(logs.iter().map(|log| log.ends.len()).sum::<usize>(), TRANSACTIONS as usize);
        Self { folder, fsync, logs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How many transactions end in the logs before the one of this number, and in that one up to `at`.
    fn before(&self, number: usize, at: u64) -> u32 {
        let earlier: usize = self.logs[..number].iter().map(|log| log.ends.len()).sum();
        (earlier + self.logs[number].ends.iter().filter(|end| **end <= at).count()) as u32
    }

    /// Places all over the logs: some anywhere, and each log's start and the ends of its first and last but one.
    fn places(&self, count: usize) -> Vec<(usize, u64)> {
        let anywhere =
            |number: usize| scattered(count, self.logs[number].length as usize).map(move |at| (number, at as u64));
        let edges = |number: usize| {
            let ends = &self.logs[number].ends;
            [Some(&0), ends.first(), ends.iter().nth_back(1)].into_iter().flatten().map(move |at| (number, *at))
        };
        (0..self.logs.len()).flat_map(|number| anywhere(number).chain(edges(number))).collect()
    }

    /// All logs, and nothing in sorted files but what was there first.
    fn with_all_logs(&self) -> Remains {
        let remains = Remains::of(&self.path("first"), self.fsync);
        self.logs.iter().for_each(|log| remains.bring(&self.path("logs").join(&log.name)));
        remains
    }
}

/// What is left in a folder of its own.
struct Remains {
    folder: TempDir,
    fsync: Fsync,
}

impl Remains {
    fn of(folder: &Path, fsync: Fsync) -> Self {
        let remains = Self { folder: tempfile::tempdir().unwrap(), fsync };
        copy(folder, &remains.path());
        remains
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path().join("db").join(name)
    }

    /// Puts a log there.
    fn bring(&self, log: &Path) {
        fs::copy(log, self.log(log.file_name().unwrap().to_str().unwrap())).unwrap();
    }

    fn open(&self) -> Result<Arc<Embedded>> {
        Embedded::open(&self.path(), small(self.fsync))
    }

    fn transactions(&self) -> u32 {
        runtime().block_on(whole_transactions(&self.open().unwrap()))
    }
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    logs.sort();
    logs
}

/// Holds on to every log there is, also when RocksDB removes it; the newest and its length.
fn keep_logs(live: &Path, kept: &Path) -> (String, u64) {
    let live = logs(live);
    for log in &live {
        let link = kept.join(log.file_name().unwrap());
        if !link.exists() {
            fs::hard_link(log, link).unwrap();
        }
    }
    let newest = live.iter().rfind(|log| fs::metadata(log).unwrap().len() > 0).unwrap();
    (newest.file_name().unwrap().to_str().unwrap().to_owned(), fs::metadata(newest).unwrap().len())
}

/// Forces everything onto the disk, whatever the setting: files go only when what justifies it is there.
async fn sync(log: &Embedded) {
    log.create_topic("gone", &TopicSpec::kept(1)).await.unwrap();
    log.delete_topic("gone").await.unwrap();
}

/// Until all but the newest log are over. RocksDB has nothing to wait on: its files tell.
fn wait_for_files(live: &Path) {
    while logs(live).len() > 1 {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn several_logs_are_read_one_after_the_other() {
    for fsync in [Fsync::Always, Fsync::Never] {
        assert_eq!(Past::new(fsync).with_all_logs().transactions(), TRANSACTIONS);
    }
}

#[test]
fn where_one_of_several_logs_ends_too_early_the_later_ones_are_cut_away() {
    let past = Past::new(Fsync::Never);
    for (number, at) in past.places(4) {
        let remains = past.with_all_logs();
        cut(&remains.log(&past.logs[number].name), at);
        assert_eq!(remains.transactions(), past.before(number, at), "log {number} of {} at {at}", past.logs.len());
    }
    for number in 0..past.logs.len() {
        let remains = past.with_all_logs();
        fs::remove_file(remains.log(&past.logs[number].name)).unwrap();
        assert_eq!(remains.transactions(), past.before(number, 0), "without log {number}");
    }
}

/// What came before it is in sorted files, and was forced onto the disk; it was not.
#[test]
fn a_hole_at_the_start_of_the_oldest_log_is_cut_like_any_other() {
    let past = Past::after(Fsync::Never, async |log| sync(log).await);
    let oldest = logs(&past.path("half/db")).remove(0);
    let number = past.logs.iter().position(|log| oldest.ends_with(&log.name)).unwrap();
    let expected = past.before(number, 0);
    assert!(expected > 0 && number + 1 < past.logs.len());
    // The first of them is a whole header: one byte of a checksum may be zero already.
    for zeros in [7, 20, 500, 40_000] {
        let remains = Remains::of(&past.path("half"), Fsync::Never);
        past.logs[number..].iter().for_each(|log| remains.bring(&past.path("logs").join(&log.name)));
        punch(&remains.log(&past.logs[number].name), 0, zeros);
        assert_eq!(remains.transactions(), expected, "{zeros} zeros");
    }
}

#[test]
fn a_hole_in_one_of_several_logs_that_were_never_synced_is_cut_to_a_prefix() {
    let past = Past::new(Fsync::Never);
    for (n, (number, at)) in past.places(3).into_iter().enumerate() {
        let remains = past.with_all_logs();
        punch(&remains.log(&past.logs[number].name), at as usize, 40 + n * 7919 % 70_000);
        assert_eq!(remains.transactions(), past.before(number, at), "log {number} of {} at {at}", past.logs.len());
    }
}

#[test]
fn damage_in_one_of_several_logs_that_were_synced_stops_the_open() {
    let past = Past::new(Fsync::Always);
    let last = past.logs.len() - 1;
    let is_damaged = |remains: &Remains, what: &str| {
        let opened = remains.open();
        let damaged = matches!(&opened, Err(Error::Fatal(message)) if message.contains("is damaged"));
        assert!(damaged, "{what}: {opened:?}");
    };
    for (n, (number, at)) in past.places(3).into_iter().enumerate() {
        // The last transaction cannot be told from a torn tail.
        if past.before(number, at) < TRANSACTIONS - 1 {
            let remains = past.with_all_logs();
            flip(&remains.log(&past.logs[number].name), at as usize, 1 << (n % 8));
            is_damaged(&remains, &format!("a bit in log {number} at {at}"));
        }
        if number < last {
            let remains = past.with_all_logs();
            cut(&remains.log(&past.logs[number].name), at);
            is_damaged(&remains, &format!("log {number} cut at {at}"));
        }
    }
    for number in 0..last {
        let remains = past.with_all_logs();
        fs::remove_file(remains.log(&past.logs[number].name)).unwrap();
        is_damaged(&remains, &format!("without log {number}"));
    }
}

/// Their removal was not on the disk when the power went, and what they hold is in sorted files.
#[test]
fn logs_that_are_over_and_came_back_in_any_state_change_nothing() {
    for fsync in [Fsync::Always, Fsync::Never] {
        let past = Past::new(fsync);
        let mut hurt = 0;
        for (n, (number, at)) in past.places(2).into_iter().enumerate() {
            let remains = Remains::of(&past.path("last"), fsync);
            let log = remains.log(&past.logs[number].name);
            if log.exists() {
                continue;
            }
            // All of them came back; one is not what it was.
            let over = past.logs.iter().filter(|log| !remains.log(&log.name).exists());
            over.for_each(|log| remains.bring(&past.path("logs").join(&log.name)));
            match n % 3 {
                0 => cut(&log, at),
                1 => punch(&log, at as usize, 1000),
                _ => fs::write(&log, "not a log".repeat(n + 1)).unwrap(),
            }
            assert_eq!(remains.transactions(), TRANSACTIONS, "{fsync:?}: log {number} at {at}");
            hurt += 1;
        }
        assert!(hurt > 10, "{hurt}");
    }
}

/// The newest logs go first, so that whatever is left lies behind the same hole.
#[test]
fn a_cut_that_was_interrupted_is_done_again_to_the_same_prefix() {
    let past = Past::new(Fsync::Never);
    let (hole, last) = (past.logs.len() / 3, past.logs.len() - 1);
    let at = past.logs[hole].ends[1];
    for done in 0..=last - hole {
        let remains = past.with_all_logs();
        punch(&remains.log(&past.logs[hole].name), at as usize, 500);
        past.logs.iter().rev().take(done).for_each(|log| cut(&remains.log(&log.name), 0));
        assert_eq!(remains.transactions(), past.before(hole, at), "{done} of {} cut", last - hole);
    }
}

#[test]
fn a_log_goes_on_after_a_cut_and_what_was_cut_never_comes_back() {
    let past = Past::new(Fsync::Never);
    let (hole, last) = (2, past.logs.len() - 1);
    let remains = past.with_all_logs();
    cut(&remains.log(&past.logs[hole].name), past.logs[hole].ends[0]);
    let expected = past.before(hole, past.logs[hole].ends[0]);
    // RocksDB removes them; their names are what a power cut may bring back.
    let names: Vec<_> = logs(&remains.path().join("db"));
    let kept = remains.folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    names.iter().for_each(|log| fs::hard_link(log, kept.join(log.file_name().unwrap())).unwrap());
    assert!(names.len() > last);
    let log = remains.open().unwrap();
    runtime().block_on(async {
        assert_eq!(whole_transactions(&log).await, expected);
        append(&*log.writer("writer", None).await.unwrap(), &places()[0], [text("after")]).await;
    });
    let next = Remains::of(&remains.path(), Fsync::Never);
    logs(&kept).iter().for_each(|log| next.bring(log));
    let values = runtime().block_on(async { read(&*next.open().unwrap(), &places()[0]).await });
    let values: Vec<_> = values.iter().map(value).collect();
    assert_eq!((values.len(), values.last().map(String::as_str)), (expected as usize + 1, Some("after")));
}
