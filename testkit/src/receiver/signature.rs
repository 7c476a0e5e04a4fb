//! Standard Webhooks signatures, verified as their specification says, apart from the code that signs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Checks `webhook-signature` (`v1,<base64>`, several separated by spaces) over `id.timestamp.body`.
pub fn verify(secret: &str, id: &str, timestamp: &str, body: &[u8], header: &str) -> Result<(), &'static str> {
    let encoded = secret.strip_prefix("whsec_").ok_or("the secret does not begin with whsec_")?;
    let key = STANDARD.decode(encoded).map_err(|_| "the secret is not base64")?;
    let mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| "the secret is no key")?;
    let signed = mac.chain_update(id).chain_update(".").chain_update(timestamp).chain_update(".").chain_update(body);
    let mut given =
        header.split(' ').filter_map(|one| one.strip_prefix("v1,")).filter_map(|one| STANDARD.decode(one).ok());
    if given.any(|one| signed.clone().verify_slice(&one).is_ok()) { Ok(()) } else { Err("no signature matches") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_reference_vector_holds_and_anything_else_does_not() {
        assert_eq!(verify(SECRET, ID, "1614265330", BODY, SIGNATURE), Ok(()));
        assert_eq!(verify(SECRET, ID, "1614265330", BODY, &format!("v1,AAAA v1a,x {SIGNATURE}")), Ok(()));
        assert!(verify(SECRET, ID, "1614265331", BODY, SIGNATURE).is_err());
        assert!(verify(SECRET, "other", "1614265330", BODY, SIGNATURE).is_err());
        assert!(verify(SECRET, ID, "1614265330", b"{}", SIGNATURE).is_err());
        assert!(verify("whsec_AAAA", ID, "1614265330", BODY, SIGNATURE).is_err());
    }
}
