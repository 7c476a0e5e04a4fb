//! HTTP/2 where an endpoint has it, and whose certificates are good.

use super::server::Server;
use super::*;
use crate::response::Body;

fn client() -> Client {
    Client::with(&listed(&["127.0.0.0/8"]), Names::to(&["127.0.0.1"]).lookup()).unwrap()
}

async fn protocol(client: &Client, url: &str) -> Bytes {
    let Ok(Answer { body: Body::Whole(body), .. }) = client.call(call(url)).await.answer else { panic!("no answer") };
    body
}

#[tokio::test]
async fn an_endpoint_that_has_http2_is_called_by_it_over_one_connection() {
    let server = Server::tls("server", &["h2", "http/1.1"]).await;
    let (client, url) = (client(), format!("https://localhost:{}/", server.port()));
    assert_eq!(protocol(&client, &url).await, "\"HTTP/2.0\"");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, url) = (client.clone(), url.clone());
        calls.spawn(async move { protocol(&client, &url).await });
    }
    assert_eq!(calls.join_all().await, vec!["\"HTTP/2.0\""; 20]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_endpoint_that_has_none_is_called_by_http1() {
    for protocols in [["http/1.1"].as_slice(), &[]] {
        let server = Server::tls("server", protocols).await;
        assert_eq!(protocol(&client(), &format!("https://127.0.0.1:{}/", server.port())).await, "\"HTTP/1.1\"");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_no_connection() {
    let other_host = Server::tls("elsewhere", &["h2"]).await;
    let server = Server::tls("server", &["h2"]).await;
    let untrusting = Config { network: crate::Network::default(), ..listed(&["127.0.0.0/8"]) };
    let untrusting = Client::new(&untrusting).unwrap();
    for (client, port, why) in
        [(client(), other_host.port(), "not valid for"), (untrusting, server.port(), "UnknownIssuer")]
    {
        let called = client.call(call(&format!("https://127.0.0.1:{port}/secret"))).await;
        let failure = called.answer.unwrap_err();
        assert_eq!(failure.reason, Reason::Connect);
        assert!(failure.message.contains(why) && !failure.message.contains("secret"), "{failure:?}");
        assert!(called.timings.connect.is_some() && called.timings.tls.is_none());
    }
}

/// All hosts beyond those that are kept open a connection for each call.
#[tokio::test]
async fn idle_connections_are_bounded_in_all() {
    let server = Server::saying(super::server::ok("", b"[]")).await;
    let client = client();
    for n in 0..limits::WEBHOOK_HOSTS_KEPT_MAX {
        client.kept.keeps(&format!("http://{n}.example"), Instant::now());
    }
    for calls in 1..4 {
        client.call(call(&server.url())).await.answer.unwrap();
        assert_eq!(server.connections(), calls);
    }
}
