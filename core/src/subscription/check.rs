//! What is wrong with a subscription: ranges, shapes, and what is not built yet.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::{Filter, Processor, Scheme, StartFrom, Subscription, Url, Violation, Webhook, limits};
use crate::event::Kind;

/// Headers a tenant cannot set: they frame the request, or they are ours (design §7, SSRF).
const REFUSED_HEADERS: [&str; 13] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "connection",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "user-agent",
    "accept-encoding",
    "expect",
    "keep-alive",
];
/// The same of all whose names begin so.
const REFUSED_PREFIXES: [&str; 3] = ["webhook-", "fpaas-", "proxy-"];

pub(super) fn violations(subscription: &Subscription, allow_http: bool) -> Vec<Violation> {
    let mut found = Vec::new();
    start_from(&subscription.start_from, &mut found);
    filter(&subscription.filter, &mut found);
    ranges(subscription, &mut found);
    match &subscription.processor {
        Some(Processor::Webhook(hook)) => webhook(hook, allow_http, &mut found),
        Some(Processor::Jmespath(_)) => found.push(not_yet("/processor/jmespath", "the jmespath processor")),
        Some(Processor::Reduce(_)) => found.push(not_yet("/processor/reduce", "the reduce processor")),
        None => found.push(not_yet("/processor", "a subscription without a webhook")),
    }
    output(subscription, &mut found);
    found
}

pub(super) fn conflicts(new: &Subscription, old: &Subscription) -> Vec<Violation> {
    let mut found = Vec::new();
    if new.source != old.source {
        found
            .push(Violation::new("/source", "the source of a subscription cannot change: create another subscription"));
    }
    if new.lanes != old.lanes {
        found.push(Violation::new("/lanes", "the number of lanes cannot change: create another subscription"));
    }
    found
}

fn not_yet(pointer: &str, what: &str) -> Violation {
    Violation::not_yet(pointer, format!("{what} is not supported yet"))
}

fn start_from(start: &StartFrom, found: &mut Vec<Violation>) {
    if let StartFrom::At(text) = start
        && crate::rfc3339::parse(text).is_none()
    {
        found.push(Violation::new("/startFrom", "must be earliest, latest or a time such as 2026-11-23T20:00:00Z"));
    }
}

fn filter(filter: &Filter, found: &mut Vec<Violation>) {
    let lists = [("kinds", filter.kinds.len()), ("collections", filter.collections.len())];
    for (name, length) in lists.into_iter().chain([("operations", filter.operations.len())]) {
        if length > limits::FILTER_ENTRIES_MAX {
            let most = limits::FILTER_ENTRIES_MAX;
            found.push(Violation::new(format!("/filter/{name}"), format!("must have at most {most} entries")));
        }
    }
    if filter.dids.len() > limits::FILTER_DIDS_MAX {
        found.push(Violation::new("/filter/dids", format!("must have at most {} entries", limits::FILTER_DIDS_MAX)));
    }
    for (at, collection) in filter.collections.iter().enumerate() {
        if !is_collection(collection) {
            let detail = "must be an NSID such as app.bsky.feed.like, or a prefix such as app.bsky.feed.*";
            found.push(Violation::new(format!("/filter/collections/{at}"), detail));
        }
    }
    let only_commits = !filter.collections.is_empty() || !filter.operations.is_empty();
    if only_commits && !filter.kinds.is_empty() && !filter.kinds.contains(&Kind::Commit) {
        let detail = "collections and operations imply commits: add \"commit\", or leave kinds out";
        found.push(Violation::new("/filter/kinds", detail));
    }
    if filter.expression.as_ref().is_some_and(|text| text.len() > limits::EXPRESSION_BYTES_MAX) {
        let most = limits::EXPRESSION_BYTES_MAX;
        found.push(Violation::new("/filter/match", format!("must be at most {most} bytes")));
    }
}

