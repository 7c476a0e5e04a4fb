//! Function calls: the plain ones are the `jmespath` crate's, paid for by what they are given; those that take an
//! expression reference are ours, because theirs would evaluate it without a budget.

use jmespath::ast::Ast;
use jmespath::{Context, DEFAULT_RUNTIME, ErrorReason, Rcvar, Variable};

use crate::EvaluationError;
use crate::check::reference_position;
use crate::evaluate::{Evaluation, Result, list, null};

impl Evaluation<'_> {
    pub(crate) fn call(&mut self, data: &Rcvar, name: &str, args: &[Ast]) -> Result {
        match (reference_position(name), args) {
            (Some(0), [Ast::Expref { ast, .. }, array]) => self.map(data, ast, array),
            (Some(1), [array, Ast::Expref { ast, .. }]) => self.by(data, name, array, ast),
            _ => self.call_plain(data, name, args),
        }
    }

    fn call_plain(&mut self, data: &Rcvar, name: &str, args: &[Ast]) -> Result {
        let values = args.iter().map(|arg| self.evaluate(data, arg)).collect::<Result<Vec<_>>>()?;
        values.iter().try_for_each(|value| self.budget.pay_value(value))?;
        if let ("join", [glue, array]) = (name, values.as_slice()) {
            self.pay_glue(glue, array)?;
        }
        let function = DEFAULT_RUNTIME.get_function(name).ok_or_else(|| failed(format!("no function {name}")))?;
        let mut context = Context::new(self.text, &DEFAULT_RUNTIME);
        function.evaluate(&values, &mut context).map_err(|error| match error.reason {
            ErrorReason::Parse(reason) => failed(format!("{name}: {reason}")),
            ErrorReason::Runtime(reason) => failed(format!("{name}: {reason}")),
        })
    }

    /// What `join` makes may be longer than all it was given.
    fn pay_glue(&mut self, glue: &Rcvar, array: &Rcvar) -> Result<()> {
        let bytes = glue.as_string().map_or(0, String::len);
        let times = array.as_array().map_or(0, Vec::len);
        self.budget.pay_text(bytes.saturating_mul(times))
    }

    fn map(&mut self, data: &Rcvar, expression: &Ast, array: &Ast) -> Result {
        let array = self.array(data, "map", array)?;
        let elements = array.as_array().into_iter().flatten();
        Ok(list(elements.map(|element| self.evaluate(element, expression)).collect::<Result<_>>()?))
    }

    /// `sort_by`, `min_by` and `max_by`. Equal keys keep their order; the first of them is the least and the greatest.
    fn by(&mut self, data: &Rcvar, name: &str, array: &Ast, expression: &Ast) -> Result {
        let array = self.array(data, name, array)?;
        let mut keyed = self.keyed(name, array.as_array().map_or(&[], Vec::as_slice), expression)?;
        if name == "sort_by" {
            keyed.sort_by(|(left, _), (right, _)| left.cmp(right));
            return Ok(list(keyed.into_iter().map(|(_, element)| element).collect()));
        }
        let better = |new: &Rcvar, best: &Rcvar| if name == "min_by" { new < best } else { new > best };
        let best = keyed.into_iter().reduce(|best, next| if better(&next.0, &best.0) { next } else { best });
        Ok(best.map_or_else(null, |(_, element)| element))
    }

    /// Elements with their keys, which are all strings or all numbers.
    fn keyed(&mut self, name: &str, elements: &[Rcvar], expression: &Ast) -> Result<Vec<(Rcvar, Rcvar)>> {
        let mut keyed: Vec<(Rcvar, Rcvar)> = Vec::new();
        for element in elements {
            let key = self.evaluate(element, expression)?;
            self.budget.pay_value(&key)?;
            let sortable = matches!(&*key, Variable::String(_) | Variable::Number(_));
            let alike = keyed.first().is_none_or(|(first, _)| first.get_type() == key.get_type());
            if !sortable || !alike {
                return Err(failed(format!("{name}: keys must be all strings or all numbers")));
            }
            keyed.push((key, Rcvar::clone(element)));
        }
        Ok(keyed)
    }

    fn array(&mut self, data: &Rcvar, name: &str, node: &Ast) -> Result {
        let value = self.evaluate(data, node)?;
        if value.is_array() { Ok(value) } else { Err(failed(format!("{name}: {} is not an array", value.get_type()))) }
    }
}

fn failed(reason: String) -> EvaluationError {
    EvaluationError::Failed(reason)
}
