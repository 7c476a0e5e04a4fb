//! TLS as calls have it: whose certificates are good, which one is shown, HTTP/2 where the endpoint has it, and the
//! moment at which a handshake begins, for [`crate::timings`].

use std::sync::Arc;

use fpaas_core::subscription::Identity;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ClientConfig, NamedGroup};

use crate::config::Trust;
use crate::response::{Failure, Reason};
use crate::timings;

/// Sessions that are remembered so that their endpoints' next handshakes are short.
const SESSIONS: usize = 256;
/// The same of each client certificate, which is of one subscription or a few.
const SESSIONS_EACH: usize = 32;

/// Sessions are resumed among its users alone: whoever shows a certificate has one of its own.
pub(super) fn config(trust: &Trust, shown: Option<&Arc<CertifiedKey>>) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(trust.verifier());
    Ok(match shown {
        Some(shown) => {
            let shown = SingleCertAndKey::from(Arc::clone(shown));
            with_rest(config.with_client_cert_resolver(Arc::new(shown)), SESSIONS_EACH)
        }
        None => with_rest(config.with_no_client_auth(), SESSIONS),
    })
}

fn with_rest(mut config: ClientConfig, sessions: usize) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::store(Arc::new(Sessions(ClientSessionMemoryCache::new(sessions))));
    config
}

/// What an endpoint may have against a certificate (RFC 8446 section 6.2).
const REFUSALS: [(AlertDescription, &str); 9] = [
    (AlertDescription::CertificateRequired, "it asks for another one (certificate_required)"),
    (AlertDescription::UnknownCA, "it does not know the authority (unknown_ca)"),
    (AlertDescription::CertificateExpired, "it has expired (certificate_expired)"),
    (AlertDescription::CertificateRevoked, "it is revoked (certificate_revoked)"),
    (AlertDescription::BadCertificate, "it is not good there (bad_certificate)"),
    (AlertDescription::UnsupportedCertificate, "it is of a kind that is not good there (unsupported_certificate)"),
    (AlertDescription::CertificateUnknown, "it is not good there (certificate_unknown)"),
    (AlertDescription::DecryptError, "its signature is not good there (decrypt_error)"),
    (AlertDescription::AccessDenied, "its owner may not call (access_denied)"),
];

/// Where an endpoint did not take who calls: in TLS 1.3 it says so only once it is sent something.
pub(super) fn refused(error: &reqwest::Error, shown: Option<Identity<'_>>) -> Option<Failure> {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| (*cause).source());
    // Of what a connection ended with HTTP/2 keeps the text alone.
    let said: Vec<_> = causes.map(ToString::to_string).collect();
    let is_said = |alert| said.contains(&rustls::Error::AlertReceived(alert).to_string());
    let message = match (REFUSALS.iter().find(|(alert, _)| is_said(*alert))?, shown) {
        ((AlertDescription::CertificateRequired, _), None) => {
            "the endpoint wants a client certificate: set processor.webhook.clientCertificate".to_owned()
        }
        (_, None) => return None,
        ((_, why), Some(_)) => format!("the endpoint does not take the client certificate: {why}"),
    };
    Some(Failure::new(Reason::Connect, message))
}

/// What rustls asks first in a handshake, which tells when that is.
#[derive(Debug)]
struct Sessions(ClientSessionMemoryCache);

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        timings::handshake();
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        timings::handshake();
        self.0.take_tls13_ticket(name)
    }
}
