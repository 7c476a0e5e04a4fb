//! A message of `com.atproto.sync.subscribeRepos`: bytes to [`Frame`]. Pure, borrows from the bytes, allocates nothing.
//!
//! Checks what all of a message hangs on: its header, its required fields, DID, rev and seq. Ops and blocks stay as
//! they came; `convert` reads them. Fields this version does not know are passed over.

use crate::cbor::{Item, Reader};
use crate::gate::DropReason;
use crate::syntax;
use fpaas_core::limits;

/// A message, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Records of a repo were created, updated or deleted.
    Commit(Commit<'a>),
    /// A repo was reset to a state.
    Sync(Sync<'a>),
    /// A handle or a DID document changed.
    Identity(Identity<'a>),
    /// An account's status changed.
    Account(Account<'a>),
    /// The upstream says something about the stream itself, such as `OutdatedCursor`.
    Info(Notice<'a>),
    /// The upstream ends the stream and says why, such as `FutureCursor` or `ConsumerTooSlow`.
    Error(Notice<'a>),
    /// A type this version does not know. What its fields mean is not known either, so it has no place in the stream.
    Unknown,
}

/// `#commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    /// Place in the upstream's stream.
    pub seq: u64,
    /// The repo's DID.
    pub did: &'a str,
    /// The repo's revision, a TID.
    pub rev: &'a str,
    /// When the upstream first saw it, by its own word.
    pub time: &'a str,
    /// The upstream left the contents out.
    pub too_big: bool,
    /// The ops: a DAG-CBOR array.
    pub(crate) ops: &'a [u8],
    /// The blocks: a CAR.
    pub(crate) blocks: &'a [u8],
}

/// `#sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync<'a> {
    /// Place in the upstream's stream.
    pub seq: u64,
    /// The repo's DID.
    pub did: &'a str,
    /// The repo's revision, a TID.
    pub rev: &'a str,
    /// When the upstream first saw it, by its own word.
    pub time: &'a str,
}

/// `#identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Place in the upstream's stream.
    pub seq: u64,
    /// Whose.
    pub did: &'a str,
    /// When the upstream first saw it, by its own word.
    pub time: &'a str,
    /// The current handle, if the upstream says it.
    pub handle: Option<&'a str>,
}

/// `#account`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// Place in the upstream's stream.
    pub seq: u64,
    /// Whose.
    pub did: &'a str,
    /// When the upstream first saw it, by its own word.
    pub time: &'a str,
    /// Whether its repo can be had.
    pub active: bool,
    /// If not, why: `takendown`, `deleted`, `deactivated`, and more to come.
    pub status: Option<&'a str>,
}

/// `#info` and error frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// What it is, by a name of the Lexicon.
    pub name: &'a str,
    /// The same for people.
    pub message: Option<&'a str>,
}

impl<'a> Frame<'a> {
    /// Reads a message. What does not make one is dropped under the reason.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        if bytes.len() > limits::FRAME_BYTES_MAX {
            return Err(DropReason::FrameTooLong);
        }
        let mut reader = Reader::new(bytes);
        let frame = match header(&mut reader)? {
            Type::Error => body(&mut reader)?.notice().map(Self::Error),
            Type::Message("#commit") => body(&mut reader)?.commit().map(Self::Commit),
            Type::Message("#sync") => body(&mut reader)?.sync().map(Self::Sync),
            Type::Message("#identity") => body(&mut reader)?.identity().map(Self::Identity),
            Type::Message("#account") => body(&mut reader)?.account().map(Self::Account),
            Type::Message("#info") => body(&mut reader)?.notice().map(Self::Info),
            Type::Message(_) => reader.skip().map(|()| Self::Unknown),
        }?;
        reader.finish()?;
        Ok(frame)
    }

    /// Its place in the upstream's stream; `#info`, errors and unknown types have none.
    pub const fn seq(&self) -> Option<u64> {
        match self {
            Self::Commit(Commit { seq, .. })
            | Self::Sync(Sync { seq, .. })
            | Self::Identity(Identity { seq, .. })
            | Self::Account(Account { seq, .. }) => Some(*seq),
            Self::Info(_) | Self::Error(_) | Self::Unknown => None,
        }
    }

    /// When the upstream first saw it, as it says itself.
    pub const fn time(&self) -> Option<&'a str> {
        match self {
            Self::Commit(Commit { time, .. })
            | Self::Sync(Sync { time, .. })
            | Self::Identity(Identity { time, .. })
            | Self::Account(Account { time, .. }) => Some(time),
            Self::Info(_) | Self::Error(_) | Self::Unknown => None,
        }
    }
}

enum Type<'a> {
    Message(&'a str),
    Error,
}

/// `{op: 1, t: "#commit"}` or `{op: -1}`.
fn header<'a>(reader: &mut Reader<'a>) -> Result<Type<'a>, DropReason> {
    let (mut op, mut name) = (None, None);
    let read = reader.map(|key, value| match key {
        "op" => once(&mut op, integer(value)?),
        "t" => once(&mut name, text(value)?),
        _ => value.skip(),
    });
    match (read, op, name) {
        (Ok(()), Some(1), Some(name)) => Ok(Type::Message(name)),
        (Ok(()), Some(-1), _) => Ok(Type::Error),
        (Err(DropReason::CborTruncated), ..) => Err(DropReason::CborTruncated),
        _ => Err(DropReason::FrameHeader),
    }
}

