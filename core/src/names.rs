//! Names people choose, parsed once: tenant, pool, subscription, topic, DID.
//!
//! A value of one of these types is known to be well-formed; nothing checks it again.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a name was refused, as a sentence for the person who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = $pattern))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses it, or says what is wrong with it.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// As it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// The customer. `[a-z0-9][a-z0-9-]{0,62}`.
    TenantId,
    check_id,
    "^[a-z0-9][a-z0-9-]{0,62}$"
);
name!(
    /// The tenants that share one consumer group per stage: a tenant's own pool has its name, a shared one starts with
    /// `_`.
    PoolId,
    check_pool,
    "^_?[a-z0-9][a-z0-9-]{0,62}$"
);
name!(
    /// A subscription's id within its tenant. `[a-z0-9][a-z0-9-]{0,62}`.
    SubscriptionId,
    check_id,
    "^[a-z0-9][a-z0-9-]{0,62}$"
);
name!(
    /// A topic's name within its tenant: `[a-z0-9][a-z0-9-._]{0,62}`. `firehose` is the built-in source.
    TopicName,
    check_topic,
    "^[a-z0-9][a-z0-9._-]{0,62}$"
);
name!(
    /// The part of an API key that may be seen: 16 of a–z and 0–9. No two keys of an installation share one.
    KeyId,
    check_key,
    "^[a-z0-9]{16}$"
);
name!(
    /// A decentralised identifier (atproto.com/specs/did), at most 2048 bytes.
    Did,
    check_did,
    "^did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]$"
);

impl TenantId {
    /// The tenant that every installation has, whether anybody made it or not.
    pub const LOCAL: &'static str = "local";

    /// [`Self::LOCAL`].
    pub fn local() -> Self {
        Self(Self::LOCAL.into())
    }

    /// True of [`Self::LOCAL`].
    pub fn is_local(&self) -> bool {
        self.as_str() == Self::LOCAL
    }
}

impl PoolId {
    /// The pool a tenant is in by default: its own.
    pub fn of_tenant(tenant: &TenantId) -> Self {
        Self(tenant.0.clone())
    }

    /// True where any number of tenants may be in it.
    pub fn is_shared(&self) -> bool {
        self.as_str().starts_with('_')
    }
}

impl TopicName {
    /// The built-in source topic.
    pub const FIREHOSE: &'static str = "firehose";
    /// What happens to a tenant's subscriptions. It is made with the first of them.
    pub const SYSTEM: &'static str = "system";

    /// [`Self::SYSTEM`].
    pub fn system() -> Self {
        Self(Self::SYSTEM.into())
    }

    /// True of the names tenants cannot create, write to or delete.
    pub fn is_reserved(&self) -> bool {
        matches!(self.as_str(), Self::FIREHOSE | Self::SYSTEM)
    }

    /// True of [`Self::SYSTEM`].
    pub fn is_system(&self) -> bool {
        self.as_str() == Self::SYSTEM
    }

    /// True of the built-in source.
    pub fn is_firehose(&self) -> bool {
        self.as_str() == Self::FIREHOSE
    }

    /// The name under which two topics collide in Kafka's metrics: `.` and `_` are the same there (KAFKA-3218).
    pub fn collision_key(&self) -> String {
        self.as_str().replace('.', "_")
    }
}

/// The control revision at which a subscription was made: part of every internal name and id derived from it, so that
/// delete and re-create never meets the old one's topics, positions or batch ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn check(text: &str, extra: &[u8], what: &str) -> Result<(), NameError> {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let first = text.bytes().next().is_some_and(lower);
    let rest = text.bytes().all(|byte| lower(byte) || byte == b'-' || extra.contains(&byte));
    if first && rest && text.len() <= 63 {
        return Ok(());
    }
    Err(NameError(format!("must be {what}")))
}

fn check_id(text: &str) -> Result<(), NameError> {
    check(text, b"", "1–63 of a–z, 0–9 and -, and start with a letter or digit")
}

fn check_topic(text: &str) -> Result<(), NameError> {
    check(text, b"._", "1–63 of a–z, 0–9, -, . and _, and start with a letter or digit")
}

fn check_pool(text: &str) -> Result<(), NameError> {
    check_id(text.strip_prefix('_').unwrap_or(text))
}

fn check_key(text: &str) -> Result<(), NameError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if plain && text.len() == 16 { Ok(()) } else { Err(NameError("must be 16 of a–z and 0–9".to_owned())) }
}

/// The syntax of atproto.com/specs/did: `did:method:identifier`, not ending in `:` or `%`.
fn check_did(text: &str) -> Result<(), NameError> {
    let refuse = || Err(NameError("must be a DID such as did:plc:ewvi7nxzyoun6zhxrhs64oiz".to_owned()));
    let Some((method, identifier)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else {
        return refuse();
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:%-".contains(&byte);
    let well_formed = !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_lowercase())
        && !identifier.is_empty()
        && identifier.bytes().all(allowed)
        && !identifier.ends_with([':', '%'])
        && text.len() <= crate::limits::DID_BYTES_MAX;
    if well_formed { Ok(()) } else { refuse() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_documented_shape() {
        for good in ["a", "likes", "0-a", &"x".repeat(63)] {
            assert!(TenantId::parse(good).is_ok(), "{good}");
            assert!(TopicName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "a/b", &"x".repeat(64), "ä"] {
            assert!(SubscriptionId::parse(bad).is_err(), "{bad}");
        }
        assert!(TopicName::parse("a.b_c").is_ok());
        assert!(PoolId::parse("_free").is_ok_and(|pool| pool.is_shared()));
        assert!(!PoolId::of_tenant(&TenantId::local()).is_shared());
        assert_eq!(TenantId::parse(TenantId::LOCAL), Ok(TenantId::local()));
        assert!(KeyId::parse("0123456789abcdef").is_ok());
        for bad in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF", "0123456789abcde-"] {
            assert!(KeyId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topics_that_kafka_cannot_tell_apart_share_a_collision_key() {
        let key = |name| TopicName::parse(name).unwrap().collision_key();
        assert_eq!(key("a.b"), key("a_b"));
        assert_ne!(key("a-b"), key("a_b"));
    }
}
