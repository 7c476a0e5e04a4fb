//! Servers, one task each: what they say is written down byte for byte, or they are hyper's over TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Ends with its test.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Server {
    /// At a loopback address, with a port of its own where none is said, doing that with each connection.
    pub(super) async fn at<F: Future<Output = ()> + Send + 'static>(
        at: &str,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let at = if at.contains(':') { at.to_owned() } else { format!("{at}:0") };
        let listener = TcpListener::bind(at).await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                served.spawn(serve(socket));
            }
        });
        Self { address, connections, tasks }
    }

    /// Reads a request and says `answer`, on each connection again and again.
    pub(super) async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::at("127.0.0.1", move |socket| say(socket, Arc::clone(&answer))).await
    }

    /// Over TLS by the certificate of that name: HTTP/2 where `protocols` has it and the client wants it.
    pub(super) async fn tls(certificate: &str, protocols: &[&str]) -> Self {
        let mut config = config(certificate);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::at("127.0.0.1", move |socket| serve(acceptor.clone(), socket)).await
    }

    /// The same, which asks for a client certificate of our authority, and takes nobody without one where it
    /// `insists`. It answers whom it was shown, as a fingerprint, and whether the session was resumed. With `closes`,
    /// each answer ends its connection.
    pub(super) async fn mutual(insists: bool, closes: bool, protocols: &[&str]) -> Self {
        let mut config = mutual_config(insists);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::at("127.0.0.1", move |socket| serve_shown(acceptor.clone(), socket, closes)).await
    }

    /// Nobody listens there any more.
    pub(super) async fn stop(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

pub(super) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/tls").join(name)
}

fn mutual_config(insists: bool) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("clients-ca.pem")).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let clients = if insists { clients } else { clients.allow_unauthenticated() };
    let (chain, key) = identity("server");
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_client_cert_verifier(clients.build().unwrap()).with_single_cert(chain, key).unwrap()
}

fn config(certificate: &str) -> ServerConfig {
    let (chain, key) = identity(certificate);
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    config.with_single_cert(chain, key).unwrap()
}

fn identity(certificate: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_file_iter(file(&format!("{certificate}.pem"))).unwrap().map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(file(&format!("{certificate}.key"))).unwrap();
    (chain.collect(), key)
}

/// A request's head and its body, as long as it says; nothing at the end of the connection.
pub(super) async fn request(socket: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        if socket.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

async fn say(mut socket: TcpStream, answer: Arc<[u8]>) {
    while request(&mut socket).await.is_some() {
        // Who has enough of it hangs up.
        if socket.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Answers with the protocol, as text.
async fn serve(acceptor: TlsAcceptor, socket: TcpStream) {
    let Ok(stream) = acceptor.accept(socket).await else { return };
    answer(stream, |request| hyper::Response::new(format!("\"{:?}\"", request.version()))).await;
}

/// See [`Server::mutual`].
async fn serve_shown(acceptor: TlsAcceptor, socket: TcpStream, closes: bool) {
    let stream = match acceptor.accept(socket).into_fallible().await {
        Ok(stream) => stream,
        Err((_, mut socket)) => {
            // Whoever hangs up on what was sent takes back what it has said itself.
            let _hung_up = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
            return;
        }
    };
    let tls = stream.get_ref().1;
    let shown = tls.peer_certificates().and_then(|chain| chain.first()).map(|own| fingerprint(own));
    let (shown, kind) = (shown.unwrap_or_else(|| "nobody".to_owned()), tls.handshake_kind().unwrap());
    answer(stream, move |_| {
        let mut answer = hyper::Response::new(format!("\"{shown} {kind:?}\""));
        if closes {
            answer.headers_mut().insert("connection", "close".parse().unwrap());
        }
        answer
    })
    .await;
}

pub(super) fn fingerprint(certificate: &[u8]) -> String {
    use sha2::Digest as _;
    fpaas_core::hash::to_hex(&sha2::Sha256::digest(certificate), 64)
}

async fn answer(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    with: impl Fn(hyper::Request<hyper::body::Incoming>) -> hyper::Response<String>,
) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = hyper::service::service_fn(|request| std::future::ready(Ok::<_, Infallible>(with(request))));
    let io = TokioIo::new(stream);
    // Who has enough of it hangs up.
    let _ended = if is_h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
    };
}

/// `200` with that body and those headers, each with its end of line.
pub(super) fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}
