//! Opening the WebSocket: request, limits, TLS by rustls on ring; and errors as clauses.
//!
//! Trusted are the public authorities, which are bundled, and those of a file. Never a certificate that does not
//! verify.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use fpaas_core::limits;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Result};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::error::Error as IngestError;
use crate::upstream::Relay;

/// Who we are, to whom runs the upstream.
const USER_AGENT: &str = concat!("fpaas/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Whose certificates are good; by default those of the public authorities.
#[derive(Clone, Debug)]
pub struct Trust(Arc<RootCertStore>);

impl Default for Trust {
    fn default() -> Self {
        Self(Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }))
    }
}

impl Trust {
    /// The authorities of a PEM file too.
    pub fn and(self, path: &Path) -> Result<Self, IngestError> {
        let mut roots = Arc::unwrap_or_clone(self.0);
        add(&mut roots, path).map_err(|why| IngestError::Authorities { path: path.to_owned(), why })?;
        Ok(Self(Arc::new(roots)))
    }

    fn tls(&self) -> Result<Arc<ClientConfig>> {
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Io(std::io::Error::other(error)))?
            .with_root_certificates(self.0.clone())
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let said = |error: pem::Error| match error {
        pem::Error::Io(error) => error.to_string(),
        _ => "it is no PEM file".to_owned(),
    };
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(said)? {
        roots.add(certificate.map_err(said)?).map_err(|error| error.to_string())?;
    }
    if roots.len() > before { Ok(()) } else { Err("it has no certificate".to_owned()) }
}

/// Opens a connection that goes on behind `cursor`.
pub(crate) async fn dial(relay: &Relay, cursor: Option<u64>, trust: &Trust) -> Result<Socket> {
    let uri: Uri = relay.address(cursor).as_str().parse().map_err(|_| Error::Url(UrlError::NoPathOrQuery))?;
    let request = ClientRequestBuilder::new(uri).with_header("User-Agent", USER_AGENT);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(limits::MESSAGE_BYTES_MAX))
        .max_frame_size(Some(limits::MESSAGE_BYTES_MAX));
    let connector = Connector::Rustls(trust.tls()?);
    let connected = connect_async_tls_with_config(request, Some(limits), true, Some(connector));
    connected.await.map(|(socket, _response)| socket)
}

/// Why it did not work, to be read behind "cannot reach …:".
pub(crate) fn clause(error: &Error) -> String {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        Error::Io(error) if error.kind() == ErrorKind::ConnectionReset => "it cut the connection".to_owned(),
        Error::Io(error) => certificate(error).unwrap_or_else(|| error.to_string()),
        Error::Http(response) => format!("it answered {}", response.status()),
        Error::ConnectionClosed | Error::AlreadyClosed => "it closed the connection".to_owned(),
        Error::Protocol(_) => format!("it does not speak WebSocket as it should ({error})"),
        Error::Capacity(_) => format!("it sent a message above {} bytes", limits::MESSAGE_BYTES_MAX),
        other => other.to_string(),
    }
}

/// What is wrong with its certificate, if that is what is wrong.
fn certificate(error: &std::io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(why) = inner else { return None };
    Some(match why {
        CertificateError::UnknownIssuer | CertificateError::Other(_) => {
            "its certificate comes from no authority we know; if it is one of your own, name its file with --upstream-ca"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another host".to_owned()
        }
        other => format!("its certificate does not verify: {other}"),
    })
}
