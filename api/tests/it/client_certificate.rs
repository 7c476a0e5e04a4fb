//! The certificate that a webhook's endpoint knows its caller by, and its key, which nobody is shown.

use serde_json::{Value, json};

use crate::world::World;

const PATH: &str = "/v1/subscriptions/likes";
const CERTIFICATE: &str = "/processor/webhook/clientCertificate/certificate";
const PRIVATE_KEY: &str = "/processor/webhook/clientCertificate/privateKey";
const URL: &str = "/processor/webhook/url";

fn text(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/tls");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn pem(name: &str) -> String {
    text(&format!("{name}.pem"))
}

fn key(name: &str) -> Value {
    text(&format!("{name}.key")).into()
}

fn with(url: &str, certificate: &Value) -> String {
    json!({"processor": {"webhook": {"url": url, "clientCertificate": certificate}}}).to_string()
}

fn of(name: &str) -> Value {
    json!({"certificate": pem(name), "privateKey": key(name)})
}

#[tokio::test]
async fn what_is_wrong_with_one_is_said_field_by_field() {
    let world = World::new().await;
    let https = "https://a.example/";
    for (url, certificate, pointers, said) in [
        (https, json!({"certificate": "garbage", "privateKey": "garbage"}), vec![CERTIFICATE, PRIVATE_KEY], "in PEM"),
        (
            https,
            json!({"certificate": pem("client-acme"), "privateKey": key("client-umbrella")}),
            vec![PRIVATE_KEY],
            "is not the key of the certificate",
        ),
        (https, json!({"certificate": pem("client-acme")}), vec![PRIVATE_KEY], "is missing"),
        (https, of("client-expired"), vec![CERTIFICATE], "has expired at 1999-01-01"),
        (
            https,
            json!({"certificate": pem("client-acme"), "privateKey": key("client-encrypted")}),
            vec![PRIVATE_KEY],
            "is encrypted",
        ),
        (
            https,
            json!({"certificate": text("client-acme.key"), "privateKey": key("client-acme")}),
            vec![CERTIFICATE],
            "must hold certificates alone",
        ),
        ("http://a.example/", of("client-acme"), vec![URL], "must be https where there is a clientCertificate"),
        (https, key("client-acme"), vec!["/processor/webhook/clientCertificate"], "expected an object"),
        (https, json!({"certificate": 7, "privateKey": key("client-acme")}), vec![CERTIFICATE], "expected a string"),
    ] {
        for path in [PATH, &format!("{PATH}?dryRun=true")] {
            let refused = world.put(path, with(url, &certificate)).await;
            let body = String::from_utf8_lossy(&refused.body).into_owned();
            refused.refused(400, "invalid-request", &pointers);
            assert!(body.contains(said), "{body}");
            let hidden = key("client-acme").as_str().unwrap().lines().nth(1).unwrap().to_owned();
            assert!(!body.contains(&hidden), "{body}");
        }
    }
    world.get(PATH).await.refused(404, "not-found", &[]);
}

#[tokio::test]
async fn its_key_is_shown_nowhere_and_stays_while_the_certificate_does() {
    let world = World::new().await;
    let https = "https://a.example/";
    let secret = key("client-acme").as_str().unwrap().lines().nth(1).unwrap().to_owned();
    let public = json!({"certificate": pem("client-acme")});
    let shown = |answer: &Value| answer.pointer("/processor/webhook/clientCertificate").cloned();
    let dry = world.put(&format!("{PATH}?dryRun=true"), with(https, &of("client-acme"))).await.json(200);
    assert_eq!(shown(&dry["subscription"]), Some(public.clone()));
    let made = world.put(PATH, with(https, &of("client-acme"))).await.json(201);
    assert_eq!(shown(&made), Some(public.clone()));
    let got = world.get(PATH).await.json(200);
    assert_eq!(shown(&got), Some(public.clone()));
    for path in ["/v1/subscriptions", &format!("{PATH}/status"), &format!("{PATH}/secret"), PATH] {
        let answer = world.get(path).await.json(200).to_string();
        assert!(!answer.contains(&secret) && !answer.contains("privateKey"), "{path}: {answer}");
    }
    let status = world.get(&format!("{PATH}/status")).await.json(200);
    let certificate = &status["clientCertificate"];
    assert_eq!(certificate["fingerprint"].as_str().unwrap().len(), 64);
    assert!(certificate["notAfter"].as_str().unwrap().starts_with("21"), "{certificate}");
    let debug = format!("{:?}", world.context);
    assert!(debug.contains("PrivateKey(…)") && !debug.contains(&secret), "{debug}");

    let kept = |world: &World| {
        let view = world.context.control.view();
        let entry = view.subscriptions.values().next().unwrap();
        entry.identity().map(|of| of.certified().unwrap().cert.len())
    };
    // What was shown can be put again, and patched: the key stays.
    let again = world.put(PATH, got.to_string()).await.json(200);
    assert_eq!((shown(&again), kept(&world)), (Some(public.clone()), Some(2)));
    for patch in [r#"{"metadata":{"a":"b"}}"#.to_owned(), json!({"processor": got["processor"]}).to_string()] {
        world.patch(PATH, patch).await.json(200);
        assert_eq!(kept(&world), Some(2));
    }
    world.post(&format!("{PATH}:pause"), "").await.json(200);
    assert_eq!(kept(&world), Some(2));
    // Another certificate needs its own key.
    let patch = |certificate: Value| json!({"processor": {"webhook": {"clientCertificate": certificate}}}).to_string();
    let refused = world.patch(PATH, patch(json!({"certificate": pem("client-umbrella")}))).await;
    refused.refused(400, "invalid-request", &[PRIVATE_KEY]);
    let refused = world.patch(PATH, patch(json!({"privateKey": key("client-umbrella")}))).await;
    refused.refused(400, "invalid-request", &[PRIVATE_KEY]);
    let next = world.patch(PATH, patch(of("client-umbrella"))).await.json(200);
    assert_eq!((shown(&next), kept(&world)), (Some(json!({"certificate": pem("client-umbrella")})), Some(1)));
    // Taken away, it is gone with its key.
    let none = world.patch(PATH, patch(json!(null))).await.json(200);
    assert_eq!((shown(&none), kept(&world)), (None, None));
    assert_eq!(world.get(&format!("{PATH}/status")).await.json(200)["clientCertificate"], json!(null));
    let refused = world.put(PATH, with(https, &json!({"certificate": pem("client-umbrella")}))).await;
    refused.refused(400, "invalid-request", &[PRIVATE_KEY]);
}

#[tokio::test]
async fn one_that_has_expired_since_is_no_reason_to_refuse_another_change() {
    let world = World::new().await;
    world.put(PATH, with("https://a.example/", &of("client-acme"))).await.json(201);
    // Two centuries.
    world.clock.advance(std::time::Duration::from_secs(200 * 366 * 24 * 3600));
    world.patch(PATH, r#"{"metadata":{"a":"b"}}"#).await.json(200);
    let refused = world.put("/v1/subscriptions/other", with("https://a.example/", &of("client-acme"))).await;
    refused.refused(400, "invalid-request", &[CERTIFICATE]);
}
