//! Address forms and what becomes of them, as URLs: a form that the URL parser turns into another one counts as that
//! one.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    /// Everywhere.
    Always,
    /// In dev.
    Dev,
    /// Nowhere.
    Never,
}

fn https(reach: Reach) -> Guard {
    Guard::https(&Config::reaching(reach))
}

fn http(reach: Reach) -> Guard {
    Guard::http(&Config::reaching(reach))
}

fn may(host: &str) -> May {
    let url = url::Url::parse(&format!("https://{host}/")).unwrap_or_else(|error| panic!("{host}: {error}"));
    assert!(!matches!(url.host(), Some(url::Host::Domain(_))), "{host} is a name");
    let allowed = |dev| https(if dev { Reach::Dev } else { Reach::global() }).check_host(&url).is_ok();
    match (allowed(false), allowed(true)) {
        (true, true) => May::Always,
        (false, true) => May::Dev,
        (false, false) => May::Never,
        (true, false) => panic!("{host}: dev may less than production"),
    }
}

fn check_all(expected: May, hosts: &[&str]) {
    for host in hosts {
        assert_eq!(may(host), expected, "{host}");
    }
}

#[test]
fn global_addresses_are_called() {
    check_all(
        May::Always,
        &[
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "134744072",
            "[2606:4700:4700::1111]",
            "[2001:4860:4860::8888]",
            "[2a00:1450:4001:800::200e]",
        ],
    );
}

#[test]
fn loopback_and_private_networks_are_called_in_dev_only() {
    check_all(
        May::Dev,
        &[
            "127.0.0.1",
            "127.1",
            "127.255.255.255",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "3232235521",
            "100.64.0.0",
            "100.127.255.255",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[fc00::]",
            "[fdff:ffff::1]",
        ],
    );
}

#[test]
fn metadata_services_are_never_called() {
    check_all(
        May::Never,
        &[
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "100.100.100.200",
            "168.63.129.16",
            "[fd00:ec2::254]",
            "[fd00:ec2::23]",
            "[fd00:c1::a9fe:a9fe]",
            "[fd00:42::42]",
            "[fd00:a9fe:a9fe::1]",
            "[fd20:ce::254]",
        ],
    );
}

#[test]
fn everything_else_is_never_called() {
    check_all(
        May::Never,
        &[
            "0.0.0.0",
            "0",
            "0.255.255.255",
            "169.254.0.0",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.1",
            "192.175.48.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "254.255.255.255",
            "255.255.255.255",
            "[::]",
            "[::2]",
            "[::127.0.0.1]",
            "[::8.8.8.8]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:169.254.169.254]",
            "[::ffff:8.8.8.8]",
            "[::ffff:0:127.0.0.1]",
            "[64:ff9b::169.254.169.254]",
            "[64:ff9b::8.8.8.8]",
            "[64:ff9b:1::7f00:1]",
            "[100::1]",
            "[2001::1]",
            "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
            "[2001:2::1]",
            "[2001:10::1]",
            "[2001:20::1]",
            "[2001:db8::1]",
            "[2002:7f00:1::]",
            "[2002:a9fe:a9fe::1]",
            "[2620:4f:8000::1]",
            "[3fff::1]",
            "[4000::1]",
            "[5f00::1]",
            "[100:0:0:1::1]",
            "[2001:1::3]",
            "[2001:3::1]",
            "[2001:4:112::1]",
            "[2001:30::1]",
            "[2a00:1450::5efe:10.0.0.1]",
            "[2a00:1450::200:5efe:8.8.8.8]",
            "[fe80::1]",
            "[febf::1]",
            "[fec0::1]",
            "[feff::1]",
            "[ff02::1]",
            "[ff0e::1]",
        ],
    );
}

#[test]
fn a_name_resolves_to_those_of_its_addresses_that_may_be_called() {
    let all: Vec<SocketAddr> = vec!["10.0.0.1:0".parse().unwrap(), "1.1.1.1:0".parse().unwrap()];
    let guard = https(Reach::global());
    assert_eq!(guard.permitted("a.example", all.clone()).unwrap(), all[1..]);
    let refused = guard.permitted("a.example", all[..1].to_vec()).unwrap_err();
    assert_eq!(refused.to_string(), "10.0.0.1 may not be called: it is private");
    assert!(guard.permitted("a.example", Vec::new()).unwrap().is_empty());
}

#[test]
fn listed_networks_may_be_called_and_http_goes_nowhere_else() {
    let listed = Reach::Listed(["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()].into());
    let (over_tls, plain) = (https(listed.clone()), http(listed));
    for (address, by_https, by_http) in
        [("10.1.2.3", true, true), ("fd00::1", true, true), ("10.2.0.1", false, false), ("1.1.1.1", true, false)]
    {
        let address = address.parse().unwrap();
        let may = [&over_tls, &plain].map(|guard| guard.check(None, address).is_ok());
        assert_eq!(may, [by_https, by_http], "{address}");
    }
    let refused = plain.check(None, "1.1.1.1".parse().unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "1.1.1.1 may not be called: it is outside the networks where http is enough");
}

#[test]
fn nothing_is_called_by_http_where_no_network_is_listed() {
    let guard = http(Reach::global());
    assert!(["1.1.1.1", "10.0.0.1", "::1"].iter().all(|address| guard.check(None, address.parse().unwrap()).is_err()));
}

#[test]
fn a_listed_name_may_resolve_to_private_addresses_by_https_and_to_no_others_that_are_special() {
    let mut config = Config::reaching(Reach::global());
    config.network.private = [crate::Pattern::parse("*.internal").unwrap()].into_iter().collect();
    let (over_tls, plain) = (Guard::https(&config), Guard::http(&config));
    let may = |guard: &Guard, name: &str, address: &str| guard.check(Some(name), address.parse().unwrap()).is_ok();
    for address in ["10.0.0.1", "127.0.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::1", "1.1.1.1"] {
        assert!(may(&over_tls, "a.internal", address) && may(&over_tls, "a.b.internal.", address), "{address}");
        assert!(!may(&plain, "a.internal", address), "{address}");
        assert_eq!(may(&over_tls, "internal", address), address == "1.1.1.1", "{address}");
    }
    for address in ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "0.0.0.0"] {
        assert!(!may(&over_tls, "a.internal", address), "{address}");
    }
}

#[test]
fn where_names_are_listed_nothing_else_is_called() {
    let mut config = Config::reaching(Reach::Dev);
    config.network.only = [crate::Pattern::parse("a.example").unwrap()].into_iter().collect();
    let check = |url: &str| Guard::https(&config).check_host(&Url::parse(url).unwrap()).map_err(|why| why.to_string());
    assert_eq!(check("https://a.example/x"), Ok(()));
    assert_eq!(check("https://A.example.:8443/x"), Ok(()));
    let refused = |host: &str| Err(format!("{host} may not be called: it is none of the hosts that are"));
    for host in ["b.example", "x.a.example", "1.1.1.1", "127.0.0.1", "[::1]"] {
        assert_eq!(check(&format!("https://{host}/secret")), refused(host));
    }
}
