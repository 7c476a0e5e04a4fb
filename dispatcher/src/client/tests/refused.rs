//! What may not be called, through the whole client: nothing is connected to, however an address is written and
//! whatever a name resolves to.

use super::server::{Server, ok};
use super::*;

/// Refused before anything is looked up: by the address that it is, or because it is no URL of ours.
const ADDRESSES: [(&str, &str); 88] = [
    // Loopback.
    ("127.0.0.1", "loopback"),
    ("127.0.0.2", "loopback"),
    ("127.255.255.254", "loopback"),
    ("127.0.0.1.", "loopback"),
    ("127.1", "loopback"),
    ("127.0.1", "loopback"),
    ("2130706433", "loopback"),
    ("2130706433.", "loopback"),
    ("017700000001", "loopback"),
    ("0177.0.0.1", "loopback"),
    ("0177.0.0.0x1", "loopback"),
    ("0177.0x0.1", "loopback"),
    ("00000177.0.0.1", "loopback"),
    ("0x7f000001", "loopback"),
    ("0X7F000001", "loopback"),
    ("0x7f.0.0.1", "loopback"),
    ("0x7f.1", "loopback"),
    ("0x000000007f.1", "loopback"),
    ("%31%32%37.0.0.1", "loopback"),
    ("127%2e0%2e0%2e1", "loopback"),
    ("１２７.0.0.1", "loopback"),
    ("①②⑦.0.0.1", "loopback"),
    ("127。0。0。1", "loopback"),
    ("127．0．0．1", "loopback"),
    ("127｡0｡0｡1", "loopback"),
    ("127.0.0.\u{ad}1", "loopback"),
    ("12\u{200b}7.0.0.1", "loopback"),
    ("𝟏𝟐𝟕.𝟎.𝟎.𝟏", "loopback"),
    ("[::1]", "loopback"),
    ("[0:0:0:0:0:0:0:1]", "loopback"),
    ("[0000:0000:0000:0000:0000:0000:0000:0001]", "loopback"),
    ("[::0.0.0.1]", "loopback"),
    // Private networks.
    ("10.0.0.1", "private"),
    ("10.1", "private"),
    ("167772161", "private"),
    ("0xa.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.0.1", "private"),
    ("192.168.1", "private"),
    ("0300.0250.1", "private"),
    ("3232235521", "private"),
    ("100.64.0.1", "shared address space"),
    ("100.127.255.255", "shared address space"),
    ("[fc00::1]", "unique local"),
    ("[fdff::1]", "unique local"),
    // Nothing, everybody, and what is reserved.
    ("0", "unspecified"),
    ("0.0.0.0", "unspecified"),
    ("0x0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("[::]", "unspecified"),
    ("255.255.255.255", "broadcast"),
    ("4294967295", "broadcast"),
    ("0xffffffff", "broadcast"),
    ("240.0.0.1", "reserved"),
    ("224.0.0.1", "multicast"),
    ("[ff02::1]", "multicast"),
    ("192.0.0.8", "reserved for protocols"),
    ("192.0.2.1", "documentation"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("[2001:db8::1]", "documentation"),
    ("[3fff::1]", "documentation"),
    ("198.18.0.1", "benchmarking"),
    ("192.88.99.1", "6to4 relay"),
    ("[5f00::1]", "not global unicast"),
    ("[100::1]", "not global unicast"),
    // Metadata services.
    ("169.254.169.254", "link-local"),
    ("2852039166", "link-local"),
    ("0xa9fea9fe", "link-local"),
    ("0251.0376.0251.0376", "link-local"),
    ("169.254.43518", "link-local"),
    ("169.254.170.2", "link-local"),
    ("100.100.100.200", "a metadata service"),
    ("168.63.129.16", "a metadata service"),
    ("[fd00:ec2::254]", "a metadata service"),
    ("[fd20:ce::254]", "a metadata service"),
    ("[fd00:c1::a9fe:a9fe]", "a metadata service"),
    ("[fd00:42::42]", "a metadata service"),
    ("[fe80::a9fe:a9fe]", "link-local"),
    // IPv4 within IPv6.
    ("[::ffff:127.0.0.1]", "IPv4-mapped"),
    ("[::ffff:a9fe:a9fe]", "IPv4-mapped"),
    ("[::10.0.0.1]", "IPv4-compatible"),
    ("[64:ff9b::7f00:1]", "NAT64"),
    ("[64:ff9b:1::a9fe:a9fe]", "local-use NAT64"),
    ("[2002:7f00:1::]", "6to4"),
    ("[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "Teredo"),
    ("[2001:470::5efe:10.0.0.1]", "ISATAP"),
];

/// No address, and no name either; or more than a host.
const NO_URLS: [&str; 14] = [
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[::1/",
    "https://127.0.0.256/",
    "https://1.2.3.4.5/",
    "https://0x100000000/",
    "https://4294967296/",
    "https://127.0.0.1%00.a.example/",
    "https://a b.example/",
    "https:///",
    "https://a.example@127.0.0.1/",
    "https://user:secret@a.example/",
    "https://:secret@a.example/",
    "//127.0.0.1/",
];

/// Looked up, and refused by what that brings.
const NAMES: [(&str, &[&str], &str); 18] = [
    ("localhost", &["127.0.0.1"], "loopback"),
    ("localhost.", &["127.0.0.1"], "loopback"),
    ("LOCALHOST", &["::1", "127.0.0.1"], "loopback"),
    ("ｌｏｃａｌｈｏｓｔ", &["127.0.0.1"], "loopback"),
    ("a.localhost", &["::1"], "loopback"),
    ("127.0.0.1.nip.example", &["127.0.0.1"], "loopback"),
    ("7f000001.example", &["127.0.0.1"], "loopback"),
    ("0x7f.example", &["10.0.0.1"], "private"),
    ("a.example", &["10.0.0.1", "192.168.0.1"], "private"),
    ("a.example", &["fd00::1"], "unique local"),
    ("metadata.google.internal", &["169.254.169.254"], "link-local"),
    ("metadata.google.internal.", &["fd20:ce::254"], "a metadata service"),
    ("a.example", &["fd00:ec2::254"], "a metadata service"),
    ("a.example", &["::ffff:127.0.0.1"], "IPv4-mapped"),
    ("a.example", &["64:ff9b::a00:1"], "NAT64"),
    ("a.example", &["2002:a00:1::1"], "6to4"),
    ("a.example", &["fe80::1"], "link-local"),
    ("xn--bcher-kva.example", &["0.0.0.0"], "unspecified"),
];

async fn check(client: &Client, url: &str, reason: Reason, message: &str) {
    let called = client.call(call(url)).await;
    let failure = called.answer.unwrap_err();
    assert_eq!((failure.reason, failure.status), (reason, None), "{url}: {failure:?}");
    assert!(failure.message.contains(message) && !failure.message.contains("secret"), "{url}: {failure:?}");
    assert_eq!((called.timings.connect, called.timings.first_byte), (None, None), "{url}");
    assert!(called.piece.is_empty());
}

#[tokio::test]
async fn no_form_of_an_address_is_connected_to() {
    let (names, server) = (Names::to(&["127.0.0.1"]), Server::saying(ok("", b"[]")).await);
    let client = Client::with(&listed(&[]), names.lookup()).unwrap();
    for (host, range) in ADDRESSES {
        // Those that are loopback would find the server.
        for url in [format!("https://{host}:{}/secret", server.port()), format!("https://{host}/secret")] {
            check(&client, &url, Reason::Address, &format!("it is {range}")).await;
        }
        check(&client, &format!("http://{host}:{}/secret", server.port()), Reason::Address, "http is enough").await;
    }
    for url in NO_URLS {
        check(&client, url, Reason::Url, "").await;
    }
    assert_eq!((names.asked(), server.connections()), (0, 0));
}

#[tokio::test]
async fn no_name_leads_where_its_addresses_may_not() {
    let (names, server) = (Names::default(), Server::saying(ok("", b"[]")).await);
    let client = Client::with(&listed(&[]), names.lookup()).unwrap();
    for (name, addresses, range) in NAMES {
        names.now(addresses);
        let before = names.asked();
        check(&client, &format!("https://{name}:{}/secret", server.port()), Reason::Address, range).await;
        check(&client, &format!("http://{name}/secret"), Reason::Address, "http is enough").await;
        assert_eq!(names.asked(), before + 2, "{name}");
    }
    assert_eq!(server.connections(), 0);
}

/// `127.0.0.1` stands for a public address, `127.0.0.2` for one that may not be called.
fn public() -> Config {
    listed(&["127.0.0.1/32"])
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_at_every_attempt() {
    let outside = Server::saying(ok("connection: close\r\n", b"[]")).await;
    let inside = Server::at(&format!("127.0.0.2:{}", outside.port()), |_| async {}).await;
    let names = Names::to(&["127.0.0.1"]);
    let client = Client::with(&public(), names.lookup()).unwrap();
    let url = format!("http://rebinding.example:{}/secret", outside.port());
    client.call(call(&url)).await.answer.unwrap();
    for (now, may) in [("127.0.0.2", false), ("127.0.0.1", true), ("169.254.169.254", false), ("127.0.0.2", false)] {
        names.now(&[now]);
        match may {
            true => drop(client.call(call(&url)).await.answer.unwrap()),
            false => check(&client, &url, Reason::Address, &format!("{now} may not be called")).await,
        }
    }
    // Each call asked once: nothing asks again between the check and the connection.
    assert_eq!((names.asked(), outside.connections(), inside.connections()), (5, 2, 0));
}

#[tokio::test]
async fn of_addresses_that_may_and_may_not_those_that_may_are_connected_to() {
    let outside = Server::saying(ok("connection: close\r\n", b"[]")).await;
    let inside = Server::at(&format!("127.0.0.2:{}", outside.port()), |_| async {}).await;
    let client = |addresses: &[&str]| Client::with(&public(), Names::to(addresses).lookup()).unwrap();
    let url = format!("http://mixed.example:{}/secret", outside.port());
    for mixed in [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.1"]] {
        client(&mixed).call(call(&url)).await.answer.unwrap();
    }
    // Where the one that may does not answer, no other is tried.
    let port = outside.stop().await.port();
    let called = client(&["127.0.0.2", "127.0.0.1"]).call(call(&format!("http://mixed.example:{port}/"))).await;
    assert_eq!(called.answer.unwrap_err().reason, Reason::Connect);
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_never_followed() {
    let inside = Server::saying(ok("", b"[]")).await;
    let client = Client::new(&Config::reaching(Reach::Dev)).unwrap();
    for status in [300, 301, 302, 303, 305, 307, 308] {
        let head = format!("HTTP/1.1 {status} Moved\r\nlocation: {}\r\nrefresh: 0; url={0}\r\n", inside.url());
        let outside = Server::saying(format!("{head}content-length: 0\r\n\r\n")).await;
        assert_eq!(client.call(call(&outside.url())).await.answer.unwrap().status, status);
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn what_may_not_be_called_in_dev_is_not_connected_to_either() {
    let client = Client::with(&Config::reaching(Reach::Dev), Names::to(&["fd20:ce::254"]).lookup()).unwrap();
    check(&client, "http://169.254.169.254/secret", Reason::Address, "link-local").await;
    check(&client, "http://a.example/secret", Reason::Address, "a metadata service").await;
    check(&client, "secret", Reason::Url, "relative URL").await;
}

#[tokio::test]
async fn a_call_that_finds_nobody_says_so_without_its_url() {
    let nobody = Server::saying("").await.stop().await;
    let client = Client::new(&Config::reaching(Reach::Dev)).unwrap();
    for (url, message) in [
        (format!("http://{nobody}/secret"), "no connection: Connection refused"),
        ("https://name.invalid/secret".to_owned(), "no connection"),
    ] {
        check(&client, &url, Reason::Connect, message).await;
    }
}
