//! An endpoint on a socket: what it does with each request is scripted, what it was sent is recorded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use sha2::Digest as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, tls_file};

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: &'static str,
        body: String,
    },
    /// `{"records":[{"key": id, "value": event}]}` of what it was sent.
    Echo,
    /// Closes the connection without an answer.
    Cut,
    /// Closes the connection in the middle of its body.
    CutBody,
    /// Never answers.
    Hang,
    /// [`Reply::Echo`], after so long.
    Late(Duration),
    /// Without a body, after so long.
    LateStatus(Duration, u16),
}

/// `200` with `body`.
pub(crate) fn ok(body: &str) -> Reply {
    Reply::Answer { status: 200, headers: "", body: body.to_owned() }
}

/// `status` without a body.
pub(crate) const fn status(status: u16) -> Reply {
    Reply::Answer { status, headers: "", body: String::new() }
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on.
    pub(crate) connection: u64,
    /// The fingerprint of the certificate that the connection was opened with.
    pub(crate) shown: Option<String>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The ids of its events.
    pub(crate) fn events(&self) -> Vec<String> {
        let body = self.json();
        body["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }
}

type Script = Arc<Mutex<VecDeque<Reply>>>;

/// What it does once its script is done.
type Decide = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

pub(crate) struct Receiver {
    pub(crate) url: String,
    script: Script,
    requests: mpsc::Receiver<Request>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Does what `script` says, one after the other, then echoes.
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(script, |_| Reply::Echo, None).await
    }

    /// Echoes, over TLS, to whom our authority of clients has given a certificate, and to nobody else.
    pub(crate) async fn mutual() -> Self {
        Self::with([], |_| Reply::Echo, Some(acceptor())).await
    }

    /// Does what `decide` says of each request.
    pub(crate) async fn answering(decide: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with([], decide, None).await
    }

    async fn with(
        script: impl IntoIterator<Item = Reply>,
        decide: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/hook?token=secret", listener.local_addr().unwrap());
        let script: Script = Arc::new(Mutex::new(script.into_iter().collect()));
        let (sender, requests) = mpsc::channel(10_000);
        let task = tokio::spawn(accept(listener, tls, (Arc::clone(&script), Arc::new(decide)), sender));
        Self { url, script, requests, task }
    }

    pub(crate) fn then(&self, reply: Reply) {
        self.script.lock().unwrap().push_back(reply);
    }

    pub(crate) async fn request(&mut self) -> Request {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("a request arrives").unwrap()
    }

    /// What has arrived so far.
    pub(crate) fn requests(&mut self) -> Vec<Request> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

fn acceptor() -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls_file("clients-ca.pem")).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = CertificateDer::pem_file_iter(tls_file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap()).into()
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    (script, decide): (Script, Decide),
    sender: mpsc::Sender<Request>,
) {
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, script, decide, sender) = (tls.clone(), Arc::clone(&script), Arc::clone(&decide), sender.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => secured(tls, stream, connection, (&script, &decide), &sender).await,
                None => serve(stream, (connection, None), (&script, &decide), &sender).await,
            }
        });
    }
}

async fn secured(
    tls: TlsAcceptor,
    stream: TcpStream,
    connection: u64,
    does: (&Script, &Decide),
    sender: &mpsc::Sender<Request>,
) -> Option<()> {
    match tls.accept(stream).into_fallible().await {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates()?.first()?;
            let shown = fpaas_core::hash::to_hex(&sha2::Sha256::digest(shown), 64);
            serve(stream, (connection, Some(shown)), does, sender).await
        }
        Err((_, mut stream)) => {
            // Whoever hangs up on what was sent takes back what it has said itself.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok()?;
            None
        }
    }
}

/// Ends with the connection, whoever closes it.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    (connection, shown): (u64, Option<String>),
    (script, decide): (&Script, &Decide),
    sender: &mpsc::Sender<Request>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let mut request = read(&mut stream, &mut buffer).await?;
        (request.connection, request.shown) = (connection, shown.clone());
        let scripted = script.lock().unwrap().pop_front();
        let reply = scripted.unwrap_or_else(|| decide(&request));
        sender.try_send(request.clone()).ok()?;
        let (status, headers, body) = match reply {
            Reply::Answer { status, headers, body } => (status, headers, body),
            Reply::Echo => (200, "", echo(&request)),
            Reply::Late(wait) => {
                tokio::time::sleep(wait).await;
                (200, "", echo(&request))
            }
            Reply::LateStatus(wait, status) => {
                tokio::time::sleep(wait).await;
                (status, "", String::new())
            }
            Reply::Cut => return None,
            Reply::CutBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"records\":").await.ok()?;
                return None;
            }
            Reply::Hang => {
                // Until the caller gives up.
                stream.read_u8().await.ok()?;
                return None;
            }
        };
        let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let answer = format!("HTTP/1.1 {status} X\r\n{length}{headers}\r\n{body}");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn echo(request: &Request) -> String {
    let body = request.json();
    let events = body["events"].as_array().unwrap().iter();
    let records: Vec<Value> =
        events.map(|event| serde_json::json!({"key": event["id"], "value": event["event"]})).collect();
    serde_json::json!({ "records": records }).to_string()
}

async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        (stream.read_buf(buffer).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    while buffer.len() < end + 4 + length {
        (stream.read_buf(buffer).await.ok()? > 0).then_some(())?;
    }
    let rest = buffer.split_off(end + 4 + length);
    let body = std::mem::replace(buffer, rest).split_off(end + 4);
    Some(Request { path, headers, body, connection: 0, shown: None })
}
