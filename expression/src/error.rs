//! What can be wrong with an expression, and with one evaluation of it.

/// The expression cannot be compiled: a sentence for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at byte {offset})")]
pub struct ExpressionError {
    /// What is wrong.
    pub message: String,
    /// Where: a byte of the expression.
    pub offset: usize,
}

impl ExpressionError {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), offset }
    }
}

/// One evaluation came to nothing. A filter takes it as no match and counts it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The value is not JSON, or nests deeper than 127 levels.
    #[error("the value is not JSON: {0}")]
    NotJson(String),
    /// A function met a value it is not for, or a result is not a number.
    #[error("{0}")]
    Failed(String),
    /// It would have cost more than `limits::EXPRESSION_STEPS_MAX`.
    #[error("the expression takes too many steps on this value")]
    Budget,
}
