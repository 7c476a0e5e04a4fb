//! All filters of a source, turned round: from a record to the subscriptions that may want it. Pure.
//!
//! A subscription is entered under the rarest thing it names: its DIDs, else its collections, else its kinds; one
//! without any of these is asked about every record. So what a record costs follows from how many subscriptions want
//! something like it, not from how many there are. Shared by all partitions of a source.

use std::collections::HashMap;
use std::sync::Arc;

use fpaas_core::event::{Kind, Operation};
use fpaas_expression::{Facts, Filter, Pattern};

use crate::Member;

/// Numbers of members, in the order of [`Index::members`].
type Numbers = Vec<u32>;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Index {
    members: Vec<Arc<Member>>,
    by_did: HashMap<Box<[u8]>, Numbers>,
    exact: HashMap<Box<[u8]>, ByOperation>,
    below: HashMap<Box<[u8]>, ByOperation>,
    by_kind: [ByOperation; 4],
    anything: Numbers,
}

/// Create, update, delete, and none of them.
#[derive(Debug, Default)]
struct ByOperation([Numbers; 4]);

/// The subscriptions a record may be for. Kept from record to record, so that looking one up allocates nothing.
#[derive(Debug, Default)]
pub struct Candidates(Numbers);

impl Index {
    /// Over these, numbered in their order.
    pub fn new(members: Vec<Arc<Member>>) -> Self {
        let mut index = Self::default();
        for (number, member) in (0u32..).zip(&members) {
            index.enter(number, &member.filter);
        }
        Self { members, ..index }
    }

    /// In the order of their numbers.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// The numbers of those whose filter admits the record by its headers and key, in order.
    pub fn admitted<'c>(&self, facts: &Facts<'_>, candidates: &'c mut Candidates) -> &'c [u32] {
        let found = &mut candidates.0;
        found.clear();
        self.collect(facts, found);
        if found.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        found.retain(|number| self.members.get(*number as usize).is_some_and(|member| member.filter.admits(facts)));
        found
    }

    fn collect(&self, facts: &Facts<'_>, found: &mut Numbers) {
        found.extend_from_slice(&self.anything);
        let Some(kind) = facts.kind else { return };
        if let Some(numbers) = facts.did.and_then(|did| self.by_did.get(did)) {
            found.extend_from_slice(numbers);
        }
        found.extend_from_slice(of_kind(&self.by_kind, kind).get(facts.operation));
        if let Some(collection) = facts.collection {
            self.collect_collection(collection, facts.operation, found);
        }
    }

    fn collect_collection(&self, collection: &[u8], operation: Option<Operation>, found: &mut Numbers) {
        if let Some(entered) = self.exact.get(collection) {
            found.extend_from_slice(entered.get(operation));
        }
        if self.below.is_empty() {
            return;
        }
        let dots = collection.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        for (at, _) in dots {
            if let Some(entered) = collection.get(..at).and_then(|prefix| self.below.get(prefix)) {
                found.extend_from_slice(entered.get(operation));
            }
        }
    }

    fn enter(&mut self, number: u32, filter: &Filter) {
        if !filter.dids.is_empty() {
            for did in &filter.dids {
                self.by_did.entry(did.clone()).or_default().push(number);
            }
        } else if !filter.collections.is_empty() {
            for pattern in &filter.collections {
                let (table, name) = match pattern {
                    Pattern::Exact(name) => (&mut self.exact, name),
                    Pattern::Below(name) => (&mut self.below, name),
                };
                table.entry(name.clone()).or_default().enter(number, filter);
            }
        } else if filter.kinds.is_empty() && !filter.only_commits() {
            self.anything.push(number);
        } else {
            let kinds = [Kind::Commit, Kind::Identity, Kind::Account, Kind::Sync];
            for kind in kinds.into_iter().filter(|kind| filter.admits_kind(Some(*kind))) {
                of_kind_mut(&mut self.by_kind, kind).enter(number, filter);
            }
        }
    }
}

impl ByOperation {
    const EACH: [Option<Operation>; 4] =
        [Some(Operation::Create), Some(Operation::Update), Some(Operation::Delete), None];

    fn get(&self, operation: Option<Operation>) -> &[u32] {
        let [create, update, delete, none] = &self.0;
        match operation {
            Some(Operation::Create) => create,
            Some(Operation::Update) => update,
            Some(Operation::Delete) => delete,
            None => none,
        }
    }

    fn enter(&mut self, number: u32, filter: &Filter) {
        for (operation, numbers) in Self::EACH.into_iter().zip(&mut self.0) {
            let named = operation.is_some_and(|operation| filter.operations.contains(&operation));
            if filter.operations.is_empty() || named {
                numbers.push(number);
            }
        }
    }
}

fn of_kind(by_kind: &[ByOperation; 4], kind: Kind) -> &ByOperation {
    let [commit, identity, account, sync] = by_kind;
    match kind {
        Kind::Commit => commit,
        Kind::Identity => identity,
        Kind::Account => account,
        Kind::Sync => sync,
    }
}

fn of_kind_mut(by_kind: &mut [ByOperation; 4], kind: Kind) -> &mut ByOperation {
    let [commit, identity, account, sync] = by_kind;
    match kind {
        Kind::Commit => commit,
        Kind::Identity => identity,
        Kind::Account => account,
        Kind::Sync => sync,
    }
}
