//! The proxy's faults are what they say, seen from both sides of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::time::Duration;

use fpaas_testkit::Proxy;
use fpaas_testkit::proxy::Way;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_millis(200);

/// A connection through a proxy, and both of its ends.
struct World {
    proxy: Proxy,
    listener: TcpListener,
    caller: TcpStream,
    callee: TcpStream,
}

impl World {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap()).await.unwrap();
        let caller = TcpStream::connect(proxy.address()).await.unwrap();
        let (callee, _) = listener.accept().await.unwrap();
        proxy.wait(LONG, |counts| counts.accepted == 1).await.unwrap();
        Self { proxy, listener, caller, callee }
    }

    async fn ask(&mut self) -> [u8; 4] {
        self.caller.write_all(b"ping").await.unwrap();
        read(&mut self.callee).await
    }

    async fn answer(&mut self) -> [u8; 4] {
        self.callee.write_all(b"pong").await.unwrap();
        read(&mut self.caller).await
    }
}

async fn read(stream: &mut TcpStream) -> [u8; 4] {
    let mut bytes = [0; 4];
    timeout(LONG, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

async fn ended(stream: &mut TcpStream) -> std::io::Result<usize> {
    timeout(LONG, stream.read(&mut [0])).await.unwrap()
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_counted() {
    let mut world = World::new().await;
    assert_eq!((world.ask().await, world.answer().await), (*b"ping", *b"pong"));
    let counts = world.proxy.wait(LONG, |counts| counts.answers == 4).await.unwrap();
    assert_eq!((counts.accepted, counts.requests, counts.cut), (1, 4, 0));
    drop(world.caller);
    assert_eq!(ended(&mut world.callee).await.unwrap(), 0, "an end is passed on");
}

#[tokio::test]
async fn a_cut_resets_every_connection_and_new_ones_are_taken() {
    let mut world = World::new().await;
    assert_eq!(world.proxy.cut().await, 1);
    assert_eq!((world.proxy.counts().cut, world.proxy.connections()), (1, 0));
    for stream in [&mut world.caller, &mut world.callee] {
        assert_eq!(ended(stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(world.proxy.cut().await, 0);
    world.caller = TcpStream::connect(world.proxy.address()).await.unwrap();
    world.callee = world.listener.accept().await.unwrap().0;
    assert_eq!(world.ask().await, *b"ping");
}

#[tokio::test]
async fn new_connections_are_refused_and_old_ones_stay() {
    let mut world = World::new().await;
    world.proxy.refuse(true);
    let mut refused = TcpStream::connect(world.proxy.address()).await.unwrap();
    assert!(ended(&mut refused).await.is_err());
    assert_eq!(world.proxy.counts().refused, 1);
    assert_eq!(world.ask().await, *b"ping");
    world.proxy.refuse(false);
    let _taken = TcpStream::connect(world.proxy.address()).await.unwrap();
    world.listener.accept().await.unwrap();
}

#[tokio::test]
async fn what_nothing_listens_for_is_unreachable() {
    let proxy = Proxy::start().await.unwrap();
    assert!(ended(&mut TcpStream::connect(proxy.address()).await.unwrap()).await.is_err());
    proxy.forward("127.0.0.1:1".parse().unwrap());
    assert!(ended(&mut TcpStream::connect(proxy.address()).await.unwrap()).await.is_err());
    assert_eq!(proxy.counts().unreachable, 2);
}

#[tokio::test]
async fn a_delay_is_waited_for_each_way() {
    let mut world = World::new().await;
    world.proxy.delay(SILENCE);
    let begin = Instant::now();
    assert_eq!((world.ask().await, world.answer().await), (*b"ping", *b"pong"));
    assert!(begin.elapsed() >= 2 * SILENCE, "{:?}", begin.elapsed());
    assert_eq!(world.proxy.counts().delayed, 2);
}

#[tokio::test]
async fn what_is_held_back_waits_and_the_other_way_goes_on() {
    let mut world = World::new().await;
    world.proxy.hold(Some(Way::Answers));
    assert_eq!(world.ask().await, *b"ping");
    world.callee.write_all(b"pong").await.unwrap();
    world.proxy.wait(LONG, |counts| counts.held == 1).await.unwrap();
    assert!(timeout(SILENCE, world.caller.readable()).await.is_err());
    world.proxy.hold(None);
    assert_eq!(read(&mut world.caller).await, *b"pong");
}

#[tokio::test]
async fn a_half_closed_connection_still_goes_the_other_way() {
    let mut world = World::new().await;
    assert_eq!(world.proxy.half_close(Way::Answers).await, 1);
    assert_eq!(world.proxy.counts().half_closed, 1);
    assert_eq!(ended(&mut world.caller).await.unwrap(), 0, "no more answers come");
    assert_eq!(world.ask().await, *b"ping");

    let mut world = World::new().await;
    assert_eq!(world.proxy.half_close(Way::Requests).await, 1);
    assert_eq!(ended(&mut world.callee).await.unwrap(), 0, "no more requests come");
    assert_eq!(world.answer().await, *b"pong");
}
