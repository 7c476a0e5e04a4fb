//! Walks the syntax tree over a document, paying for every step. Semantics are those of the `jmespath` crate, and a
//! property test holds the two side by side.

use std::collections::BTreeMap;

use jmespath::ast::{Ast, Comparator, KeyValuePair};
use jmespath::{Rcvar, Variable};

use crate::EvaluationError;
use crate::budget::Budget;

pub(crate) type Result<T = Rcvar> = std::result::Result<T, EvaluationError>;

/// One evaluation.
#[derive(Debug)]
pub(crate) struct Evaluation<'e> {
    pub(crate) text: &'e str,
    pub(crate) budget: Budget,
}

impl<'e> Evaluation<'e> {
    pub(crate) const fn new(text: &'e str) -> Self {
        Self { text, budget: Budget::new() }
    }

    pub(crate) fn evaluate(&mut self, data: &Rcvar, node: &Ast) -> Result {
        self.budget.pay(1)?;
        match node {
            Ast::Identity { .. } => Ok(Rcvar::clone(data)),
            Ast::Literal { value, .. } => Ok(Rcvar::clone(value)),
            Ast::Field { name, .. } => Ok(data.get_field(name)),
            Ast::Index { idx, .. } => Ok(index(data, *idx)),
            Ast::Slice { start, stop, step, .. } => self.slice(data, *start, *stop, *step),
            Ast::Subexpr { lhs, rhs, .. } => {
                let left = self.evaluate(data, lhs)?;
                self.evaluate(&left, rhs)
            }
            Ast::Or { lhs, rhs, .. } => self.either(data, lhs, rhs, true),
            Ast::And { lhs, rhs, .. } => self.either(data, lhs, rhs, false),
            Ast::Not { node, .. } => Ok(boolean(!self.evaluate(data, node)?.is_truthy())),
            Ast::Condition { predicate, then, .. } => self.condition(data, predicate, then),
            Ast::Comparison { comparator, lhs, rhs, .. } => self.compare(data, comparator, lhs, rhs),
            Ast::ObjectValues { node, .. } => self.object_values(data, node),
            Ast::Projection { lhs, rhs, .. } => self.project(data, lhs, rhs),
            Ast::Flatten { node, .. } => self.flatten(data, node),
            Ast::MultiList { elements, .. } => self.multi_list(data, elements),
            Ast::MultiHash { elements, .. } => self.multi_hash(data, elements),
            Ast::Function { name, args, .. } => self.call(data, name, args),
            Ast::Expref { .. } => Err(EvaluationError::Failed("an expression reference is not a value".to_owned())),
        }
    }

    /// `||` stops at what is truthy, `&&` at what is not.
    fn either(&mut self, data: &Rcvar, lhs: &Ast, rhs: &Ast, stop: bool) -> Result {
        let left = self.evaluate(data, lhs)?;
        if left.is_truthy() == stop { Ok(left) } else { self.evaluate(data, rhs) }
    }

    fn condition(&mut self, data: &Rcvar, predicate: &Ast, then: &Ast) -> Result {
        if self.evaluate(data, predicate)?.is_truthy() { self.evaluate(data, then) } else { Ok(null()) }
    }

    fn compare(&mut self, data: &Rcvar, comparator: &Comparator, lhs: &Ast, rhs: &Ast) -> Result {
        let left = self.evaluate(data, lhs)?;
        let right = self.evaluate(data, rhs)?;
        self.budget.pay_value(&left)?;
        self.budget.pay_value(&right)?;
        Ok(left.compare(comparator, &right).map_or_else(null, boolean))
    }

    fn object_values(&mut self, data: &Rcvar, node: &Ast) -> Result {
        match &*self.evaluate(data, node)? {
            Variable::Object(fields) => {
                self.budget.pay(fields.len())?;
                Ok(list(fields.values().cloned().collect()))
            }
            _ => Ok(null()),
        }
    }

    /// Each element of the left goes through the right; what comes out null is left out.
    fn project(&mut self, data: &Rcvar, lhs: &Ast, rhs: &Ast) -> Result {
        let left = self.evaluate(data, lhs)?;
        let Some(elements) = left.as_array() else { return Ok(null()) };
        let mut collected = Vec::new();
        for element in elements {
            let result = self.evaluate(element, rhs)?;
            if !result.is_null() {
                collected.push(result);
            }
        }
        Ok(list(collected))
    }

    fn flatten(&mut self, data: &Rcvar, node: &Ast) -> Result {
        let subject = self.evaluate(data, node)?;
        let Some(elements) = subject.as_array() else { return Ok(null()) };
        let mut collected = Vec::new();
        for element in elements {
            let inner = element.as_array().map_or(std::slice::from_ref(element), Vec::as_slice);
            self.budget.pay(1 + inner.len())?;
            collected.extend_from_slice(inner);
        }
        Ok(list(collected))
    }

    fn multi_list(&mut self, data: &Rcvar, elements: &[Ast]) -> Result {
        if data.is_null() {
            return Ok(null());
        }
        let collected: Result<_> = elements.iter().map(|element| self.evaluate(data, element)).collect();
        Ok(list(collected?))
    }

    fn multi_hash(&mut self, data: &Rcvar, elements: &[KeyValuePair]) -> Result {
        if data.is_null() {
            return Ok(null());
        }
        let fields = elements.iter().map(|pair| Ok((pair.key.clone(), self.evaluate(data, &pair.value)?)));
        let fields: Result<BTreeMap<_, _>> = fields.collect();
        Ok(Rcvar::new(Variable::Object(fields?)))
    }

    /// The crate's own slice overflows on a large step, so the step is cut to what leaves the array anyway.
    fn slice(&mut self, data: &Rcvar, start: Option<i32>, stop: Option<i32>, step: i32) -> Result {
        let Some(length) = data.as_array().map(Vec::len) else { return Ok(null()) };
        self.budget.pay(length)?;
        let beyond = i32::try_from(length).unwrap_or(i32::MAX / 2).saturating_add(1);
        let sliced = data.slice(start, stop, step.clamp(-beyond, beyond));
        Ok(sliced.map_or_else(null, list))
    }
}

fn index(data: &Rcvar, at: i32) -> Rcvar {
    let distance = at.unsigned_abs() as usize;
    if at < 0 { data.get_negative_index(distance) } else { data.get_index(distance) }
}

pub(crate) fn null() -> Rcvar {
    Rcvar::new(Variable::Null)
}

pub(crate) fn list(elements: Vec<Rcvar>) -> Rcvar {
    Rcvar::new(Variable::Array(elements))
}

fn boolean(value: bool) -> Rcvar {
    Rcvar::new(Variable::Bool(value))
}
