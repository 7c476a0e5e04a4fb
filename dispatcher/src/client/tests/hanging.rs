//! Each phase of a call that hangs: the one deadline ends it, and the timings say how far it came.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::server::{Server, ok, request};
use super::*;

const SOON: Duration = Duration::from_millis(300);

/// Which phases ended: dns, connect, tls, first byte.
fn ended(timings: &Timings) -> [bool; 4] {
    [timings.dns, timings.connect, timings.tls, timings.first_byte].map(|phase| phase.is_some())
}

async fn check(client: &Client, url: &str, expected: [bool; 4]) -> Called {
    let called = client.call(Call { timeout: SOON, ..call(url) }).await;
    let failure = called.answer.as_ref().unwrap_err();
    assert_eq!((failure.reason, failure.message.as_ref()), (Reason::Timeout, "no answer within 300 ms"), "{url}");
    assert_eq!(ended(&called.timings), expected, "{url}: {:?}", called.timings);
    assert!(called.timings.total >= SOON && called.timings.total < PATIENCE / 2, "{:?}", called.timings);
    called
}

fn client(lookup: Lookup) -> Client {
    Client::with(&listed(&["127.0.0.0/8"]), lookup).unwrap()
}

/// Does nothing with a connection for as long as the client wants.
async fn hold(socket: TcpStream) {
    let _held = socket;
    std::future::pending().await
}

#[tokio::test]
async fn a_resolver_that_hangs_is_given_up_on() {
    let client = client(Lookup::new(|_| std::future::pending()));
    check(&client, "https://a.example/", [false; 4]).await;
    check(&client, "http://a.example/", [false; 4]).await;
}

/// A listener whose queue is full answers no more connections.
#[tokio::test]
async fn an_address_that_does_not_answer_is_given_up_on() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let fill = || tokio::time::timeout(SOON, TcpStream::connect(address));
    let mut held = Vec::new();
    while let Ok(connected) = fill().await {
        held.push(connected.unwrap());
        assert!(held.len() < 100);
    }
    let client = client(Names::to(&["127.0.0.1"]).lookup());
    let port = address.port();
    check(&client, &format!("https://a.example:{port}/"), [true, false, false, false]).await;
    check(&client, &format!("http://127.0.0.1:{port}/"), [false; 4]).await;
}

#[tokio::test]
async fn a_handshake_that_hangs_is_given_up_on() {
    let server = Server::at("127.0.0.1", hold).await;
    let client = client(Names::to(&["127.0.0.1"]).lookup());
    let url = format!("https://localhost:{}/", server.port());
    check(&client, &url, [true, true, false, false]).await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_hangs_is_given_up_on() {
    let client = client(Names::to(&["127.0.0.1"]).lookup());
    let silent = Server::at("127.0.0.1", hold).await;
    check(&client, &silent.url(), [false, true, false, false]).await;
    let named = format!("http://a.example:{}/", silent.port());
    check(&client, &named, [true, true, false, false]).await;
    let head = Server::saying("HTTP/1.1 200 OK\r\ncontent-le").await;
    check(&client, &head.url(), [false, true, false, false]).await;
    let body = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[1,").await;
    let called = check(&client, &body.url(), [false, true, false, true]).await;
    assert_eq!(&called.piece[..], b"[1,");
}

/// Something always comes, and the deadline is over all of it.
#[tokio::test]
async fn an_answer_that_trickles_is_given_up_on() {
    let server = Server::at("127.0.0.1", |mut socket| async move {
        request(&mut socket).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n").await.unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while socket.write_all(b" ").await.is_ok() {
            ticks.tick().await;
        }
    })
    .await;
    let client = client(Lookup::system());
    let called = check(&client, &server.url(), [false, true, false, true]).await;
    assert!(called.piece.len() > 2 && called.piece.len() < 100, "{}", called.piece.len());
    // Nobody needs it, and it is not waited for.
    let unneeded = client.call(Call { wants_body: false, ..call(&server.url()) }).await;
    assert_eq!(unneeded.answer.unwrap().status, 200);
}

#[tokio::test]
async fn the_phases_of_a_call_are_those_of_its_own_connection() {
    let server = Server::tls("server", &["http/1.1"]).await;
    let slow = Lookup::new(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(vec!["127.0.0.1:0".parse().unwrap()])
    });
    let client = client(slow);
    let url = format!("https://localhost:{}/", server.port());
    let first = client.call(call(&url)).await;
    first.answer.unwrap();
    let timings = first.timings;
    assert_eq!(ended(&timings), [true; 4]);
    assert!(timings.dns.unwrap() >= Duration::from_millis(50));
    let opening = timings.dns.unwrap() + timings.connect.unwrap() + timings.tls.unwrap();
    assert!(opening <= timings.first_byte.unwrap() && timings.first_byte.unwrap() <= timings.total, "{timings:?}");
    let kept = client.call(call(&url)).await;
    kept.answer.unwrap();
    assert_eq!(ended(&kept.timings), [false, false, false, true]);
    assert_eq!(server.connections(), 1);
    let plain = Server::saying(ok("", b"[]")).await;
    let called = client.call(call(&plain.url())).await;
    called.answer.unwrap();
    assert_eq!(ended(&called.timings), [false, true, false, true]);
}

/// The second call begins to open a connection, and is answered on the first one's before that is there.
#[tokio::test]
async fn what_another_task_opens_is_no_phase_of_a_call() {
    let server = Server::saying(ok("", b"[]")).await;
    let turns = Arc::new(tokio::sync::Semaphore::new(1));
    let once = Arc::clone(&turns);
    let lookup = Lookup::new(move |_| {
        let turn = Arc::clone(&once);
        async move {
            turn.acquire().await.unwrap().forget();
            Ok(vec!["127.0.0.1:0".parse().unwrap()])
        }
    });
    let client = client(lookup);
    let url = format!("http://a.example:{}/", server.port());
    let (first, second) = tokio::join!(client.call(call(&url)), client.call(call(&url)));
    let (mine, others) = (ended(&first.timings), ended(&second.timings));
    first.answer.unwrap();
    second.answer.unwrap();
    assert_eq!([mine, others], [[true, true, false, true], [false, false, false, true]]);
    assert_eq!(server.connections(), 1);
    turns.add_permits(1);
}
