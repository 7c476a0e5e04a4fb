//! The server on a real socket: what clients can do to it, and how it stops.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{KEY, World};

struct Served {
    world: World,
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<fpaas_api::Result<()>>,
}

impl Served {
    async fn new() -> Self {
        let world = World::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server = tokio::spawn(fpaas_api::serve(listener, world.routes.clone(), shutdown.clone()));
        Self { world, address, shutdown, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn head(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n{more}\r\n")
}

/// Reads until what was read ends with `end`, or to the end of the stream.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) || end.is_empty() {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => text.extend_from_slice(&buffer[..length]),
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_between_requests() {
    let served = Served::new().await;
    let mut stream = served.connect().await;
    for _ in 0..3 {
        stream.write_all(head("GET", "/readyz", "").as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "{\"ready\":true,\"phase\":\"ready\"}").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn stopping_ends_tails_and_idle_connections_and_lets_requests_end() {
    let served = Served::new().await;
    let mut tail = served.connect().await;
    tail.write_all(head("GET", "/v1/topics/firehose/tail", "").as_bytes()).await.unwrap();
    read_until(&mut tail, "\n\n\r\n").await;
    let mut idle = served.connect().await;
    idle.write_all(head("GET", "/readyz", "").as_bytes()).await.unwrap();
    read_until(&mut idle, "}").await;
    let mut busy = served.connect().await;
    busy.write_all(head("PUT", "/v1/topics/out", "content-length: 2\r\nexpect: 100-continue\r\n").as_bytes())
        .await
        .unwrap();
    read_until(&mut busy, "100 Continue\r\n\r\n").await;
    served.shutdown.cancel();
    assert!(read_until(&mut tail, "").await.ends_with("0\r\n\r\n"), "the stream is ended as it should be");
    assert_eq!(read_until(&mut idle, "").await, "");
    busy.write_all(b"{}").await.unwrap();
    let answer = read_until(&mut busy, "").await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    served.server.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
    drop(served.world);
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let served = Served::new().await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: ").await.unwrap();
    tokio::time::pause();
    let answer = read_until(&mut stream, "").await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_or_none_is_refused() {
    let served = Served::new().await;
    let large = format!("x: {}\r\n", "x".repeat(100_000));
    let many = "x: y\r\n".repeat(100);
    for (bytes, status) in [
        (head("GET", "/readyz", &large), "431"),
        (head("GET", "/readyz", &many), "431"),
        ("\0\0\0\0\r\n\r\n".to_owned(), "400"),
    ] {
        let mut stream = served.connect().await;
        // It may be refused before all of it is sent.
        drop(stream.write_all(bytes.as_bytes()).await);
        let answer = read_until(&mut stream, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn whoever_sends_too_much_gets_to_read_why() {
    let served = Served::new().await;
    let mut stream = served.connect().await;
    let size = 10 * 1024 * 1024;
    stream
        .write_all(head("PUT", "/v1/subscriptions/likes", &format!("content-length: {size}\r\n")).as_bytes())
        .await
        .unwrap();
    stream.write_all(&vec![b' '; size]).await.unwrap();
    let answer = read_until(&mut stream, "}").await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("content-too-large"), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_away_in_a_request_harms_nobody() {
    let served = Served::new().await;
    for _ in 0..20 {
        let mut stream = served.connect().await;
        stream.write_all(head("PUT", "/v1/topics/out", "content-length: 100\r\n").as_bytes()).await.unwrap();
        stream.write_all(b"{\"part").await.unwrap();
    }
    let mut stream = served.connect().await;
    stream.write_all(head("GET", "/v1/topics/out", "connection: close\r\n").as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn what_the_program_says_is_changed_while_it_runs() {
    let world = World::new().await;
    let path = "/v1/admin/messages";
    assert_eq!(world.get(path).await.json(200)["filter"], "info");
    assert_eq!(world.put(path, r#"{"filter":"warn,fpaas=debug"}"#).await.json(200)["filter"], "warn,fpaas=debug");
    for (body, pointer) in [(r#"{"filter":"a b"}"#, "/filter"), (r#"{"filter":""}"#, "/filter"), ("{}", "/filter")] {
        world.put(path, body).await.refused(400, "invalid-request", &[pointer]);
    }
    assert_eq!(world.get(path).await.json(200)["filter"], "warn,fpaas=debug");
}
