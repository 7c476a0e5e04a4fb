//! `wss://`: the recording over TLS from a server with a certificate of our own authority, and certificates that are no
//! good.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use fpaas_ingest::{Config, State, Trust};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{recorded_frames, testdata};
use crate::world::{World, assert_exactly, expected};

fn file(name: &str) -> PathBuf {
    testdata("tls").join(name)
}

fn trusting(ca: &str) -> impl FnOnce(&mut Config) {
    let trust = Trust::default().and(&file(ca)).unwrap();
    |config| config.trust = trust
}

fn tls(name: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(file(&format!("{name}.pem"))).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

/// Serves one connection under the certificate of that name: the frames, then silence until it is closed.
fn serve(name: &str, frames: Vec<Bytes>) -> SocketAddr {
    let (listener, tls) = (TcpListener::bind("127.0.0.1:0").unwrap(), tls(name));
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), socket);
        // A client that turns away is what the other tests are about.
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        for frame in frames {
            socket.send(Message::Binary(frame)).unwrap();
        }
        while socket.read().is_ok() {}
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recording_over_wss_arrives_whole() {
    let (world, frames) = (World::new().await, recorded_frames());
    let address = serve("server", frames.clone());
    let running = world.start_with(&[format!("wss://{address}")], 1, trusting("ca.pem"));
    let expected = expected(&frames);
    assert_exactly(&world.events(&expected).await, &expected);
    running.stop().await.unwrap();
}

async fn check_refused(certificate: &str, with: impl FnOnce(&mut Config), why: &str) {
    let (world, address) = (World::new().await, serve(certificate, vec![]));
    let running = world.start_with(&[format!("wss://{address}")], 1, with);
    let mut upstreams = running.status.upstreams();
    let state = upstreams.wait_for(|all| all[0].state != State::Idle).await.unwrap()[0].state.clone();
    assert_eq!(state, State::Unreachable(format!("cannot reach wss://{address}: {why}")));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_verify_is_refused_in_one_sentence() {
    let unknown =
        "its certificate comes from no authority we know; if it is one of your own, name its file with --upstream-ca";
    check_refused("server", |_| {}, unknown).await;
    check_refused("elsewhere", trusting("ca.pem"), "its certificate is for another host").await;
}

#[test]
fn a_file_without_authorities_is_refused_with_its_path() {
    let said = |name: &str| Trust::default().and(&file(name)).unwrap_err().to_string();
    let at = |name: &str| format!("cannot take certificate authorities from {}: ", file(name).display());
    assert_eq!(said("none.pem"), at("none.pem") + "No such file or directory (os error 2)");
    assert_eq!(said("server.key"), at("server.key") + "it has no certificate");
    assert_eq!(said("make.sh"), at("make.sh") + "it has no certificate");
}
