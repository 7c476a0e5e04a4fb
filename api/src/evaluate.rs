//! `/v1/jmespath:evaluate`: what an expression makes of events, as filters would see them.

use axum::Json;
use axum::extract::Request;
use fpaas_core::{Violation, limits};
use fpaas_expression::{Document, EvaluationError, Expression};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::body;
use crate::caller::Caller;
use crate::params::Params;
use crate::problem::Problem;
use crate::strict::Parsed;

/// What is asked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Evaluate")]
pub(crate) struct Asked {
    #[schemars(length(min = 1, max = limits::EXPRESSION_BYTES_MAX))]
    expression: String,
    #[schemars(length(max = limits::EVALUATE_EVENTS_MAX))]
    events: Vec<Value>,
}

/// One result for each event, in their order.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Evaluated {
    results: Vec<Evaluation>,
}

/// What came of one.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Evaluation {
    /// `matches`: whether an event with this result passes a filter.
    Value { value: Box<RawValue>, matches: bool },
    /// Nothing, and why: to a filter, no match.
    Error { error: String },
}

pub(crate) async fn post(caller: Caller, params: Params, request: Request) -> Result<Json<Evaluated>, Problem> {
    params.finish()?;
    let (parts, body) = request.into_parts();
    // What events come to in memory is many times what they take here: nobody waits with that.
    let (bytes, _counted) = body::read_kept(&parts, body).await?;
    let turn = caller.app.turn(&caller.tenant).await?;
    let asked = Parsed::<Asked>::of(&bytes);
    let asked = asked.checked(violations).map_err(Problem::invalid)?;
    let expression = Expression::compile(&asked.expression).map_err(|error| {
        Problem::invalid(vec![Violation::new("/expression", format!("must be a JMESPath: {error}"))])
    })?;
    let evaluated = tokio::task::spawn_blocking(move || {
        let evaluated = evaluate(&expression, &asked.events);
        drop(turn);
        evaluated
    });
    let evaluated = evaluated.await;
    Ok(Json(evaluated.map_err(|error| Problem::internal(&error))?))
}

fn violations(asked: &Asked) -> Vec<Violation> {
    let events = (asked.events.len() > limits::EVALUATE_EVENTS_MAX)
        .then(|| Violation::new("/events", format!("must be at most {}", limits::EVALUATE_EVENTS_MAX)));
    let expression = (asked.expression.len() > limits::EXPRESSION_BYTES_MAX)
        .then(|| Violation::new("/expression", format!("must be at most {} bytes", limits::EXPRESSION_BYTES_MAX)));
    expression.into_iter().chain(events).collect()
}

fn evaluate(expression: &Expression, events: &[Value]) -> Evaluated {
    let (mut left, until) = (limits::PAGE_BYTES_MAX, Instant::now() + limits::EVALUATION_TIME_MAX);
    let late = || EvaluationError::Failed("the events before this one have taken all the time of a request".to_owned());
    let mut of = |event: &Value| if Instant::now() < until { of(expression, event, &mut left) } else { Err(late()) };
    let one = |event: &Value| match of(event) {
        Ok((value, matches)) => Evaluation::Value { value, matches },
        Err(error) => Evaluation::Error { error: error.to_string() },
    };
    Evaluated { results: events.iter().map(one).collect() }
}

fn of(expression: &Expression, event: &Value, left: &mut usize) -> Result<(Box<RawValue>, bool), EvaluationError> {
    let failed = |error: serde_json::Error| EvaluationError::Failed(error.to_string());
    let document = Document::parse(&serde_json::to_vec(event).map_err(failed)?)?;
    let (text, matches) = expression.evaluate(&document)?;
    *left = left.checked_sub(text.len()).ok_or_else(|| {
        EvaluationError::Failed(format!(
            "the results before this one fill an answer of {} bytes",
            limits::PAGE_BYTES_MAX
        ))
    })?;
    Ok((RawValue::from_string(text).map_err(failed)?, matches))
}
