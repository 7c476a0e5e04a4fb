//! Values of a webhook's headers, which may be passwords: whoever may only read sees that they are there.
//!
//! Pure. Does not own who may see them: that is the caller's key.

use std::borrow::Cow;

use fpaas_core::Violation;
use fpaas_core::subscription::{Processor, Subscription};
use serde_json::Value;

use crate::strict;

/// In place of a value.
pub(crate) const MASK: &str = "***";
const HEADERS: &str = "/processor/webhook/headers";

/// As somebody sees it who may not change it.
pub(crate) fn masked(config: &Subscription) -> Cow<'_, Subscription> {
    if config.webhook().is_none_or(|webhook| webhook.headers.is_empty()) {
        return Cow::Borrowed(config);
    }
    let mut config = config.clone();
    if let Some(Processor::Webhook(webhook)) = &mut config.processor {
        webhook.headers.values_mut().for_each(|value| MASK.clone_into(value));
    }
    Cow::Owned(config)
}

/// Puts the values back that a patch gives as they were shown.
pub(crate) fn restore(patched: &mut Value, before: &Subscription) {
    let (Some(fields), Some(webhook)) = (patched.pointer_mut(HEADERS).and_then(Value::as_object_mut), before.webhook())
    else {
        return;
    };
    for (name, value) in fields.iter_mut().filter(|(_, value)| **value == MASK) {
        if let Some(kept) = webhook.headers.get(name) {
            *value = kept.as_str().into();
        }
    }
}

/// Masks are no values, unless one was before they were masks.
pub(crate) fn violations(config: &Subscription, before: Option<&Subscription>) -> Vec<Violation> {
    let headers = config.webhook().into_iter().flat_map(|webhook| &webhook.headers);
    let before = before.and_then(Subscription::webhook);
    let is_old = |name: &str| before.and_then(|before| before.headers.get(name)).is_some_and(|value| *value == MASK);
    let masks = headers.filter(|(name, value)| *value == MASK && !is_old(name)).map(|(name, _)| {
        let detail = "is what a key with the scope read is shown in place of the value: send the value, or a PATCH \
            without it, which keeps what is there";
        Violation::new(format!("{HEADERS}/{}", strict::escape(name)), detail)
    });
    masks.collect()
}
