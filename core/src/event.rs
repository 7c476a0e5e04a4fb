//! The event: its kinds, its operations, the headers it travels with, and its id.
//!
//! An event's value is Jetstream v1 JSON (design §7), made in `ingest` straight from the frame. What filters and
//! deduplication need is repeated in headers, so that they need not parse it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash;

/// The headers of an event's record.
pub mod header {
    /// [`super::Kind`], as in the JSON.
    pub const KIND: &str = "kind";
    /// The NSID of a commit's collection.
    pub const COLLECTION: &str = "collection";
    /// [`super::Operation`], as in the JSON.
    pub const OPERATION: &str = "operation";
    /// The repo's revision (a TID) of a commit or sync.
    pub const REV: &str = "rev";
    /// The stable event id (design §7): the same from every upstream and after every restart.
    pub const ID: &str = "id";
    /// On a delivery or dead letter: the topic it came from.
    pub const SOURCE_TOPIC: &str = "fpaas.source.topic";
    /// The partition it came from.
    pub const SOURCE_PARTITION: &str = "fpaas.source.partition";
    /// The offset it came from.
    pub const SOURCE_OFFSET: &str = "fpaas.source.offset";
    /// On an output record: the batch whose answer it is.
    pub const BATCH_ID: &str = "fpaas.batch";
    /// What the names of a dead letter's error headers start with: `fpaas.error.reason` and so on.
    pub const ERROR_PREFIX: &str = "fpaas.error.";
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A record was created, updated or deleted.
    Commit,
    /// A handle or DID document changed.
    Identity,
    /// An account was activated, deactivated, taken down or deleted.
    Account,
    /// A repo was reset to a state (sync 1.1).
    Sync,
}

impl Kind {
    /// As in the JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Identity => "identity",
            Self::Account => "account",
            Self::Sync => "sync",
        }
    }
}

/// What was done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// It is new.
    Create,
    /// It was replaced.
    Update,
    /// It is gone.
    Delete,
}

impl Operation {
    /// As in the JSON and in the frame's ops.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// The id of a commit's op: `<did>/<collection>/<rkey>@<rev>`.
pub fn commit_id(did: &str, collection: &str, rkey: &str, rev: &str) -> String {
    [did, "/", collection, "/", rkey, "@", rev].concat()
}

/// The id of a sync event: `<did>/sync@<rev>`.
pub fn sync_id(did: &str, rev: &str) -> String {
    [did, "/sync@", rev].concat()
}

/// The id of an identity or account event: `<did>/<kind>@<hash of what it says>`. `says` are the fields without `seq`
/// and host, since `seq` differs between relays.
pub fn statement_id(did: &str, kind: Kind, says: &[&[u8]]) -> String {
    [did, "/", kind.as_str(), "@", &hash::hex(says, 16)].concat()
}

/// The id of a record that is not an event of the firehose: where it stands. `incarnation` is the control revision at
/// which the topic was made: a name that was deleted and taken again is another topic, whose offsets begin anew. 0 of
/// one whose revision nobody noted.
pub fn record_id(topic: &str, incarnation: u64, partition: u32, offset: u64) -> String {
    match incarnation {
        0 => format!("{topic}/{partition}@{offset}"),
        _ => format!("{topic}~{incarnation}/{partition}@{offset}"),
    }
}
