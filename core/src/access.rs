//! What API keys are about: what they permit, and the hashes that stand for them. Does not own how a key is written.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::hash;

/// What a key permits, the least first: each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To see what its tenant has, but for secrets.
    Read,
    /// To change it, and to see secrets of webhooks.
    Write,
    /// Its keys, too.
    Admin,
}

impl Scope {
    /// As JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// True where this scope will do for what needs `needed`.
    pub fn includes(self, needed: Self) -> bool {
        self >= needed
    }
}

/// The SHA-256 of a whole key: what is not kept cannot be shown. A key is random, so that no salt and no slow hash is
/// needed. As text it is 64 hex digits. Two are compared in the same time, whatever is in them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

/// Why a text is no hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 lower-case hex digits")]
pub struct KeyHashError;

impl KeyHash {
    /// Of a key as it is sent.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for KeyHash {}

impl TryFrom<String> for KeyHash {
    type Error = KeyHashError;
    fn try_from(text: String) -> Result<Self, KeyHashError> {
        let bytes = hash::from_hex(&text).ok_or(KeyHashError)?;
        bytes.try_into().map(Self).map_err(|_| KeyHashError)
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> String {
        hash::to_hex(&hash.0, 64)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_includes_those_before_it() {
        let all = [Scope::Read, Scope::Write, Scope::Admin];
        let included = all.map(|scope| all.map(|needed| scope.includes(needed)));
        assert_eq!(included, [[true, false, false], [true, true, false], [true, true, true]]);
        for scope in all {
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("{:?}", scope.as_str()));
        }
    }

    #[test]
    fn a_hash_is_read_back_and_another_is_another() {
        let hash = KeyHash::of("abc");
        let text = serde_json::to_string(&hash).unwrap();
        // FIPS 180-4, the example of one block.
        assert_eq!(text, "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"");
        assert_eq!(serde_json::from_str::<KeyHash>(&text).unwrap(), hash);
        assert_ne!(KeyHash::of("abd"), hash);
        for wrong in ["\"\"", "\"ba78\"", &text.replace('b', "B"), &text.replace('b', "g")] {
            assert!(serde_json::from_str::<KeyHash>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format!("{hash:?}"), "KeyHash(…)");
    }
}
