//! Whose certificates endpoints may have: those of the system's authorities, and of the operator's own.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tracing::warn;

/// Cheap to clone: the system's authorities are read once for all clones, when the first call is prepared.
#[derive(Clone, Debug, Default)]
pub struct Trust(Arc<Authorities>);

#[derive(Debug, Default)]
struct Authorities {
    more: Vec<CertificateDer<'static>>,
    verifier: OnceLock<Arc<dyn ServerCertVerifier>>,
}

impl Trust {
    /// The system's authorities, and those of a PEM file. Says what is wrong with it.
    pub fn with(path: &Path) -> Result<Self, String> {
        let said = |error: pem::Error| match error {
            pem::Error::Io(error) => error.to_string(),
            _ => "it is no PEM file".to_owned(),
        };
        let (mut roots, mut more) = (RootCertStore::empty(), Vec::new());
        for certificate in CertificateDer::pem_file_iter(path).map_err(said)? {
            let certificate = certificate.map_err(said)?;
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
            more.push(certificate);
        }
        if more.is_empty() {
            return Err("it has no certificate".to_owned());
        }
        Ok(Self(Arc::new(Authorities { more, ..Authorities::default() })))
    }

    pub(crate) fn verifier(&self) -> Arc<dyn ServerCertVerifier> {
        Arc::clone(self.0.verifier.get_or_init(|| verifier(&self.0.more)))
    }
}

fn verifier(more: &[CertificateDer<'static>]) -> Arc<dyn ServerCertVerifier> {
    let provider = Arc::new(ring::default_provider());
    match Verifier::new_with_extra_roots(more.iter().cloned(), Arc::clone(&provider)) {
        Ok(verifier) => Arc::new(verifier),
        Err(error) => {
            let why = "https endpoints cannot be verified and will fail";
            warn!(%error, "no certificates of authorities are found here: {why}");
            Arc::new(Nobody(provider))
        }
    }
}

/// Trusts nobody.
#[derive(Debug)]
struct Nobody(Arc<CryptoProvider>);

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
