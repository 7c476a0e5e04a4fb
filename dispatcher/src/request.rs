//! The headers of a call, and its signature (Standard Webhooks, <https://www.standardwebhooks.com>). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fpaas_core::subscription::{Secret, Webhook};
use fpaas_core::{BatchId, SubscriptionId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use sha2::Sha256;

/// What one attempt is made of, its body and URL apart.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// Whose batch.
    pub(crate) subscription: &'a SubscriptionId,
    /// Which; the same on every attempt.
    pub(crate) batch: &'a BatchId,
    /// What is sent; the same on every attempt.
    pub(crate) body: &'a [u8],
    /// How many events that is.
    pub(crate) events: usize,
    /// From 1, since this process took the batch up.
    pub(crate) number: u32,
    /// Seconds since the epoch, of this attempt.
    pub(crate) timestamp: i64,
    /// Of the program.
    pub(crate) version: &'a str,
}

/// The headers of an attempt, signed with each of `secrets`. Ours come last: a custom one never replaces them.
pub(crate) fn headers<'s>(
    attempt: &Attempt<'_>,
    webhook: &Webhook,
    secrets: impl Iterator<Item = &'s Secret>,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &webhook.headers {
        put(&mut headers, name, value);
    }
    // A custom header may be a credential: it is kept out of logs.
    headers.values_mut().for_each(|value| value.set_sensitive(true));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put(&mut headers, USER_AGENT.as_str(), &format!("fpaas/{}", attempt.version));
    put(&mut headers, "webhook-id", attempt.batch.as_str());
    put(&mut headers, "webhook-timestamp", &attempt.timestamp.to_string());
    let signed = secrets.map(|secret| sign(secret, attempt.batch.as_str(), attempt.timestamp, attempt.body));
    put(&mut headers, "webhook-signature", &signed.collect::<Vec<_>>().join(" "));
    put(&mut headers, "fpaas-subscription", attempt.subscription.as_str());
    put(&mut headers, "fpaas-attempt", &attempt.number.to_string());
    put(&mut headers, "fpaas-event-count", &attempt.events.to_string());
    headers
}

/// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    // A key of any length is taken, so nothing is ever signed with the empty one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.key()) else { return String::new() };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Names and values were checked when the subscription was put; what is not a header all the same is left out.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The example of the specification ("Signature scheme") and of its reference libraries' tests.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_call_has_the_headers_of_design_7_and_the_custom_ones() {
        let custom = [("x-key", "a"), ("Webhook-Id", "forged"), ("content-type", "text/plain"), ("bad name", "x")];
        let custom: BTreeMap<_, _> = custom.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let webhook: Webhook =
            serde_json::from_value(serde_json::json!({"url": "https://a.example/", "headers": custom})).unwrap();
        let [secret, old] = [7, 8].map(|byte| Secret::from_bytes(&[byte; 24]).unwrap());
        let batch = fpaas_core::BatchId::derive(
            &fpaas_core::TenantId::parse("acme").unwrap(),
            &SubscriptionId::parse("likes").unwrap(),
            fpaas_core::Incarnation(1),
            fpaas_core::Partition(0),
            b"row",
        );
        let subscription = SubscriptionId::parse("likes").unwrap();
        let attempt = Attempt {
            subscription: &subscription,
            batch: &batch,
            body: b"{}",
            events: 2,
            number: 3,
            timestamp: 1_700_000_000,
            version: "1.2.3",
        };
        let headers = headers(&attempt, &webhook, [&secret, &old].into_iter());
        let lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        let mut lines = lines;
        lines.sort();
        let lines = lines.join("\n").replace("= v1,", "=\n  v1,");
        expect_test::expect![[r#"
            content-type: application/json
            fpaas-attempt: 3
            fpaas-event-count: 2
            fpaas-subscription: likes
            user-agent: fpaas/1.2.3
            webhook-id: batch_f6195b78497591c81647427e4eb7005f
            webhook-signature: v1,JUM2s5znebFEeJf3ZI6SWCzW3YvFphf+1M6zizbM8xk=
              v1,LUgPG7kIAUDWFxNNVQy6DrjTz/aM2C4Naw1w3pervJg=
            webhook-timestamp: 1700000000
            x-key: a"#]]
        .assert_eq(&lines);
    }
}
