//! What a move of an installation to a cluster leaves on both sides: a file in the folder, and a topic on the cluster.
//!
//! ```text
//!             begun            finished         moved
//!   folder    ├────────────────┼────────────────┤          starts no more from `begun` on
//!   cluster       ├────────────┤                           starts from `finished` on
//! ```
//!
//! So at no moment both may start, and neither half. The folder's comes first and goes last: from then on whoever runs
//! the move again finds what it began. Owns what the marks say and forbid, not when they are made (`migrate`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fpaas_core::topics::Topics;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{FetchBounds, Log};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::private;

/// The file in the folder.
pub(crate) const FILE: &str = "migration";
/// What the log is called once it has moved: nothing reads it any more.
pub(crate) const MOVED_LOG: &str = "log.moved";
/// How long what is appended and not readable yet is waited for at a time.
const WAIT: Duration = Duration::from_millis(100);
const VERSION: u8 = 1;

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    /// Neither side starts.
    Begun,
    /// All is on the cluster.
    Finished,
}

/// In the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FolderMark {
    v: u8,
    /// The same on both sides.
    pub(crate) id: String,
    pub(crate) state: State,
    /// The cluster, as it was given, and what its names begin with.
    pub(crate) to: String,
    pub(crate) prefix: String,
    /// The node that will go on there.
    pub(crate) node: String,
}

/// On the cluster: the last record of its topic counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterMark {
    v: u8,
    pub(crate) id: String,
    pub(crate) state: State,
}

impl ClusterMark {
    pub(crate) fn new(id: &str, state: State) -> Self {
        Self { v: VERSION, id: id.to_owned(), state }
    }
}

impl FolderMark {
    pub(crate) fn begun(id: String, to: &str, prefix: &str, node: &str) -> Self {
        let (to, prefix, node) = (to.to_owned(), prefix.to_owned(), node.to_owned());
        Self { v: VERSION, id, state: State::Begun, to, prefix, node }
    }

    /// The folder's, if it has one.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, Failure> {
        let file = file(folder);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            // No folder there: whoever uses it says what is wrong with that.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(unusable(&file, &error.to_string())),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(mark) if mark.v == VERSION => Ok(Some(mark)),
            Ok(mark) => Err(unusable(&file, &format!("its version {} is not {VERSION}", mark.v))),
            Err(error) => Err(unusable(&file, &error.to_string())),
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let file = file(folder);
        let text = serde_json::to_string(self).map_err(|error| unusable(&file, &error.to_string()))?;
        private::store(&file, &text).and_then(|()| synced(folder)).map_err(|error| unusable(&file, &error.to_string()))
    }

    pub(crate) fn remove(folder: &Path) -> Result<(), Failure> {
        let file = file(folder);
        let removed = std::fs::remove_file(&file).and_then(|()| synced(folder));
        removed.map_err(|error| unusable(&file, &error.to_string()))
    }
}

/// A rename and a removal are on the disk once their folder is.
pub(crate) fn synced(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

fn unusable(file: &Path, why: &str) -> Failure {
    Failure::Folder(format!("{} cannot be used: {why}", file.display()))
}

/// Refuses a folder that moves or has moved, for a node whose log is there (`embedded`) or on a cluster.
pub(crate) fn refuse_folder(folder: &Path, embedded: bool) -> Result<(), Failure> {
    let Some(FolderMark { state, to, prefix, .. }) = FolderMark::read(folder)? else { return Ok(()) };
    let folder = folder.display();
    match state {
        State::Begun => Err(Failure::Folder(format!(
            "the installation in {folder} is moving to {to}: finish with fpaas migrate --from {folder} --to {to} \
             --topic-prefix {prefix}, or give up with the same and --abandon"
        ))),
        State::Finished if embedded => Err(Failure::Folder(format!(
            "the installation in {folder} has moved: give --log {to} --topic-prefix {prefix}"
        ))),
        State::Finished => Ok(()),
    }
}

/// Refuses a cluster on which not all of an installation that moves there is yet.
pub(crate) async fn refuse_cluster(log: &dyn Log, topics: &Topics) -> Result<(), Failure> {
    match read(log, topics).await? {
        Some(mark) if mark.state == State::Begun => Err(Failure::Usage(format!(
            "an installation is moving to these topics ({}.…) and not all of it is there: finish fpaas migrate first, \
             or choose another --topic-prefix",
            topics.prefix()
        ))),
        _ => Ok(()),
    }
}

/// What the cluster says, if it says anything.
pub(crate) async fn read(log: &dyn Log, topics: &Topics) -> Result<Option<ClusterMark>, Failure> {
    let at = TopicPartition::new(topics.migration(), 0);
    if log.describe_topic(&at.topic).await?.is_none() {
        return Ok(None);
    }
    let (mut last, mut next, end) = (None, Offset::ZERO, log.appended_end(&at).await?);
    while next < end {
        let fetched = log.fetch(&at, next, FetchBounds::waiting(WAIT)).await?;
        last = fetched.records.into_iter().last().or(last);
        next = fetched.next;
    }
    let Some(last) = last else { return Ok(None) };
    match serde_json::from_slice::<ClusterMark>(last.record.value.as_deref().unwrap_or_default()) {
        Ok(mark) if mark.v == VERSION => Ok(Some(mark)),
        Ok(mark) => Err(Failure::Failed(format!("{at}: its version {} is not {VERSION}", mark.v))),
        Err(error) => Err(Failure::Failed(format!("{at} cannot be read: {error}"))),
    }
}
