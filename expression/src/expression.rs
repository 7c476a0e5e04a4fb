//! An expression: compiled once, evaluated on many documents.

use std::fmt;
use std::sync::Arc;

use jmespath::ast::Ast;
use jmespath::{ErrorReason, JmespathError};

use crate::evaluate::Evaluation;
use crate::{Document, EvaluationError, ExpressionError, check, scan};

/// A compiled JMESPath (jmespath.org/specification.html). Cheap to clone, shared by threads.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    text: String,
    tree: Ast,
}

impl Expression {
    /// Compiles it, or says what is wrong and where. Hostile input is an error like any other.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        scan::check(text)?;
        let tree = jmespath::parse(text).map_err(|error| not_parsed(&error))?;
        check::check(&tree)?;
        Ok(Self(Arc::new(Compiled { text: text.to_owned(), tree })))
    }

    /// True when the result is truthy: not `false`, `null`, `""`, `[]` or `{}`.
    pub fn is_match(&self, document: &Document) -> Result<bool, EvaluationError> {
        let result = Evaluation::new(&self.0.text).evaluate(&document.0, &self.0.tree)?;
        Ok(result.is_truthy())
    }

    /// The result as JSON text, and whether it is truthy. The text is paid for as it is measured: values share their
    /// parts, so that a small one may be an endless text.
    pub fn evaluate(&self, document: &Document) -> Result<(String, bool), EvaluationError> {
        let mut evaluation = Evaluation::new(&self.0.text);
        let result = evaluation.evaluate(&document.0, &self.0.tree)?;
        evaluation.budget.pay_value(&result)?;
        let text = serde_json::to_string(&*result).map_err(|error| EvaluationError::Failed(error.to_string()))?;
        Ok((text, result.is_truthy()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

fn not_parsed(error: &JmespathError) -> ExpressionError {
    let message = match &error.reason {
        ErrorReason::Parse(message) => message.clone(),
        ErrorReason::Runtime(reason) => reason.to_string(),
    };
    ExpressionError::new(error.offset, message)
}
