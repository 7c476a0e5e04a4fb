//! What is made of a body: compressed, too long, broken, not wanted.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::server::{Server, ok};
use super::*;
use crate::response::Body;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

async fn called(answer: Vec<u8>, wants_body: bool) -> Called {
    let server = Server::saying(answer).await;
    let client = Client::new(&Config::reaching(Reach::Dev)).unwrap();
    client.call(Call { wants_body, ..call(&server.url()) }).await
}

async fn check_whole(answer: Vec<u8>, expected: &[u8]) {
    let called = called(answer, true).await;
    assert_eq!(called.piece, expected[..expected.len().min(limits::RESPONSE_PIECE_BYTES_MAX)]);
    let Ok(Answer { body: Body::Whole(body), .. }) = called.answer else { panic!("{called:?}") };
    assert!(body == expected);
}

async fn check_bad(answer: Vec<u8>, why: &str) -> Bytes {
    let Called { answer, piece, .. } = called(answer, true).await;
    let failure = answer.unwrap_err();
    assert_eq!((failure.reason, failure.status), (Reason::BadResponse, Some(200)));
    assert!(failure.message.contains(why), "{failure:?}");
    piece
}

#[tokio::test]
async fn an_answer_may_be_gzip_and_counts_as_what_it_stands_for() {
    let (short, long) = (b"[1,2]".as_slice(), vec![b'7'; 300_000]);
    check_whole(ok("", short), short).await;
    check_whole(ok("content-encoding: identity\r\n", short), short).await;
    check_whole(ok("content-encoding: gzip\r\n", &gzip(short)), short).await;
    check_whole(ok("content-encoding: X-Gzip\r\n", &gzip(&long)), &long).await;
    check_whole(ok("content-encoding: gzip\r\n", &[gzip(b"[1,"), gzip(b"2]")].concat()), short).await;
    check_whole(ok("content-encoding: gzip\r\n", b""), b"").await;
    let most = vec![b' '; limits::RESPONSE_BYTES_MAX];
    check_whole(ok("content-encoding: gzip\r\n", &gzip(&most)), &most).await;
    check_whole(ok("", &most), &most).await;
}

#[tokio::test]
async fn one_that_is_not_what_it_says_is_a_bad_response() {
    let whole = gzip(b"[1,2]");
    let mut flipped = whole.clone();
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    for body in
        [&whole[..whole.len() - 1], &whole[..9], b"[1,2]", &flipped, &[&whole[..], b"junk that follows"].concat()]
    {
        check_bad(ok("content-encoding: gzip\r\n", body), "no whole gzip").await;
    }
    for encoding in ["br", "zstd", "deflate", "gzip, gzip", "\u{fc}"] {
        check_bad(ok(&format!("content-encoding: {encoding}\r\n"), b"[1,2]"), "none that was asked for").await;
    }
    check_bad(ok("content-encoding: gzip\r\ncontent-encoding: gzip\r\n", &gzip(&whole)), "none that was asked for")
        .await;
}

/// What a bomb makes of memory is bounded by what is decoded at most.
#[tokio::test]
async fn a_bomb_is_too_long_and_nothing_of_it_is_kept_but_its_beginning() {
    let zeros = vec![b'0'; limits::RESPONSE_BYTES_MAX + 1];
    let bomb = gzip(&zeros);
    assert!(bomb.len() < 16 * 1024);
    let within = gzip(&vec![b'0'; 512 * 1024 * 1024]);
    assert!(within.len() < limits::RESPONSE_BYTES_MAX);
    for body in [ok("content-encoding: gzip\r\n", &bomb), ok("content-encoding: gzip\r\n", &within), ok("", &zeros)] {
        let called = called(body, true).await;
        assert!(matches!(called.answer, Ok(Answer { body: Body::TooLong, .. })), "{:?}", called.answer);
        assert_eq!(called.piece, zeros[..limits::RESPONSE_PIECE_BYTES_MAX]);
    }
}

#[tokio::test]
async fn the_beginning_of_a_body_is_kept_whatever_the_answer() {
    let page = "<h1>no</h1>".repeat(500);
    let kept = &page.as_bytes()[..limits::RESPONSE_PIECE_BYTES_MAX];
    let refusal = |headers: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 503 Away\r\n{headers}content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    for (answer, expected) in [
        (refusal("", page.as_bytes()), kept),
        (refusal("content-encoding: gzip\r\n", &gzip(page.as_bytes())), kept),
        (refusal("", b"short"), b"short".as_slice()),
        (refusal("content-encoding: br\r\n", b"short"), b""),
    ] {
        let called = called(answer, true).await;
        assert_eq!(called.answer.unwrap().status, 503);
        assert_eq!(called.piece, expected);
    }
    // A body that nobody needs acknowledges whatever it is.
    let called = called(ok("content-encoding: br\r\n", b"x"), false).await;
    assert!(matches!(called.answer, Ok(Answer { status: 200, body: Body::Unread, .. })));
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,".to_vec();
    let server = Server::at("127.0.0.1", move |mut socket| {
        let cut = cut.clone();
        async move {
            server::request(&mut socket).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, &cut).await.unwrap();
        }
    });
    let (server, client) = (server.await, Client::new(&Config::reaching(Reach::Dev)).unwrap());
    let called = client.call(call(&server.url())).await;
    assert_eq!((called.answer.unwrap_err().reason, &called.piece[..]), (Reason::Cut, b"[1,".as_slice()));
}

/// Invariant: bounded.
#[tokio::test]
async fn large_answers_wait_for_room_and_small_ones_do_not() {
    let mut client = Client::new(&Config::reaching(Reach::Dev)).unwrap();
    client.room = Room::of(limits::RESPONSE_BYTES_MAX);
    let large = Server::saying(ok("content-encoding: gzip\r\n", &gzip(&vec![b' '; limits::RESPONSE_BYTES_MAX]))).await;
    let small = Server::saying(ok("content-encoding: gzip\r\n", &gzip(b"[1,2]"))).await;
    let call_of = |server: &Server| {
        let (client, url) = (client.clone(), server.url());
        async move { client.call(Call { wants_body: true, ..call(&url) }).await }
    };
    let first = call_of(&large).await;
    assert!(first.answer.is_ok());
    // What it has brought is there still.
    let mut second = std::pin::pin!(call_of(&large));
    assert!(tokio::time::timeout(Duration::from_millis(300), second.as_mut()).await.is_err(), "there is no room");
    assert!(call_of(&small).await.answer.is_ok());
    drop(first);
    assert!(second.await.answer.is_ok());
}
