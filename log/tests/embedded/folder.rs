//! Folders that cannot be used, and disks that are full: said clearly, and nothing lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fpaas_core::{Clock, ManualClock, TopicPartition};
use fpaas_log::conformance::kit::{append, appending, numbers, text, values};
use fpaas_log::{Embedded, EmbeddedConfig, Error, Fsync, Log, TopicSpec};

fn config() -> EmbeddedConfig {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at_micros(1_700_000_000_000_000));
    EmbeddedConfig { write_buffer_bytes: 256 * 1024, ..EmbeddedConfig::new(clock) }
}

/// The message of a refusal, which names the folder.
fn refusal(folder: &Path) -> String {
    match Embedded::open(folder, config()) {
        Err(Error::Fatal(message)) => {
            assert!(message.contains(&folder.display().to_string()), "{message}");
            message
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_in_use_is_refused_until_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(folder.path(), config()).unwrap();
    assert!(refusal(folder.path()).contains("another fpaas is using it"));
    drop(log);
    Embedded::open(folder.path(), config()).unwrap();
}

#[test]
fn a_folder_that_holds_other_things_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
    let message = refusal(folder.path());
    assert!(message.contains("holds other things (thesis.txt)"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_folder_and_one_whose_making_was_interrupted_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fpaas.lock"), "").unwrap();
    fs::write(folder.path().join("FORMAT.new"), "fpaas emb").unwrap();
    Embedded::open(folder.path(), config()).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Embedded::open(folder.path(), config()).unwrap());
    let format = folder.path().join("FORMAT");
    let text = fs::read_to_string(&format).unwrap();
    fs::write(&format, text.replace("format 1", "format 2")).unwrap();
    let message = refusal(folder.path());
    assert!(message.contains("newer fpaas (format 2, this one knows 1)"), "{message}");
    fs::write(&format, "fpaas embedded log, format one").unwrap();
    assert!(refusal(folder.path()).contains("damaged or not ours"));
    fs::write(&format, text).unwrap();
    Embedded::open(folder.path(), config()).unwrap();
}

#[test]
fn a_file_is_not_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let message = refusal(&file);
    assert!(message.contains("it is not a folder"), "{message}");
    assert!(refusal(&file.join("below")).contains("it is not a folder"));
}

#[test]
fn a_folder_that_cannot_be_written_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(folder.path(), "size=1m,ro") else {
        // Without root the rights of the folder are enough.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
        assert!(refusal(folder.path()).contains("it cannot be written"));
        return;
    };
    let message = refusal(mount.path());
    assert!(message.contains("it cannot be written"), "{message}");
}

#[tokio::test]
async fn a_full_disk_ends_the_log_clearly_and_loses_nothing() {
    for fsync in [Fsync::Always, Fsync::Never] {
        let folder = tempfile::tempdir().unwrap();
        let Some(mount) = Mount::new(folder.path(), "size=12m") else { return };
        let path = mount.path().join("log");
        let config = EmbeddedConfig { fsync, ..config() };
        let log = Embedded::open(&path, config.clone()).unwrap();
        log.create_topic("t", &TopicSpec::kept(1)).await.unwrap();
        let (at, writer) = (TopicPartition::new("t", 0), log.writer("writer", None).await.unwrap());
        let mut acknowledged = 0;
        let error = loop {
            let record = text(format!("{acknowledged} {}", noise(acknowledged)));
            match writer.commit(appending(&at, [record])).await {
                Ok(_) => acknowledged += 1,
                Err(rejected) => break rejected.error,
            }
        };
        assert!(matches!(&error, Error::Fatal(message) if message.contains("is full: free some space")), "{error}");
        assert!(matches!(log.list_topics("").await, Err(Error::Fatal(_))), "every later call is refused");
        assert!(acknowledged > 10);
        drop((writer, log));
        mount.resize("64m");
        let log = Embedded::open(&path, config).unwrap();
        let found = values(&*log, &at).await;
        let found: Vec<_> = found.iter().map(|value| value.split(' ').next().unwrap().to_owned()).collect();
        // The record that did not fit may have been written as a whole all the same; nothing else may differ.
        assert!(found == numbers(0..acknowledged) || found == numbers(0..acknowledged + 1), "{}", found.len());
        append(&*log.writer("writer", None).await.unwrap(), &at, [text("after")]).await;
    }
}

/// 20 kB that no codec shrinks.
fn noise(seed: u32) -> String {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(33 + (state % 90) as u8)
    };
    (0..20_000).map(next).collect()
}

/// A file system in memory, of a size of its own. Needs root; without it the test says that it was skipped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, options: &str) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        fpaas_testkit::skip(fpaas_testkit::Need::Mount, "what a small file system does");
        None
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn resize(&self, size: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
