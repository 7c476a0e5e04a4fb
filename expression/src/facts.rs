//! What filters see of a record without parsing it: its headers and its key.

use fpaas_core::Headers;
use fpaas_core::event::{Kind, Operation, header};

/// Borrowed from one record. A record that is not an event has no kind, and then no constraint on kinds, collections,
/// operations or DIDs holds for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'r> {
    /// What happened.
    pub kind: Option<Kind>,
    /// The collection of a commit.
    pub collection: Option<&'r [u8]>,
    /// What a commit did.
    pub operation: Option<Operation>,
    /// Whose repo it is: an event's key.
    pub did: Option<&'r [u8]>,
}

impl<'r> Facts<'r> {
    /// Reads them in one pass. The last one of equal headers counts.
    pub fn of(key: Option<&'r [u8]>, headers: &'r Headers) -> Self {
        let mut facts = Self::default();
        for (name, value) in headers.iter() {
            match name {
                header::KIND => facts.kind = kind(value),
                header::COLLECTION => facts.collection = Some(value),
                header::OPERATION => facts.operation = operation(value),
                _ => {}
            }
        }
        if facts.kind.is_some() {
            facts.did = key;
        }
        facts
    }
}

fn kind(value: &[u8]) -> Option<Kind> {
    match value {
        b"commit" => Some(Kind::Commit),
        b"identity" => Some(Kind::Identity),
        b"account" => Some(Kind::Account),
        b"sync" => Some(Kind::Sync),
        _ => None,
    }
}

fn operation(value: &[u8]) -> Option<Operation> {
    match value {
        b"create" => Some(Operation::Create),
        b"update" => Some(Operation::Update),
        b"delete" => Some(Operation::Delete),
        _ => None,
    }
}
