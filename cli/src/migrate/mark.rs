//! What both sides say of a move: a file in the folder that moves, and a topic on the cluster it moves to.
//!
//! ```text
//!             begun            finished         moved
//!   folder    ├────────────────┼────────────────┤          starts no more from `begun` on
//!   cluster       ├────────────┤                           starts from `finished` on
//! ```
//!
//! So at no moment both may start, and neither half. The folder's comes first and goes last: from then on whoever runs
//! the move again finds what it began. Owns the two marks, and what they forbid.

use std::path::{Path, PathBuf};

use fpaas_core::topics::Topics;
use fpaas_core::{Timestamp, TopicPartition};
use fpaas_log::{Log, Record, TopicSpec, Transaction};
use serde::{Deserialize, Serialize};

use super::copy::{Copier, Reader};
use crate::exit::Failure;
use crate::private;

/// The file in the folder.
pub(crate) const FILE: &str = "migration";
/// What the log is called once it has moved: nothing reads it any more.
pub(crate) const MOVED_LOG: &str = "log.moved";
const VERSION: u8 = 1;

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    /// Neither side starts.
    Begun,
    /// All is on the cluster.
    Finished,
}

/// In the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FolderMark {
    v: u8,
    /// The same on both sides.
    pub(super) id: String,
    pub(super) state: State,
    /// The cluster, as it was given, and what its names begin with.
    pub(super) to: String,
    pub(super) prefix: String,
    /// The node that will go on there.
    pub(super) node: String,
}

/// On the cluster: the last record of its topic counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterMark {
    v: u8,
    pub(super) id: String,
    pub(super) state: State,
}

/// What is on the cluster under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Nothing,
    /// A move, this one or another.
    Move(ClusterMark),
    /// Topics that no move has made.
    Others(Vec<String>),
}

impl FolderMark {
    pub(super) fn begun(id: String, to: &str, prefix: &str, node: &str) -> Self {
        let (to, prefix, node) = (to.to_owned(), prefix.to_owned(), node.to_owned());
        Self { v: VERSION, id, state: State::Begun, to, prefix, node }
    }

    /// The folder's, if it has one.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Failure> {
        let file = file(folder);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&file, &error.to_string())),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(mark) if mark.v == VERSION => Ok(Some(mark)),
            Ok(mark) => Err(unusable(&file, &format!("its version {} is not {VERSION}", mark.v))),
            Err(error) => Err(unusable(&file, &error.to_string())),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let file = file(folder);
        let text = serde_json::to_string(self).map_err(|error| unusable(&file, &error.to_string()))?;
        private::store(&file, &text).and_then(|()| synced(folder)).map_err(|error| unusable(&file, &error.to_string()))
    }

    pub(super) fn remove(folder: &Path) -> Result<(), Failure> {
        let file = file(folder);
        let removed = std::fs::remove_file(&file).and_then(|()| synced(folder));
        removed.map_err(|error| unusable(&file, &error.to_string()))
    }
}

/// A rename and a removal are on the disk once their folder is.
pub(super) fn synced(folder: &Path) -> std::io::Result<()> {
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

/// What is there under this prefix. What opening a log makes counts as nothing.
pub(super) async fn look(log: &dyn Log, topics: &Topics) -> Result<Found, Failure> {
    if let Some(mark) = read(log, topics).await? {
        return Ok(Found::Move(mark));
    }
    let ours = [topics.slots(), topics.fence(), topics.migration()];
    let mut others = log.list_topics(&format!("{}.", topics.prefix())).await?;
    others.retain(|topic| !ours.contains(topic));
    Ok(if others.is_empty() { Found::Nothing } else { Found::Others(others) })
}

async fn read(log: &dyn Log, topics: &Topics) -> Result<Option<ClusterMark>, Failure> {
    let at = TopicPartition::new(topics.migration(), 0);
    if log.describe_topic(&at.topic).await?.is_none() {
        return Ok(None);
    }
    let (mut last, mut reader) = (None, Reader::open(log, &at).await?);
    while let Some(stored) = reader.next().await? {
        last = Some(stored);
    }
    let Some(last) = last else { return Ok(None) };
    match serde_json::from_slice::<ClusterMark>(last.record.value.as_deref().unwrap_or_default()) {
        Ok(mark) if mark.v == VERSION => Ok(Some(mark)),
        Ok(mark) => Err(Failure::Failed(format!("{at}: its version {} is not {VERSION}", mark.v))),
        Err(error) => Err(Failure::Failed(format!("{at} cannot be read: {error}"))),
    }
}

/// Says on the cluster how far the move has come; saying it again does no harm.
pub(super) async fn put(copier: &mut Copier, topics: &Topics, id: &str, state: State) -> Result<(), Failure> {
    let topic = topics.migration();
    copier.to.create_topic(&topic, &TopicSpec::kept(1)).await?;
    let mark = ClusterMark { v: VERSION, id: id.to_owned(), state };
    let value = serde_json::to_vec(&mark).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut transaction = Transaction::new();
    let record = Record { value: Some(value.into()), timestamp: Timestamp::default(), ..Record::default() };
    transaction.append(TopicPartition::new(topic, 0), record);
    copier.append(transaction).await
}