/// Segments of letters, digits and hyphens (atproto.com/specs/nsid); `*` may stand for the last ones.
fn is_collection(text: &str) -> bool {
    let (body, wildcard) = text.strip_suffix(".*").map_or((text, false), |body| (body, true));
    let segment = |part: &str| {
        (1..=63).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    body.len() <= 317 && body.split('.').all(segment) && (wildcard || body.split('.').count() >= 3)
}

fn ranges(subscription: &Subscription, found: &mut Vec<Violation>) {
    let (collector, retry) = (&subscription.collector, &subscription.retry);
    range("/collector/maxEvents", collector.max_events, &limits::BATCH_EVENTS, found);
    range("/collector/maxBytes", collector.max_bytes, &limits::BATCH_BYTES, found);
    range("/collector/maxWaitMs", collector.max_wait_ms, &limits::BATCH_WAIT_MS, found);
    range("/lanes", subscription.lanes, &(1..=limits::LANES_MAX), found);
    range("/retry/initialBackoffMs", retry.initial_backoff_ms, &limits::BACKOFF_MS, found);
    range("/retry/maxBackoffMs", retry.max_backoff_ms, &limits::BACKOFF_MS, found);
    range("/retry/maxElapsedMs", retry.max_elapsed_ms, &limits::ELAPSED_MS, found);
    if let Some(rate) = subscription.throttle.events_per_second {
        range("/throttle/eventsPerSecond", rate, &limits::THROTTLE_EVENTS, found);
    }
    if retry.max_backoff_ms < retry.initial_backoff_ms {
        found.push(Violation::new("/retry/maxBackoffMs", "must not be below initialBackoffMs"));
    }
}

fn range<T: PartialOrd + Display>(pointer: &str, value: T, allowed: &RangeInclusive<T>, found: &mut Vec<Violation>) {
    if !allowed.contains(&value) {
        found.push(Violation::new(pointer, format!("must be {} to {}", allowed.start(), allowed.end())));
    }
}

fn webhook(webhook: &Webhook, allow_http: bool, found: &mut Vec<Violation>) {
    if let Err(detail) = check_url(&webhook.url, allow_http) {
        found.push(Violation::new("/processor/webhook/url", detail));
    }
    range("/processor/webhook/timeoutMs", webhook.timeout_ms, &limits::WEBHOOK_TIMEOUT_MS, found);
    if webhook.headers.len() > limits::WEBHOOK_HEADERS_MAX {
        let most = limits::WEBHOOK_HEADERS_MAX;
        found.push(Violation::new("/processor/webhook/headers", format!("must have at most {most} entries")));
    }
    for (name, value) in &webhook.headers {
        if let Err(detail) = check_header(name, value) {
            let escaped = name.replace('~', "~0").replace('/', "~1");
            found.push(Violation::new(format!("/processor/webhook/headers/{escaped}"), detail));
        }
    }
    if webhook.payload.as_ref().is_some_and(|text| text.len() > limits::EXPRESSION_BYTES_MAX) {
        let most = limits::EXPRESSION_BYTES_MAX;
        found.push(Violation::new("/processor/webhook/payload", format!("must be at most {most} bytes")));
    }
    signing(&webhook.signing, found);
    if let Some(certificate) = &webhook.client_certificate {
        if allow_http && Url::parse(&webhook.url).is_ok_and(|url| url.scheme() == "http") {
            let detail = "must be https where there is a clientCertificate: it is shown in TLS alone";
            found.push(Violation::new("/processor/webhook/url", detail));
        }
        found.extend(certificate.violations());
    }
}

fn signing(schemes: &[Scheme], found: &mut Vec<Violation>) {
    if schemes.is_empty() {
        found.push(Violation::new("/processor/webhook/signing", "must name at least one of v1 and v1a"));
    }
    for (at, scheme) in schemes.iter().enumerate() {
        if schemes.iter().take(at).any(|before| before == scheme) {
            found.push(Violation::new(format!("/processor/webhook/signing/{at}"), "is named before"));
        }
    }
}

fn check_url(text: &str, allow_http: bool) -> Result<(), String> {
    if text.len() > limits::WEBHOOK_URL_BYTES_MAX {
        return Err(format!("must be at most {} bytes", limits::WEBHOOK_URL_BYTES_MAX));
    }
    let url = Url::parse(text).map_err(|error| format!("must be a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => return Err("must be https".to_owned()),
        other => return Err(format!("must be https, not {other}")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password: use a header".to_owned());
    }
    if url.host().is_none() {
        return Err("must have a host".to_owned());
    }
    Ok(())
}

fn check_header(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
        return Err("is not a header name (RFC 9110 token)".to_owned());
    }
    let refused = REFUSED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if refused || REFUSED_HEADERS.contains(&lower.as_str()) {
        return Err("is set by FPaaS and cannot be set here".to_owned());
    }
    if value.len() > limits::WEBHOOK_HEADER_BYTES_MAX
        || value.bytes().any(|byte| !(32..127).contains(&byte) && byte != 9)
    {
        return Err(format!("must be at most {} printable ASCII characters", limits::WEBHOOK_HEADER_BYTES_MAX));
    }
    Ok(())
}

fn output(subscription: &Subscription, found: &mut Vec<Violation>) {
    let Some(output) = &subscription.output else { return };
    if output.topic.is_reserved() {
        let detail = format!("{} is reserved: results go to a topic of yours", output.topic);
        found.push(Violation::new("/output/topic", detail));
    }
    if output.topic == subscription.source.topic {
        found.push(Violation::new("/output/topic", "must not be the source: results would be read again for ever"));
    }
}
