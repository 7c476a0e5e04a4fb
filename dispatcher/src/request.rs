//! The headers of a call, and its signature (Standard Webhooks, <https://www.standardwebhooks.com>). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fpaas_core::Offset;
use fpaas_core::subscription::{Compression, Scheme, Secret, SigningKey, Webhook};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use sha2::Sha256;

use crate::body::{Body, Delivery, Head, Shape, media_type};

/// What one attempt is made of, its body and URL apart.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// Whose batch, and which; the same on every attempt.
    pub(crate) head: &'a Head,
    /// Its events.
    pub(crate) events: &'a [Delivery],
    /// What shapes what is sent.
    pub(crate) shape: &'a Shape,
    /// What is sent; the same on every attempt.
    pub(crate) body: &'a Body,
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
    let Attempt { head, shape, body, .. } = attempt;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(shape.format)));
    match shape.compression {
        Compression::None => drop(headers.remove(CONTENT_ENCODING)),
        Compression::Gzip => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
        Compression::Zstd => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
    }
    put(&mut headers, USER_AGENT.as_str(), &format!("fpaas/{}", attempt.version));
    put(&mut headers, "webhook-id", head.id.as_str());
    put(&mut headers, "webhook-timestamp", &attempt.timestamp.to_string());
    let signed = secrets.flat_map(|secret| {
        let sign = |scheme: &Scheme| sign(*scheme, secret, head.id.as_str(), attempt.timestamp, &body.bytes);
        webhook.signing.iter().filter_map(sign)
    });
    put(&mut headers, "webhook-signature", &signed.collect::<Vec<_>>().join(" "));
    let offset = |event: Option<&Delivery>| event.map_or(Offset::ZERO, |event| event.offset).to_string();
    put(&mut headers, "fpaas-subscription", head.subscription.as_str());
    put(&mut headers, "fpaas-lane", &head.lane.partition.to_string());
    put(&mut headers, "fpaas-first-offset", &offset(attempt.events.first()));
    put(&mut headers, "fpaas-last-offset", &offset(attempt.events.last()));
    put(&mut headers, "fpaas-attempt", &attempt.number.to_string());
    put(&mut headers, "fpaas-event-count", &body.events.to_string());
    headers
}

fn sign(scheme: Scheme, secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    match scheme {
        Scheme::V1 => Some(symmetric(secret, id, timestamp, body)),
        Scheme::V1a => {
            let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
            Some(format!("v1a,{}", STANDARD.encode(SigningKey::of(secret)?.sign(&message))))
        }
    }
}

/// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
fn symmetric(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
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
        let signature = symmetric(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    fn head() -> Head {
        let tenant = fpaas_core::TenantId::parse("acme").unwrap();
        let subscription = fpaas_core::SubscriptionId::parse("likes").unwrap();
        let (incarnation, lane) = (fpaas_core::Incarnation(1), fpaas_core::Partition(0));
        let id = fpaas_core::BatchId::derive(&tenant, &subscription, incarnation, lane, b"row");
        Head { subscription, id, lane: crate::body::tests::lane() }
    }

    /// With a library of others, where it can: it takes text alone.
    #[test]
    fn every_scheme_signs_with_every_secret_the_bytes_as_they_are_sent() {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let secrets = [7, 8].map(|byte| Secret::from_bytes(&[byte; 24]).unwrap());
        for (signing, body) in
            [("v1", &b"{\"a\":1}\n"[..]), ("v1a", b"{}"), ("v1 v1a", b"[]"), ("v1a v1", b"\x1f\x8b\xff")]
        {
            let schemes: Vec<_> = signing.split(' ').collect();
            let webhook = serde_json::json!({"url": "https://a.example/", "signing": schemes});
            let attempt = Attempt {
                head: &head(),
                events: &[],
                shape: &Shape::default(),
                body: &Body { bytes: body.into(), events: 1, unsendable: Vec::new() },
                number: 1,
                timestamp: i64::try_from(now).unwrap(),
                version: "1",
            };
            let headers = headers(&attempt, &serde_json::from_value(webhook).unwrap(), secrets.iter());
            let signatures = headers["webhook-signature"].to_str().unwrap();
            let found: Vec<_> = signatures.split(' ').map(|one| one.split_once(',').unwrap()).collect();
            assert_eq!(found.iter().map(|(scheme, _)| *scheme).collect::<Vec<_>>(), [&*schemes, &*schemes].concat());
            for secret in &secrets {
                if schemes.contains(&"v1") && std::str::from_utf8(body).is_ok() {
                    standardwebhooks::Webhook::new(&secret.reveal()).unwrap().verify(body, &headers).unwrap();
                }
                let key = SigningKey::of(secret).unwrap();
                let message = [format!("{}.{now}.", head().id).as_bytes(), body].concat();
                let signed = STANDARD.encode(key.sign(&message));
                assert_eq!(found.contains(&("v1a", &*signed)), schemes.contains(&"v1a"), "{signing}");
            }
        }
    }

    #[test]
    fn a_call_has_the_headers_of_design_7_and_the_custom_ones() {
        let custom = [
            ("x-key", "a"),
            ("Webhook-Id", "forged"),
            ("content-type", "text/plain"),
            ("content-encoding", "br"),
            ("bad name", "x"),
        ];
        let custom: BTreeMap<_, _> = custom.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let webhook: Webhook =
            serde_json::from_value(serde_json::json!({"url": "https://a.example/", "headers": custom})).unwrap();
        let [secret, old] = [7, 8].map(|byte| Secret::from_bytes(&[byte; 24]).unwrap());
        let attempt = Attempt {
            head: &head(),
            events: &[4, 9].map(|offset| crate::body::tests::delivery(offset, "a", None)),
            shape: &Shape::default(),
            body: &Body { bytes: "{}".into(), events: 2, unsendable: Vec::new() },
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
            fpaas-first-offset: 4
            fpaas-lane: 1
            fpaas-last-offset: 9
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
