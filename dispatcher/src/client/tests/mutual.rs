//! Endpoints that want to know who calls, by a certificate: each has connections and sessions of its own.

use fpaas_core::subscription::ClientCertificate;

use super::server::{Server, file};
use super::*;
use crate::response::Body;

fn client() -> Client {
    Client::with(&listed(&["127.0.0.0/8"]), Names::to(&["127.0.0.1"]).lookup()).unwrap()
}

/// A certificate with its key. Line feeds behind it make another one of the same.
fn named(name: &str, line_feeds: usize) -> ClientCertificate {
    let text = |end: &str| std::fs::read_to_string(file(&format!("{name}.{end}"))).unwrap();
    let (certificate, private_key) = (text("pem") + &"\n".repeat(line_feeds), Some(text("key").into()));
    ClientCertificate { certificate, private_key }
}

/// Whom the endpoint says that it was shown, and how the session came about.
async fn shown(client: &Client, url: &str, certificate: Option<&ClientCertificate>) -> String {
    let called = client.call(Call { identity: certificate.and_then(ClientCertificate::identity), ..call(url) }).await;
    let Ok(Answer { body: Body::Whole(body), .. }) = called.answer else { panic!("{called:?}") };
    String::from_utf8(body.to_vec()).unwrap().replace('"', "")
}

fn expected(certificate: Option<&ClientCertificate>, how: &str) -> String {
    format!("{} {how}", certificate.map_or("nobody".to_owned(), |of| of.fingerprint().unwrap()))
}

#[tokio::test]
async fn connections_are_kept_and_each_is_of_one_certificate_or_of_none() {
    let [acme, umbrella] = ["client-acme", "client-umbrella"].map(|name| named(name, 0));
    for protocols in [["h2"], ["http/1.1"]] {
        let server = Server::mutual(false, false, &protocols).await;
        let (client, url) = (client(), format!("https://localhost:{}/", server.port()));
        for _ in 0..3 {
            for certificate in [Some(&acme), Some(&umbrella), None] {
                assert_eq!(shown(&client, &url, certificate).await, expected(certificate, "Full"), "{protocols:?}");
            }
        }
        assert_eq!(server.connections(), 3, "{protocols:?}");
    }
}

/// A session that is resumed is of whoever began it.
#[tokio::test]
async fn sessions_are_resumed_by_the_certificate_alone_that_they_were_begun_with() {
    let [acme, umbrella] = ["client-acme", "client-umbrella"].map(|name| named(name, 0));
    let server = Server::mutual(false, true, &["http/1.1"]).await;
    let (client, url) = (client(), format!("https://localhost:{}/", server.port()));
    for how in ["Full", "Resumed", "Resumed"] {
        for certificate in [Some(&acme), None, Some(&umbrella)] {
            assert_eq!(shown(&client, &url, certificate).await, expected(certificate, how));
        }
    }
    assert_eq!(server.connections(), 9);
}

#[tokio::test]
async fn an_endpoint_that_does_not_take_who_calls_is_no_connection_and_says_why() {
    let [stranger, expired] = ["server", "client-expired"].map(|name| named(name, 0));
    for protocols in [["h2"], ["http/1.1"]] {
        let server = Server::mutual(true, false, &protocols).await;
        let url = format!("https://127.0.0.1:{}/", server.port());
        for (certificate, why) in [
            (None, "the endpoint wants a client certificate: set processor.webhook.clientCertificate"),
            (Some(&stranger), "does not take the client certificate: it does not know the authority (unknown_ca)"),
            (Some(&expired), "does not take the client certificate: it has expired (certificate_expired)"),
        ] {
            let call = Call { identity: certificate.and_then(ClientCertificate::identity), ..call(&url) };
            let failure = client().call(call).await.answer.unwrap_err();
            assert!(failure.reason == Reason::Connect && failure.retryable, "{failure:?}");
            assert!(failure.message.contains(why), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn so_many_are_kept_and_the_connections_of_the_one_that_was_not_used_are_closed() {
    let server = Server::mutual(false, false, &["h2"]).await;
    let (client, url) = (client(), format!("https://localhost:{}/", server.port()));
    let acme = named("client-acme", 0);
    shown(&client, &url, Some(&acme)).await;
    let made = |number| {
        let other = named("client-umbrella", number);
        let identity = other.identity().unwrap();
        client.identified(&identity.digest(), identity).unwrap();
    };
    (1..limits::CLIENT_IDENTITIES_KEPT_MAX).for_each(made);
    assert_eq!((client.identities.count(), server.connections()), (limits::CLIENT_IDENTITIES_KEPT_MAX, 1));
    // It is there still, and is now the one that was used last.
    shown(&client, &url, Some(&acme)).await;
    made(limits::CLIENT_IDENTITIES_KEPT_MAX);
    shown(&client, &url, Some(&acme)).await;
    assert_eq!(server.connections(), 1);
    for number in 1..=limits::CLIENT_IDENTITIES_KEPT_MAX {
        made(1000 + number);
        assert_eq!(client.identities.count(), limits::CLIENT_IDENTITIES_KEPT_MAX);
    }
    assert_eq!(shown(&client, &url, Some(&acme)).await, expected(Some(&acme), "Full"));
    assert_eq!(server.connections(), 2);
    let text = format!("{client:?}");
    let key = std::fs::read_to_string(file("client-acme.key")).unwrap();
    assert!(key.lines().all(|line| !text.contains(line)), "{text}");
}

#[tokio::test]
async fn what_holds_of_calls_holds_of_those_that_show_a_certificate() {
    let server = Server::mutual(true, false, &["h2"]).await;
    let acme = named("client-acme", 0);
    let garbage = ClientCertificate { private_key: Some("garbage".to_owned().into()), ..acme.clone() };
    let other = named("client-umbrella", 0);
    let mismatched = ClientCertificate { private_key: other.private_key, ..acme.clone() };
    let https = format!("https://localhost:{}/", server.port());
    let global = Client::with(&listed(&[]), Names::to(&["127.0.0.1"]).lookup()).unwrap();
    for (client, url, certificate, reason, why) in [
        (&global, &https, &acme, Reason::Address, "127.0.0.1"),
        (&client(), &https.replace("https", "http"), &acme, Reason::Url, "shown by https alone"),
        (&client(), &https, &garbage, Reason::Connect, "its client certificate cannot be used: must be in PEM"),
        (&client(), &https, &mismatched, Reason::Connect, "cannot be used: is not the key of the certificate"),
    ] {
        let failure = client.call(Call { identity: certificate.identity(), ..call(url) }).await.answer.unwrap_err();
        assert!(failure.reason == reason && failure.message.contains(why), "{failure:?}");
    }
    assert_eq!(server.connections(), 0);
    // While there is no room for another host, its calls open a connection each.
    let full = client();
    for number in 0..limits::WEBHOOK_HOSTS_KEPT_MAX {
        full.kept.keeps(&format!("https://{number}.example"), Instant::now());
    }
    for calls in 1..4 {
        assert!(shown(&full, &https, Some(&acme)).await.starts_with(&acme.fingerprint().unwrap()));
        assert_eq!(server.connections(), calls);
    }
}
