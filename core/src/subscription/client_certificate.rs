//! What a webhook's endpoint is shown in TLS to know its caller by: a certificate chain and its private key, in PEM.
//!
//! Owns what is wrong with one. Does not own connections (the dispatcher), or what the time is: a caller asks
//! [`ClientCertificate::not_after`].

use std::fmt;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

use super::der;
use crate::{Timestamp, Violation, hash, limits};

/// Where it stands in a subscription.
const CERTIFICATE: &str = "/processor/webhook/clientCertificate/certificate";
const PRIVATE_KEY: &str = "/processor/webhook/clientCertificate/privateKey";

/// A certificate, and its key where it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// PEM: one X.509 certificate, and behind it those that lead to its authority.
    #[schemars(length(min = 1, max = limits::CLIENT_CERTIFICATE_BYTES_MAX))]
    pub certificate: String,
    /// PEM: its key, as PKCS#8, PKCS#1 or SEC1, without a password. Write-only: taken, stored, and never given back. It
    /// may be left out while the certificate stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub private_key: Option<PrivateKey>,
}

/// Its PEM, unread. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PrivateKey(#[schemars(length(min = 1, max = limits::CLIENT_KEY_BYTES_MAX))] String);

/// A certificate with its key.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The chain.
    pub certificate: &'a ClientCertificate,
    /// Of its first certificate.
    pub key: &'a PrivateKey,
}

impl ClientCertificate {
    /// When its own certificate ends, the first of the chain; `None` where there is none.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.own().as_deref().and_then(der::not_after)
    }

    /// The SHA-256 of its own certificate in hex, as `openssl x509 -fingerprint` shows it; `None` where there is none.
    pub fn fingerprint(&self) -> Option<String> {
        self.own().map(|own| hash::to_hex(&Sha256::digest(&own), 64))
    }

    /// With the key that it has itself.
    pub fn identity(&self) -> Option<Identity<'_>> {
        Some(Identity { certificate: self, key: self.private_key.as_ref()? })
    }

    fn own(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).ok()
    }

    /// What is wrong with it by itself, whenever and beside whatever it is.
    pub(super) fn violations(&self) -> Vec<Violation> {
        match (self.chain(), self.identity()) {
            (Err(wrong), own) => std::iter::once(wrong).chain(own.and_then(|own| own.key.read().err())).collect(),
            (Ok(_), own) => own.and_then(|own| own.certified().err()).into_iter().collect(),
        }
    }

    /// What is wrong with it at `now` where `before` is there: one that was not there before is expired, or lacks its
    /// key.
    pub fn violations_beside(&self, before: Option<&Self>, now: Timestamp) -> Vec<Violation> {
        let is_new = before.is_none_or(|before| before.certificate != self.certificate);
        let missing = (is_new && self.private_key.is_none()).then(|| Self::keyless(before.is_some()));
        let ended = self.not_after().filter(|end| is_new && *end < now).map(|end| {
            let end = crate::rfc3339::format(end);
            Violation::new(CERTIFICATE, format!("has expired at {end}: send one that is valid, with its private key"))
        });
        ended.into_iter().chain(missing).collect()
    }

    /// That its key is not there; `is_other` where the key of another one is.
    pub fn keyless(is_other: bool) -> Violation {
        let detail = match is_other {
            true => "must be given with another certificate: it may be left out while the certificate stays as it is",
            false => "is missing: the certificate is of no use without its private key",
        };
        Violation::new(PRIVATE_KEY, detail)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Violation> {
        let wrong = |detail: String| Violation::new(CERTIFICATE, detail);
        bounded(&self.certificate, limits::CLIENT_CERTIFICATE_BYTES_MAX).map_err(wrong)?;
        if let Some(label) = labels(&self.certificate).find(|label| *label != "CERTIFICATE") {
            let label = shown(label);
            return Err(wrong(format!("must hold certificates alone, not {label}: a key goes into privateKey")));
        }
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let chain = read.map_err(|_| wrong("is cut off, or no PEM: send the file's whole text".to_owned()))?;
        if chain.is_empty() {
            return Err(wrong("must be in PEM: text that begins with -----BEGIN CERTIFICATE-----".to_owned()));
        }
        if chain.len() > limits::CLIENT_CERTIFICATES_MAX {
            return Err(wrong(format!("must be at most {} certificates", limits::CLIENT_CERTIFICATES_MAX)));
        }
        match chain.iter().position(|certificate| der::not_after(certificate).is_none()) {
            Some(at) => Err(wrong(format!("certificate {} of it is no X.509 certificate", at + 1))),
            None => Ok(chain),
        }
    }
}