/// Every field of every type, as far as we read them.
#[derive(Default)]
struct Body<'a> {
    seq: Option<i64>,
    repo: Option<&'a str>,
    did: Option<&'a str>,
    rev: Option<&'a str>,
    time: Option<&'a str>,
    handle: Option<&'a str>,
    status: Option<&'a str>,
    active: Option<bool>,
    too_big: Option<bool>,
    ops: Option<&'a [u8]>,
    blocks: Option<&'a [u8]>,
    name: Option<&'a str>,
    error: Option<&'a str>,
    message: Option<&'a str>,
}

fn body<'a>(reader: &mut Reader<'a>) -> Result<Body<'a>, DropReason> {
    let mut body = Body::default();
    reader.map(|key, value| match key {
        "seq" => once(&mut body.seq, integer(value)?),
        "repo" => once(&mut body.repo, text(value)?),
        "did" => once(&mut body.did, text(value)?),
        "rev" => once(&mut body.rev, text(value)?),
        "time" => once(&mut body.time, text(value)?),
        "handle" => optional(&mut body.handle, value),
        "status" => optional(&mut body.status, value),
        "active" => once(&mut body.active, boolean(value)?),
        "tooBig" => once(&mut body.too_big, boolean(value)?),
        "ops" => once(&mut body.ops, value.raw()?),
        "blocks" => once(&mut body.blocks, bytes(value)?),
        "name" => once(&mut body.name, text(value)?),
        "error" => once(&mut body.error, text(value)?),
        "message" => optional(&mut body.message, value),
        _ => value.skip(),
    })?;
    Ok(body)
}

impl<'a> Body<'a> {
    fn commit(self) -> Result<Commit<'a>, DropReason> {
        Ok(Commit {
            seq: seq(self.seq)?,
            did: did(self.repo)?,
            rev: rev(self.rev)?,
            time: required(self.time)?,
            too_big: self.too_big.unwrap_or(false),
            ops: required(self.ops)?,
            blocks: required(self.blocks)?,
        })
    }

    fn sync(self) -> Result<Sync<'a>, DropReason> {
        let (seq, did, rev) = (seq(self.seq)?, did(self.did)?, rev(self.rev)?);
        Ok(Sync { seq, did, rev, time: required(self.time)? })
    }

    fn identity(self) -> Result<Identity<'a>, DropReason> {
        if self.handle.is_some_and(|handle| !syntax::is_handle(handle)) {
            return Err(DropReason::FrameHandle);
        }
        Ok(Identity { seq: seq(self.seq)?, did: did(self.did)?, time: required(self.time)?, handle: self.handle })
    }

    fn account(self) -> Result<Account<'a>, DropReason> {
        Ok(Account {
            seq: seq(self.seq)?,
            did: did(self.did)?,
            time: required(self.time)?,
            active: required(self.active)?,
            status: self.status,
        })
    }

    fn notice(self) -> Result<Notice<'a>, DropReason> {
        Ok(Notice { name: required(self.error.or(self.name))?, message: self.message })
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), DropReason> {
    if field.replace(value).is_none() { Ok(()) } else { Err(DropReason::FrameField) }
}

/// A field that may also be there as null.
fn optional<'a>(field: &mut Option<&'a str>, reader: &mut Reader<'a>) -> Result<(), DropReason> {
    match reader.item()? {
        Item::Text(text) => once(field, text),
        Item::Null => Ok(()),
        _ => Err(DropReason::FrameField),
    }
}

const fn required<T: Copy>(field: Option<T>) -> Result<T, DropReason> {
    match field {
        Some(value) => Ok(value),
        None => Err(DropReason::FrameField),
    }
}

fn seq(field: Option<i64>) -> Result<u64, DropReason> {
    let seq = u64::try_from(required(field)?).ok();
    seq.filter(|seq| *seq <= limits::SEQ_MAX).ok_or(DropReason::FrameSeq)
}

fn did(field: Option<&str>) -> Result<&str, DropReason> {
    let did = required(field)?;
    if syntax::is_did(did) { Ok(did) } else { Err(DropReason::FrameDid) }
}

fn rev(field: Option<&str>) -> Result<&str, DropReason> {
    let rev = required(field)?;
    if syntax::is_tid(rev) { Ok(rev) } else { Err(DropReason::FrameRev) }
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DropReason> {
    if let Item::Text(text) = reader.item()? { Ok(text) } else { Err(DropReason::FrameField) }
}

fn bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DropReason> {
    if let Item::Bytes(bytes) = reader.item()? { Ok(bytes) } else { Err(DropReason::FrameField) }
}

fn integer(reader: &mut Reader<'_>) -> Result<i64, DropReason> {
    if let Item::Integer(number) = reader.item()? { Ok(number) } else { Err(DropReason::FrameField) }
}

fn boolean(reader: &mut Reader<'_>) -> Result<bool, DropReason> {
    if let Item::Bool(value) = reader.item()? { Ok(value) } else { Err(DropReason::FrameField) }
}
