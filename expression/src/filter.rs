//! A subscription's filter, compiled once. Pure. [`Filter::admits`] is the plain meaning that the index is tested
//! against.

use std::collections::HashSet;

use fpaas_core::event::{Kind, Operation};
use fpaas_core::subscription;

use crate::{Document, EvaluationError, Expression, ExpressionError, Facts};

/// An absent or empty list is no constraint; collections or operations imply commits.
#[derive(Debug)]
pub struct Filter {
    /// What happened.
    pub kinds: Vec<Kind>,
    /// What a commit did.
    pub operations: Vec<Operation>,
    /// Where.
    pub collections: Vec<Pattern>,
    /// Whose repos.
    pub dids: HashSet<Box<[u8]>>,
    /// A `match` that does not compile is kept as such: it fails on every record, and that is counted.
    expression: Option<Result<Expression, ExpressionError>>,
}

/// An NSID, or all below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This one.
    Exact(Box<[u8]>),
    /// Without the last dot: `app.bsky.feed` of `app.bsky.feed.*`.
    Below(Box<[u8]>),
}

impl Filter {
    /// Compiles what the API has validated.
    pub fn compile(filter: &subscription::Filter) -> Self {
        Self {
            kinds: filter.kinds.clone(),
            operations: filter.operations.clone(),
            collections: filter.collections.iter().map(|text| Pattern::parse(text)).collect(),
            dids: filter.dids.iter().map(|did| did.as_str().as_bytes().into()).collect(),
            expression: filter.expression.as_deref().map(Expression::compile),
        }
    }

    /// What the headers and the key say; a `match` may still refuse the record.
    pub fn admits(&self, facts: &Facts<'_>) -> bool {
        self.admits_kind(facts.kind)
            && (self.operations.is_empty() || facts.operation.is_some_and(|one| self.operations.contains(&one)))
            && (self.collections.is_empty() || facts.collection.is_some_and(|one| self.admits_collection(one)))
            && (self.dids.is_empty() || facts.did.is_some_and(|did| self.dids.contains(did)))
    }

    /// Whether a record with this value passes: all of it, one record at a time. The router shares what it can between
    /// subscriptions, and comes to the same.
    pub fn passes(&self, facts: &Facts<'_>, value: Option<&[u8]>) -> Result<bool, EvaluationError> {
        match self.expression() {
            _ if !self.admits(facts) => Ok(false),
            None => Ok(true),
            Some(Err(error)) => Err(EvaluationError::Failed(error.to_string())),
            Some(Ok(expression)) => expression.is_match(&Document::parse(value.unwrap_or(b"null"))?),
        }
    }

    /// The `match`, if there is one.
    pub fn expression(&self) -> Option<Result<&Expression, &ExpressionError>> {
        self.expression.as_ref().map(Result::as_ref)
    }

    /// True of one that names collections or operations: nothing else has them.
    pub fn only_commits(&self) -> bool {
        !self.collections.is_empty() || !self.operations.is_empty()
    }

    /// What the kind alone says.
    pub fn admits_kind(&self, kind: Option<Kind>) -> bool {
        let listed = self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind));
        listed && (!self.only_commits() || kind == Some(Kind::Commit))
    }

    fn admits_collection(&self, collection: &[u8]) -> bool {
        self.collections.iter().any(|pattern| pattern.admits(collection))
    }
}

impl Pattern {
    fn parse(text: &str) -> Self {
        match text.strip_suffix(".*") {
            Some(body) => Self::Below(body.as_bytes().into()),
            None => Self::Exact(text.as_bytes().into()),
        }
    }

    fn admits(&self, collection: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *collection,
            Self::Below(prefix) => collection.strip_prefix(&**prefix).is_some_and(|rest| rest.starts_with(b".")),
        }
    }
}
