//! Servers, one task each: what they say is written down byte for byte, or they are hyper's over TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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

fn config(certificate: &str) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(file(&format!("{certificate}.pem"))).unwrap().map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(file(&format!("{certificate}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    config.with_single_cert(chain.collect(), key).unwrap()
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
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
        Ok::<_, Infallible>(hyper::Response::new(format!("\"{:?}\"", request.version())))
    });
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
