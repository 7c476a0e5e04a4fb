//! The ops of a commit: read, checked, and brought together with their records' blocks. Pure.
//!
//! An op that is not well-formed is dropped alone; the list or the CAR being broken drops the frame. However many ops
//! share a block, it is found once and hashed once.

use fpaas_core::event::Operation;
use fpaas_core::limits;

use crate::cbor::{Item, Reader};
use crate::cid::RecordCid;
use crate::events::Events;
use crate::gate::DropReason;
use crate::work::Work;
use crate::{car, syntax};

/// One op of a commit, and its record's block once it was found.
pub(crate) struct Op<'a> {
    pub(crate) operation: Operation,
    pub(crate) collection: &'a str,
    pub(crate) rkey: &'a str,
    cid: Option<RecordCid<'a>>,
    block: Result<&'a [u8], DropReason>,
}

impl<'a> Op<'a> {
    /// The block and CID of an op that has a record, as [`find_blocks`] found and checked them.
    pub(crate) fn record(&self) -> Result<Option<(&'a [u8], RecordCid<'a>)>, DropReason> {
        self.cid.map(|cid| self.block.map(|block| (block, cid))).transpose()
    }

    fn cid_bytes(&self) -> Option<&'a [u8; 36]> {
        self.cid.map(RecordCid::as_bytes)
    }
}

/// The ops that are well-formed; the others are counted.
pub(crate) fn read<'a>(bytes: &'a [u8], events: &mut Events) -> Result<Vec<Op<'a>>, DropReason> {
    let mut reader = Reader::new(bytes);
    let Item::Array(count) = reader.item()? else { return Err(DropReason::FrameField) };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > limits::COMMIT_OPS_MAX {
        return Err(DropReason::FrameTooManyOps);
    }
    let mut ops = Vec::with_capacity(count);
    for _ in 0..count {
        match op(reader.raw()?) {
            Ok(op) => ops.push(op),
            Err(reason) => events.drop_one(reason),
        }
    }
    Ok(ops)
}

/// `{action, path, cid}`; `prev` and what may come are passed over.
fn op(bytes: &[u8]) -> Result<Op<'_>, DropReason> {
    let (mut action, mut path, mut cid) = (None, None, None);
    Reader::new(bytes).map(|key, value| {
        let field = match key {
            "action" => &mut action,
            "path" => &mut path,
            "cid" => &mut cid,
            _ => return value.skip(),
        };
        let twice = field.replace(value.item()?).is_some();
        if twice { Err(DropReason::OpField) } else { Ok(()) }
    })?;
    let (Some(Item::Text(action)), Some(Item::Text(path))) = (action, path) else { return Err(DropReason::OpField) };
    let operation = operation(action)?;
    let (collection, rkey) = split_path(path)?;
    Ok(Op { operation, collection, rkey, cid: record_cid(operation, cid)?, block: Err(DropReason::OpBlockMissing) })
}

fn operation(action: &str) -> Result<Operation, DropReason> {
    match action {
        "create" => Ok(Operation::Create),
        "update" => Ok(Operation::Update),
        "delete" => Ok(Operation::Delete),
        _ => Err(DropReason::OpAction),
    }
}

fn split_path(path: &str) -> Result<(&str, &str), DropReason> {
    match path.split_once('/') {
        Some((collection, rkey)) if syntax::is_nsid(collection) && syntax::is_record_key(rkey) => {
            Ok((collection, rkey))
        }
        _ => Err(DropReason::OpPath),
    }
}

/// A create or update has the CID of its record, a delete has none.
fn record_cid(operation: Operation, cid: Option<Item<'_>>) -> Result<Option<RecordCid<'_>>, DropReason> {
    match (operation, cid) {
        (Operation::Delete, Some(Item::Null) | None) => Ok(None),
        (Operation::Create | Operation::Update, Some(Item::Link(bytes))) => {
            RecordCid::from_bytes(bytes).map(Some).ok_or(DropReason::OpCid)
        }
        _ => Err(DropReason::OpField),
    }
}

/// One pass over the CAR, and one hash for each record. Ops are looked up by CID through their sorted order, on the
/// stack: a commit may have 200 ops and a hostile one tens of thousands of blocks.
pub(crate) fn find_blocks<'a>(ops: &mut [Op<'a>], blocks: &'a [u8], work: &mut Work) -> Result<(), DropReason> {
    let mut order = [0u8; limits::COMMIT_OPS_MAX];
    order.iter_mut().zip(0..).for_each(|(slot, at)| *slot = at);
    let order = order.get_mut(..ops.len()).unwrap_or_default();
    order.sort_unstable_by_key(|at| cid_of(ops, *at));
    for block in car::blocks(blocks)? {
        let Some((cid, data)) = block?.split() else { continue };
        let first = order.partition_point(|at| cid_of(ops, *at) < Some(cid));
        let Some(op) = order.get(first).and_then(|at| ops.get_mut(usize::from(*at))) else { continue };
        if op.cid_bytes() == Some(cid) && op.block == Err(DropReason::OpBlockMissing) {
            op.block = Ok(data);
        }
    }
    check_blocks(ops, order, work);
    Ok(())
}

/// The first op of each CID has the block: the others get what becomes of it.
fn check_blocks(ops: &mut [Op<'_>], order: &[u8], work: &mut Work) {
    let mut checked = None;
    for at in order {
        let Some(op) = ops.get_mut(usize::from(*at)) else { continue };
        let Some(cid) = op.cid else { continue };
        op.block = match checked {
            Some((known, block)) if known == cid => block,
            _ => op.block.and_then(|block| work.hash(cid, block)),
        };
        checked = Some((cid, op.block));
    }
}

fn cid_of<'a>(ops: &[Op<'a>], at: u8) -> Option<&'a [u8; 36]> {
    ops.get(usize::from(at)).and_then(Op::cid_bytes)
}
