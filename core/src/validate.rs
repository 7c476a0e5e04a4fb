//! What is wrong with a request body, field by field.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is wrong, where it is (a JSON pointer, RFC 6901), and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// A sentence for the person who sent it.
    pub detail: String,
    /// Where: `/collector/maxEvents`; empty for the whole body.
    pub pointer: String,
    /// Set when the field is right and the feature is not there yet: the answer is then `not-supported-yet`.
    #[serde(skip)]
    pub not_supported_yet: bool,
}

impl Violation {
    /// A wrong value at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), pointer: pointer.into(), not_supported_yet: false }
    }

    /// A right value at `pointer` that this version cannot serve.
    pub fn not_yet(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { not_supported_yet: true, ..Self::new(pointer, detail) }
    }
}
