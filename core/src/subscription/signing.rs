//! Signatures that a public key checks (Standard Webhooks, `v1a`): ed25519, with a key that follows from a secret.
//!
//! Nothing of it is stored: the key rotates as its secret does. Whoever has the secret can make the key, so that a
//! receiver that shall not be able to sign is given the public key alone.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::Secret;

/// What the seed is derived under: nothing else is ever made of a secret with it.
const LABEL: &[u8] = b"fpaas v1a ed25519 seed 1";

/// A private key. Its `Debug` shows nothing of it.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The one that follows from a secret: its seed is HMAC-SHA256 of a fixed text with the secret's bytes. `None`
    /// where the library takes no such seed, which it always does.
    pub fn of(secret: &Secret) -> Option<Self> {
        let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.key()), LABEL);
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok().map(Self)
    }

    /// `whpk_…`: the 32 bytes of the public key (RFC 8032) in base64.
    pub fn public(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.0.public_key()))
    }

    /// The 64 bytes of the signature (RFC 8032).
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, UnparsedPublicKey};

    #[test]
    fn a_signature_is_checked_with_the_public_key_alone_and_the_key_never_changes() {
        let key = SigningKey::of(&Secret::from_bytes(&[7; 24]).unwrap()).unwrap();
        // Receivers have it: another label would lock them out.
        expect_test::expect!["whpk_sEmvVQY0QwYe70TpYmUV1nkU8Q4uM5ZX1W9K0BG7ckE="].assert_eq(&key.public());
        let public = STANDARD.decode(key.public().strip_prefix("whpk_").unwrap()).unwrap();
        let signature = key.sign(b"id.1.body");
        UnparsedPublicKey::new(&ED25519, &public).verify(b"id.1.body", &signature).unwrap();
        assert!(UnparsedPublicKey::new(&ED25519, &public).verify(b"id.2.body", &signature).is_err());
        let other = SigningKey::of(&Secret::from_bytes(&[8; 24]).unwrap()).unwrap();
        assert_ne!(other.public(), key.public());
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }
}
