//! What a failure of the disk means for whoever runs the program, in words.

use rocksdb::ErrorKind;

use super::folder::Folder;

/// What must fit onto a disk that is not called full.
const PROBE_BYTES: usize = 1024 * 1024;

/// RocksDB could not do what it was asked to.
pub(super) fn failed(folder: &Folder, error: &rocksdb::Error) -> String {
    let path = folder.path().display();
    match error.kind() {
        ErrorKind::Corruption => damage(folder, error.as_ref()),
        ErrorKind::IOError if error.as_ref().contains("No space left") => format!(
            "the disk of the log {path} is full: free some space and start again; \
             nothing that was acknowledged is lost ({error})"
        ),
        _ => format!(
            "the log {path} cannot be read or written: check the disk and the folder's rights, then start again; \
             nothing that was acknowledged is lost ({error})"
        ),
    }
}

/// RocksDB does not say why it could not write its files in the background: a small file of ours tells.
pub(super) fn background(folder: &Folder) -> String {
    let probe = folder.path().join("probe");
    let written = std::fs::write(&probe, vec![0; PROBE_BYTES]);
    // Only a few bytes are in the way where it cannot be removed.
    let _left = std::fs::remove_file(&probe);
    let path = folder.path().display();
    match written {
        Err(error) => format!(
            "the disk of the log {path} is full: free some space and start again; \
             nothing that was acknowledged is lost ({error})"
        ),
        Ok(()) => format!(
            "the log {path} cannot write its files: check the disk and its free space, then start again; \
             nothing that was acknowledged is lost"
        ),
    }
}

/// Our own data does not read as it was written.
pub(super) fn damage(folder: &Folder, what: &str) -> String {
    format!(
        "the log {} is damaged and will not be used, so that nothing is lost silently: \
         restore it from a copy, or start with an empty folder ({what})",
        folder.path().display()
    )
}
