//! Certificates and keys of every form, and of none.

use super::*;

fn file(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/tls").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn of(certificate: &str, key: Option<&str>) -> ClientCertificate {
    let private_key = key.map(|key| PrivateKey(key.to_owned()));
    ClientCertificate { certificate: certificate.to_owned(), private_key }
}

fn named(name: &str) -> ClientCertificate {
    of(&file(&format!("{name}.pem")), Some(&file(&format!("{name}.key"))))
}

/// What is wrong, each by the last part of its pointer.
fn wrong(certificate: &ClientCertificate) -> Vec<String> {
    let said = |wrong: Violation| format!("{}: {}", wrong.pointer.rsplit('/').next().unwrap(), wrong.detail);
    certificate.violations().into_iter().map(said).collect()
}

#[test]
fn keys_of_every_form_are_taken_with_the_certificate_that_they_are_of() {
    for name in ["client-acme", "client-acme-next", "client-umbrella", "client-expired"] {
        let certificate = named(name);
        assert_eq!(wrong(&certificate), Vec::<String>::new(), "{name}");
        let key = certificate.private_key.as_ref().unwrap();
        let certified = Identity { certificate: &certificate, key }.certified().unwrap();
        assert_eq!(certified.cert.len(), if name == "client-acme" { 2 } else { 1 });
        assert_eq!(wrong(&of(&certificate.certificate, None)), Vec::<String>::new(), "without its key");
    }
    let crlf = named("client-acme").certificate.replace('\n', "\r\n");
    assert_eq!(wrong(&of(&crlf, Some(&file("client-acme.key")))), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_said_where_it_is_and_shows_nothing_of_the_key() {
    let (pem, key) = (file("client-acme.pem"), file("client-acme.key"));
    let both = [&*pem, &key].concat();
    let many = file("clients-ca.pem").repeat(limits::CLIENT_CERTIFICATES_MAX + 1);
    let long = "x".repeat(limits::CLIENT_CERTIFICATE_BYTES_MAX + 1);
    let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, key, expected) in [
        ("", &*key, "certificate: must be in PEM"),
        ("garbage", &key, "certificate: must be in PEM"),
        (&pem[..200], &key, "certificate: is cut off, or no PEM"),
        (&pem.replace('M', "!"), &key, "certificate: is cut off, or no PEM"),
        (other, &key, "certificate: certificate 1 of it is no X.509 certificate"),
        (&[&*pem, other].concat(), &key, "certificate: certificate 3 of it is no X.509 certificate"),
        (&both, &key, "certificate: must hold certificates alone, not PRIVATE KEY: a key goes into privateKey"),
        (&many, &key, "certificate: must be at most 8 certificates"),
        (&long, &key, "certificate: must be at most 32768 bytes"),
        (&file("client-umbrella.pem"), &key, "privateKey: is not the key of the certificate"),
        (&[file("clients-ca.pem"), file("client-acme.pem")].concat(), &key, "privateKey: is not the key of the"),
        (&pem, "", "privateKey: must be in PEM"),
        (&pem, &pem, "privateKey: must be in PEM"),
        (&pem, &key[..100], "privateKey: is cut off, or no PEM"),
        (&pem, &key.repeat(2), "privateKey: must be one private key"),
        (&pem, &long, "privateKey: must be at most 8192 bytes"),
        (&pem, &file("client-encrypted.key"), "privateKey: is encrypted: send what `openssl pkey"),
        (
            &pem,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "privateKey: must be RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519",
        ),
    ] {
        let found = wrong(&of(certificate, Some(key)));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:?}");
        let secret = &file("client-acme.key")[40..80];
        assert!(!found[0].contains(secret), "{found:?}");
    }
    let two = wrong(&of("garbage", Some("garbage")));
    assert!(two.len() == 2 && two[1].starts_with("privateKey: must be in PEM"), "{two:?}");
}

#[test]
fn it_is_an_object_or_nothing_and_no_error_repeats_what_else_stands_there() {
    let webhook = |certificate: &str| {
        let text = format!(r#"{{"url":"https://a/","clientCertificate":{certificate}}}"#);
        serde_json::from_str::<super::super::Webhook>(&text)
    };
    let whole = webhook(r#"{"certificate":"C","privateKey":"K"}"#).unwrap().client_certificate.unwrap();
    assert_eq!(whole, of("C", Some("K")));
    assert_eq!(webhook("null").unwrap().client_certificate, None);
    for (wrong, said) in [
        (r#""-----BEGIN PRIVATE KEY-----""#, "invalid type: text, expected an object with certificate and privateKey"),
        (r#"{"privateKey":"SECRET"}"#, "missing field `certificate`"),
        (r#"{"certificate":"C","key":"SECRET"}"#, "unknown field `key`"),
    ] {
        let error = webhook(wrong).unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("PRIVATE") && !error.contains("SECRET"), "{error}");
    }
}

#[test]
fn a_new_one_brings_its_key_and_is_not_expired_and_one_that_was_there_may_stay() {
    let [acme, next, expired] = ["client-acme", "client-acme-next", "client-expired"].map(named);
    let bare = |of: &ClientCertificate| ClientCertificate { private_key: None, ..of.clone() };
    let now = crate::rfc3339::parse("2026-11-27T00:00:00Z").unwrap();
    let later = crate::rfc3339::parse("2226-11-27T00:00:00Z").unwrap();
    for (given, before, at, expected) in [
        (&acme, None, now, vec![]),
        (&acme, Some(&next), now, vec![]),
        (&bare(&acme), Some(&acme), now, vec![]),
        (&bare(&acme), Some(&acme), later, vec![]),
        (&acme, Some(&acme), later, vec![]),
        (&acme, None, later, vec!["has expired at 21"]),
        (&bare(&acme), None, now, vec!["is missing"]),
        (&bare(&next), Some(&acme), now, vec!["must be given with another certificate"]),
        (&expired, None, now, vec!["has expired at 1999-"]),
        (&bare(&expired), Some(&acme), now, vec!["has expired at 1999-", "must be given"]),
    ] {
        let found = given.violations_beside(before, at);
        let matches = found.iter().zip(&expected).all(|(found, expected)| found.detail.starts_with(expected));
        assert!(found.len() == expected.len() && matches, "{expected:?}: {found:?}");
    }
}

#[test]
fn nothing_shows_a_key_and_another_one_is_another_identity() {
    let acme = named("client-acme");
    let key = file("client-acme.key");
    let secret = key.lines().nth(1).unwrap();
    let shown = format!("{acme:?} {:?}", acme.violations_beside(None, Timestamp::from_millis(0)));
    assert!(shown.contains("PrivateKey(…)") && !shown.contains(secret), "{shown}");
    let digest = |certificate: &ClientCertificate, key: &str| {
        Identity { certificate, key: &PrivateKey(key.to_owned()) }.digest()
    };
    assert_eq!(digest(&acme, &key), digest(&named("client-acme"), &key));
    assert_ne!(digest(&acme, &key), digest(&acme, "other"));
    assert_ne!(digest(&acme, &key), digest(&named("client-umbrella"), &key));
    // As `openssl x509 -fingerprint -sha256` shows it.
    assert_eq!(acme.fingerprint().unwrap().len(), 64);
    assert_eq!(of("garbage", None).fingerprint(), None);
}
