//! Is this call from FPaaS, and is it fresh? Per <https://www.standardwebhooks.com>.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How far the clocks of both sides may be apart; also how long a copied call could be sent again.
const TOLERANCE_SECONDS: u64 = 300;

/// HMAC-SHA256 over `id.timestamp.body`; one of the header's `v1,…` must match.
pub(crate) fn verify(secret: &str, headers: &HeaderMap, body: &[u8], now: u64) -> Result<(), &'static str> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or("a webhook- header is missing");
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let sent: u64 = timestamp.parse().map_err(|_| "webhook-timestamp is no number")?;
    if sent.abs_diff(now) > TOLERANCE_SECONDS {
        return Err("webhook-timestamp is too far from now");
    }
    let mut mac = key(secret).ok_or("the secret is not whsec_ and base64")?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let given = header("webhook-signature")?.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    let mut given = given.filter_map(|one| STANDARD.decode(one).ok());
    // `verify_slice` takes the same time wherever the first difference is.
    if given.any(|one| mac.clone().verify_slice(&one).is_ok()) { Ok(()) } else { Err("the signature does not match") }
}

fn key(secret: &str) -> Option<Hmac<Sha256>> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    Hmac::new_from_slice(&key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NOW: u64 = 1_614_265_330;

    fn headers(signature: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".parse().unwrap());
        headers.insert("webhook-timestamp", "1614265330".parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn a_right_signature_passes_and_everything_else_is_refused() {
        let right = headers("v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(verify(SECRET, &right, body, NOW + 299), Ok(()));
        assert!(verify(SECRET, &right, body, NOW + 301).is_err());
        assert!(verify(SECRET, &right, b"{}", NOW).is_err());
        assert!(verify("whsec_AAAA", &right, body, NOW).is_err());
        assert!(verify(SECRET, &headers("v1,AAAA"), body, NOW).is_err());
        assert!(verify(SECRET, &HeaderMap::new(), body, NOW).is_err());
    }
}
