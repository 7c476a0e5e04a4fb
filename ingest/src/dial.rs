//! Opening the WebSocket: request, limits, TLS by rustls on ring with the bundled roots; and errors as clauses.

use std::io::ErrorKind;
use std::sync::Arc;

use fpaas_core::limits;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Result};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::upstream::Relay;

/// Who we are, to whom runs the upstream.
const USER_AGENT: &str = concat!("fpaas/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a connection that goes on behind `cursor`.
pub(crate) async fn dial(relay: &Relay, cursor: Option<u64>) -> Result<Socket> {
    let uri: Uri = relay.address(cursor).as_str().parse().map_err(|_| Error::Url(UrlError::NoPathOrQuery))?;
    let request = ClientRequestBuilder::new(uri).with_header("User-Agent", USER_AGENT);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(limits::MESSAGE_BYTES_MAX))
        .max_frame_size(Some(limits::MESSAGE_BYTES_MAX));
    let connected = connect_async_tls_with_config(request, Some(limits), true, Some(Connector::Rustls(tls()?)));
    connected.await.map(|(socket, _response)| socket)
}

fn tls() -> Result<Arc<ClientConfig>> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Io(std::io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Why it did not work, to be read behind "cannot reach …:".
pub(crate) fn clause(error: &Error) -> String {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        Error::Io(error) if error.kind() == ErrorKind::ConnectionReset => "it cut the connection".to_owned(),
        Error::Io(error) => error.to_string(),
        Error::Http(response) => format!("it answered {}", response.status()),
        Error::ConnectionClosed | Error::AlreadyClosed => "it closed the connection".to_owned(),
        Error::Protocol(_) => format!("it does not speak WebSocket as it should ({error})"),
        Error::Capacity(_) => format!("it sent a message above {} bytes", limits::MESSAGE_BYTES_MAX),
        other => other.to_string(),
    }
}
