//! What stands in the place of each event: the result of an expression on it, under the same budget as a filter's.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use fpaas_core::{Message, limits};
use fpaas_expression::{Document, EvaluationError, Expression};

use super::{Delivery, Form};

/// For each event what is sent in its place, where that is not itself, and which events nothing can be made of.
type Payloads = (Vec<Option<String>>, Vec<(usize, Message)>);

/// Of all events. What comes of one depends on it alone, never on the others of its batch.
pub(super) fn of(expression: Option<&str>, events: &[Delivery], given_up: &AtomicBool) -> io::Result<Payloads> {
    let Some(text) = expression else { return Ok((vec![None; events.len()], Vec::new())) };
    // It was compiled when it was put. Whatever has become of it since, its events are not lost.
    let compiled = Expression::compile(text).map_err(|error| error.to_string());
    let (mut payloads, mut unsendable) = (Vec::with_capacity(events.len()), Vec::new());
    for (index, event) in events.iter().enumerate() {
        if given_up.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let made = compiled.as_ref().map_err(Clone::clone).and_then(|expression| one(expression, event));
        if let Err(why) = &made {
            unsendable.push((index, Message::new(format_args!("no payload can be made of the event: {why}"))));
        }
        payloads.push(made.ok());
    }
    Ok((payloads, unsendable))
}

fn one(expression: &Expression, event: &Delivery) -> Result<String, String> {
    let value = event.record.value.as_deref().unwrap_or_default();
    let document = match event.form {
        form if form.is_nothing() => Document::parse(b"null"),
        Form::Base64 => return Err("it is not JSON".to_owned()),
        _ => Document::parse(value),
    };
    let evaluated = document.and_then(|document| expression.evaluate(&document));
    let (payload, _) = evaluated.map_err(|error: EvaluationError| error.to_string())?;
    let most = value.len() + limits::PAYLOAD_GROWTH_BYTES_MAX;
    if payload.len() > most {
        return Err(format!("it takes {} bytes, and may be {most}: 1 KiB more than the event", payload.len()));
    }
    Ok(payload)
}
