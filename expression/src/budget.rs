//! What one evaluation may cost, in steps: a node of the expression evaluated, an element collected, or 16 bytes of
//! text looked at. Memory follows from it, since nothing is made that was not paid for. Invariant: bounded.

use fpaas_core::limits;
use jmespath::Variable;

use crate::EvaluationError;

/// How many bytes of text one step pays for.
const TEXT_BYTES: usize = 16;

#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) const fn new() -> Self {
        Self(limits::EXPRESSION_STEPS_MAX)
    }

    pub(crate) fn pay(&mut self, steps: usize) -> Result<(), EvaluationError> {
        self.0 = self.0.checked_sub(steps).ok_or(EvaluationError::Budget)?;
        Ok(())
    }

    /// For text that is read or made.
    pub(crate) fn pay_text(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.pay(1 + bytes / TEXT_BYTES)
    }

    /// For a value that a function or a comparison may walk as a whole. Values share their parts, so a small one in
    /// memory may be an endless one to walk: it is paid for while it is measured.
    pub(crate) fn pay_value(&mut self, value: &Variable) -> Result<(), EvaluationError> {
        self.pay(1)?;
        match value {
            Variable::String(text) => self.pay_text(text.len()),
            Variable::Array(elements) => elements.iter().try_for_each(|element| self.pay_value(element)),
            Variable::Object(fields) => fields.iter().try_for_each(|(name, field)| {
                self.pay_text(name.len())?;
                self.pay_value(field)
            }),
            Variable::Null | Variable::Bool(_) | Variable::Number(_) | Variable::Expref(_) => Ok(()),
        }
    }
}
