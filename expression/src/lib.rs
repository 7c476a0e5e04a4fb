//! Filters, and the JMESPath in them: compiled once, under a budget. The only crate that knows the language.
//!
//! The grammar, the values and the plain functions are those of the `jmespath` crate. Walking the syntax tree is ours,
//! because an expression comes from a tenant and a document from anybody: every step is paid for, so that no pair of
//! them can cost more than `limits::EXPRESSION_STEPS_MAX` (`[@,@] | [@,@] | …` doubles its value with every bar). How
//! deep an expression may go is checked before it is parsed. Does not own where expressions are used.

mod budget;
mod check;
mod document;
mod error;
mod evaluate;
mod expression;
mod facts;
mod filter;
mod functions;
mod scan;

pub use document::Document;
pub use error::{EvaluationError, ExpressionError};
pub use expression::Expression;
pub use facts::Facts;
pub use filter::{Filter, Pattern};