impl PrivateKey {
    fn read(&self) -> Result<PrivateKeyDer<'static>, Violation> {
        let wrong = |detail: &str| Violation::new(PRIVATE_KEY, detail);
        bounded(&self.0, limits::CLIENT_KEY_BYTES_MAX).map_err(|detail| wrong(&detail))?;
        if self.0.contains("ENCRYPTED") {
            return Err(wrong(
                "is encrypted: send what `openssl pkey -in key.pem` writes, which asks for its password",
            ));
        }
        let read: Result<Vec<PrivateKeyDer<'_>>, _> = PrivateKeyDer::pem_slice_iter(self.0.as_bytes()).collect();
        let mut keys = read.map_err(|_| wrong("is cut off, or no PEM: send the file's whole text"))?;
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok(key),
            (Some(_), false) => Err(wrong("must be one private key: that of the first certificate")),
            (None, _) => Err(wrong(
                "must be in PEM: text that begins with -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY",
            )),
        }
    }
}

impl Identity<'_> {
    /// The same of the same text, and of no other.
    pub fn digest(self) -> String {
        hash::hex(&[self.certificate.certificate.as_bytes(), self.key.0.as_bytes()], 64)
    }

    /// Both, one behind the other: for whoever opens connections with it, and for nobody to be shown.
    pub fn pem(self) -> String {
        [self.certificate.certificate.as_str(), "\n", &self.key.0].concat()
    }

    /// As TLS takes it. Says what is wrong with it.
    pub fn certified(self) -> Result<CertifiedKey, Violation> {
        let (chain, key) = (self.certificate.chain()?, self.key.read()?);
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let detail = "is not the key of the certificate: send the two that belong together; the certificate \
                    whose key it is comes first";
                Violation::new(PRIVATE_KEY, detail)
            }
            Error::InvalidCertificate(why) => {
                Violation::new(CERTIFICATE, format!("must be an X.509 certificate of version 3: {why}"))
            }
            _ => Violation::new(PRIVATE_KEY, "must be RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519"),
        })
    }
}

impl From<String> for PrivateKey {
    fn from(pem: String) -> Self {
        Self(pem)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// An object, or nothing. What else stands there may be a key: no error repeats it.
pub(super) fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ClientCertificate>, D::Error> {
    from.deserialize_any(Given)
}

struct Given;

impl<'de> Visitor<'de> for Given {
    type Value = Option<ClientCertificate>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with certificate and privateKey")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom("invalid type: text, expected an object with certificate and privateKey"))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        ClientCertificate::deserialize(MapAccessDeserializer::new(fields)).map(Some)
    }
}

fn bounded(text: &str, most: usize) -> Result<(), String> {
    if text.len() > most { Err(format!("must be at most {most} bytes")) } else { Ok(()) }
}

/// What the sections of a PEM say they are.
fn labels(pem: &str) -> impl Iterator<Item = &str> {
    pem.split("-----BEGIN ").skip(1).map(|rest| rest.split("-----").next().unwrap_or_default())
}

/// A label, if it looks like one: else it may be anything.
fn shown(label: &str) -> &str {
    let is_label =
        label.len() < 40 && label.bytes().all(|byte| byte.is_ascii_uppercase() || b" 0123456789".contains(&byte));
    if is_label { label } else { "what is no PEM" }
}

#[cfg(test)]
mod tests;
