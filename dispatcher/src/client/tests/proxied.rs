//! Calls through a proxy: a small one, which says whom it was asked for.

use std::net::SocketAddr;

use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use super::server::{Server, ok, request};
use super::*;
use crate::response::Body;

/// What it was asked, by the first line and the password.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Connects whoever asks to `to`, whatever name they ask for; what is not `CONNECT` it answers itself.
async fn proxy(to: SocketAddr) -> (Server, Asked) {
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let server = Server::at("127.0.0.1", move |mut socket| {
        let noted = Arc::clone(&noted);
        async move {
            while let Some(head) = request(&mut socket).await {
                let line = head.lines().next().unwrap().to_owned();
                let of = |line: &str| {
                    line.to_lowercase().starts_with("proxy-authorization: ").then(|| line[21..].to_owned())
                };
                noted.lock().unwrap().push((line.clone(), head.lines().find_map(of).unwrap_or_default()));
                if line.starts_with("CONNECT ") {
                    let mut endpoint = TcpStream::connect(to).await.unwrap();
                    socket.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
                    let _either_hung_up = copy_bidirectional(&mut socket, &mut endpoint).await;
                    return;
                }
                socket.write_all(&ok("", b"\"plain\"")).await.unwrap();
            }
        }
    });
    (server.await, asked)
}

fn client(proxy: &str, names: &Names, networks: &[&str]) -> Client {
    let mut config = listed(networks);
    config.network.proxy = Some(crate::Proxy::parse(proxy).unwrap());
    Client::with(&config, names.lookup()).unwrap()
}

async fn body(client: &Client, url: &str) -> Bytes {
    let called = client.call(call(url)).await;
    let Ok(Answer { body: Body::Whole(body), .. }) = called.answer else { panic!("{called:?}") };
    body
}

#[tokio::test]
async fn https_goes_through_a_tunnel_to_the_name_that_was_asked_for() {
    let endpoint = Server::tls("server", &["h2", "http/1.1"]).await;
    let (proxy, asked) = proxy(endpoint.address).await;
    let names = Names::to(&["127.0.0.1"]);
    let client = client(&format!("http://anna:secret@{}", proxy.address), &names, &["127.0.0.0/8"]);
    let url = format!("https://localhost:{}/hook", endpoint.port());
    let called = client.call(call(&url)).await;
    assert!(called.timings.dns.is_some() && called.timings.connect.is_some() && called.timings.tls.is_some());
    let Ok(Answer { body: Body::Whole(answer), .. }) = called.answer else { panic!("no answer") };
    assert_eq!(answer, "\"HTTP/2.0\"");
    assert_eq!(body(&client, &url).await, "\"HTTP/2.0\"");
    // The endpoint's own certificate was asked for, within the tunnel, and the tunnel was used again.
    let line = format!("CONNECT localhost:{} HTTP/1.1", endpoint.port());
    assert_eq!(*asked.lock().unwrap(), [(line, "Basic YW5uYTpzZWNyZXQ=".to_owned())]);
    assert_eq!((names.asked(), endpoint.connections()), (2, 1));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_endpoint_at_the_end_of_the_tunnel() {
    let endpoint = Server::mutual(true, false, &["h2"]).await;
    let (proxy, _) = proxy(endpoint.address).await;
    let client = client(&format!("http://{}", proxy.address), &Names::to(&["127.0.0.1"]), &["127.0.0.0/8"]);
    let text = |name: &str| std::fs::read_to_string(super::server::file(name)).unwrap();
    let certificate = fpaas_core::subscription::ClientCertificate {
        certificate: text("client-acme.pem"),
        private_key: Some(text("client-acme.key").into()),
    };
    let url = format!("https://localhost:{}/", endpoint.port());
    let called = client.call(Call { identity: certificate.identity(), ..call(&url) }).await;
    let Ok(Answer { body: Body::Whole(answer), .. }) = called.answer else { panic!("{called:?}") };
    assert!(String::from_utf8_lossy(&answer).contains(&certificate.fingerprint().unwrap()), "{answer:?}");
}

#[tokio::test]
async fn http_is_asked_of_the_proxy_with_the_whole_url() {
    let (proxy, asked) = proxy("127.0.0.1:1".parse().unwrap()).await;
    let client = client(&format!("http://{}", proxy.address), &Names::to(&["127.0.0.1"]), &["127.0.0.0/8"]);
    assert_eq!(body(&client, "http://a.example/hook?a").await, "\"plain\"");
    assert_eq!(*asked.lock().unwrap(), [("POST http://a.example/hook?a HTTP/1.1".to_owned(), String::new())]);
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_what_may_not_be_called() {
    let (proxy, asked) = proxy("127.0.0.1:1".parse().unwrap()).await;
    let names = Names::default();
    let address = format!("http://{}", proxy.address);
    let client = client(&address, &names, &[]);
    for (url, resolved, why) in [
        ("https://127.0.0.1/secret", "1.1.1.1", "loopback"),
        ("https://169.254.169.254/secret", "1.1.1.1", "link-local"),
        (&address.replace("http:", "https:"), "1.1.1.1", "loopback"),
        ("https://a.example/secret", "10.0.0.1", "private"),
        ("https://a.example/secret", "fd00:ec2::254", "a metadata service"),
        ("http://a.example/secret", "1.1.1.1", "http is enough"),
    ] {
        names.now(&[resolved]);
        let failure = client.call(call(url)).await.answer.unwrap_err();
        assert_eq!(failure.reason, Reason::Address, "{url}: {failure:?}");
        assert!(failure.message.contains(why) && !failure.message.contains("secret"), "{url}: {failure:?}");
    }
    assert!(asked.lock().unwrap().is_empty());
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn a_proxy_is_the_operators_and_may_be_at_a_private_address_by_name() {
    let (proxy, asked) = proxy("127.0.0.1:1".parse().unwrap()).await;
    let names = Names::to(&["127.0.0.1"]);
    let mut config = Config::reaching(Reach::Listed(["127.0.0.2/32".parse().unwrap()].into()));
    config.network.proxy = Some(crate::Proxy::parse(&format!("http://proxy.internal:{}", proxy.port())).unwrap());
    let client = Client::with(&config, names.lookup()).unwrap();
    assert_eq!(body(&client, "http://127.0.0.2/hook").await, "\"plain\"");
    // Its name is no exception for endpoints.
    let called = client.call(call("https://proxy.internal/hook")).await;
    assert_eq!(called.answer.unwrap_err().reason, Reason::Address);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_away_is_no_connection() {
    let refusing = Server::saying("HTTP/1.1 407 Password\r\ncontent-length: 0\r\n\r\n").await;
    let gone = Server::saying("").await.stop().await;
    for address in [refusing.address, gone] {
        let client = client(&format!("http://anna:secret@{address}"), &Names::to(&["127.0.0.1"]), &["127.0.0.0/8"]);
        let failure = client.call(call("https://a.example/hook")).await.answer.unwrap_err();
        assert_eq!(failure.reason, Reason::Connect);
        assert!(!failure.message.contains("secret"), "{failure:?}");
    }
}
