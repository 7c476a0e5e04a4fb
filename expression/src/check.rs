//! What the parser lets through and an evaluation could only fail on: functions that do not exist, and expression
//! references (`&x`) where no function takes them. Whoever writes such an expression hears of it at once.

use jmespath::DEFAULT_RUNTIME;
use jmespath::ast::Ast;

use crate::ExpressionError;

pub(crate) fn check(node: &Ast) -> Result<(), ExpressionError> {
    match node {
        Ast::Function { offset, name, args } => check_call(*offset, name, args),
        Ast::Expref { offset, .. } => {
            Err(ExpressionError::new(*offset, "& belongs in map, sort_by, min_by and max_by only"))
        }
        Ast::Slice { offset, step: 0, .. } => Err(ExpressionError::new(*offset, "the step of a slice cannot be 0")),
        _ => children(node).into_iter().try_for_each(check),
    }
}

/// Which argument of a function is an expression reference.
pub(crate) fn reference_position(function: &str) -> Option<usize> {
    match function {
        "map" => Some(0),
        "sort_by" | "min_by" | "max_by" => Some(1),
        _ => None,
    }
}

fn check_call(offset: usize, name: &str, args: &[Ast]) -> Result<(), ExpressionError> {
    if DEFAULT_RUNTIME.get_function(name).is_none() {
        return Err(ExpressionError::new(offset, format!("there is no function {name}")));
    }
    let Some(position) = reference_position(name) else { return args.iter().try_for_each(check) };
    if args.len() != 2 {
        return Err(ExpressionError::new(offset, format!("{name} takes two arguments")));
    }
    for (at, arg) in args.iter().enumerate() {
        match (arg, at == position) {
            (Ast::Expref { ast, .. }, true) => check(ast)?,
            (_, true) => {
                let message = format!("argument {} of {name} must be an expression reference such as &x", at + 1);
                return Err(ExpressionError::new(offset, message));
            }
            (_, false) => check(arg)?,
        }
    }
    Ok(())
}

fn children(node: &Ast) -> Vec<&Ast> {
    match node {
        Ast::Comparison { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => vec![lhs, rhs],
        Ast::Condition { predicate, then, .. } => vec![predicate, then],
        Ast::Flatten { node, .. } | Ast::Not { node, .. } | Ast::ObjectValues { node, .. } => vec![node],
        Ast::MultiList { elements, .. } => elements.iter().collect(),
        Ast::MultiHash { elements, .. } => elements.iter().map(|pair| &pair.value).collect(),
        Ast::Function { args, .. } => args.iter().collect(),
        Ast::Expref { ast, .. } => vec![ast],
        Ast::Identity { .. } | Ast::Field { .. } | Ast::Index { .. } | Ast::Literal { .. } | Ast::Slice { .. } => {
            vec![]
        }
    }
}
