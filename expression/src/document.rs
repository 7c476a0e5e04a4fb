//! A parsed JSON value, shared by all expressions that look at it.

use jmespath::{Rcvar, Variable};

use crate::EvaluationError;

/// A record's value, parsed once for all subscriptions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Document(pub(crate) Rcvar);

impl Document {
    /// Parses JSON. Deeper than 127 levels is refused, so that nothing that walks it can run out of stack.
    pub fn parse(json: &[u8]) -> Result<Self, EvaluationError> {
        let value: Variable =
            serde_json::from_slice(json).map_err(|error| EvaluationError::NotJson(error.to_string()))?;
        Ok(Self(Rcvar::new(value)))
    }
}
