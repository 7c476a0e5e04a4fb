//! Every format under every compression, as an endpoint gets them from the program: the same events, signed so that
//! libraries of others find nothing wrong.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fpaas_testkit::receiver::Call;
use fpaas_testkit::{Dev, Need, skip};
use serde_json::{Value, json};

use crate::commands::ok;
use crate::{LONG, Place, SECRET, recording};

/// How many likes the recording has.
const LIKES: usize = 719;
const FORMATS: [&str; 3] = ["json", "ndjson", "cloudevents-batch"];
const COMPRESSIONS: [&str; 3] = ["none", "gzip", "zstd"];
/// Fails on likes of those whose DID ends with an `a`.
const PAYLOAD: &str = "{did: did, subject: commit.record.subject.uri, n: ends_with(did, 'a') && abs(did) || `1`}";

/// A subscription for each, and one with a payload.
fn subscriptions(url: &str) -> String {
    let each = FORMATS.iter().flat_map(|format| COMPRESSIONS.map(|compression| (*format, compression, Value::Null)));
    let all = each.chain([("ndjson", "gzip", json!(PAYLOAD))]).map(|(format, compression, payload)| {
        let id = if payload.is_null() { format!("{format}-{compression}") } else { "payload".to_owned() };
        let output = (id == "payload").then(|| json!({"topic": "payloads"}));
        json!({"subscription": {
            "id": id, "startFrom": "earliest", "output": output,
            "filter": {"collections": ["app.bsky.feed.like"], "operations": ["create"]},
            "collector": {"maxEvents": 100, "maxWaitMs": 50},
            "processor": {"webhook": {
                "url": url, "secret": SECRET, "format": format, "compression": compression, "payload": payload,
                "signing": ["v1", "v1a"],
            }},
        }})
    });
    all.map(|document| format!("---\n{document}\n")).collect()
}

/// The events of each subscription, by their ids.
fn brought(calls: &[Call]) -> Result<BTreeMap<String, BTreeMap<String, Value>>> {
    let mut brought: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for call in calls {
        let events = brought.entry(call.header("fpaas-subscription").context("whose")?.to_owned()).or_default();
        for mut event in call.events()? {
            let id = event.get("id").and_then(Value::as_str).context("an id")?.to_owned();
            ensure!(
                events.insert(id, event.get_mut("event").map(Value::take).unwrap_or_default()).is_none(),
                "an event came twice"
            );
        }
    }
    Ok(brought)
}

#[tokio::test]
async fn every_format_brings_the_same_events_and_libraries_of_others_check_the_signatures() -> Result<()> {
    let place = Place::new().await?;
    std::fs::write(place.likes(), subscriptions(&place.receiver.url()))?;
    let dev = place.dev()?.upstream(recording("max"));
    let mut running = dev.start().await?;
    ok(&dev, &["apply", "-f", &place.likes().display().to_string()]).await?;
    let most = LIKES * FORMATS.len() * COMPRESSIONS.len();
    let enough = |calls: &[Call]| {
        let whole: Vec<_> = calls.iter().filter(|call| call.body.is_some()).cloned().collect();
        let all = brought(&whole).unwrap_or_default();
        all.iter().filter(|(id, _)| *id != "payload").map(|(_, events)| events.len()).sum::<usize>() >= most
    };
    place.receiver.wait(LONG, enough).await?;
    let public: Value = serde_json::from_str(&ok(&dev, &["public-key", "json-none", "-o", "json"]).await?)?;
    let sent = until_all_payloads_came(&dev, &place).await?;
    running.process.stop(LONG).await?;

    let calls = place.receiver.calls();
    let all = brought(&calls)?;
    let json = all.get("json-none").context("no JSON")?;
    for (id, events) in all.iter().filter(|(id, _)| *id != "payload") {
        ensure!(events == json, "{id} differs");
    }
    payloads_stand_in_place(&all, json, sent)?;
    for call in &calls {
        ensure!(call.signature.is_ok(), "{:?}", call.signature);
    }
    checked_by_others(&calls, public["publicKey"].as_str().context("no public key")?)
}

/// All that fail are dead letters by then; how many were sent.
async fn until_all_payloads_came(dev: &Dev, place: &Place) -> Result<usize> {
    let whole: Vec<_> = place.receiver.calls().into_iter().filter(|call| call.body.is_some()).collect();
    let json = brought(&whole)?.remove("json-none").context("no JSON")?;
    let failing = json.values().filter(|event| fails(event)).count();
    let sent = LIKES - failing;
    // A batch's dead letters are in the transaction of its results.
    ok(dev, &["tap", "payloads", "--follow", "-n", &sent.to_string()]).await?;
    let letters = ok(dev, &["dead-letters", "payload"]).await?;
    ensure!(failing > 0 && sent > 0 && letters.lines().count() == failing, "{failing} of {LIKES} fail: {letters}");
    for letter in letters.lines() {
        let said = letter.contains("payloadFailed") && letter.contains("no payload can be made of the event");
        ensure!(said, "{letter}");
    }
    Ok(sent)
}

fn fails(event: &Value) -> bool {
    event["did"].as_str().is_some_and(|did| did.ends_with('a'))
}

fn payloads_stand_in_place(
    all: &BTreeMap<String, BTreeMap<String, Value>>,
    json: &BTreeMap<String, Value>,
    sent: usize,
) -> Result<()> {
    let payloads = all.get("payload").context("no payloads")?;
    ensure!(payloads.len() == sent, "{} payloads", payloads.len());
    for (id, payload) in payloads {
        let event = json.get(id).context("another event")?;
        let expected = json!({"did": event["did"], "subject": event.pointer("/commit/record/subject/uri"), "n": 1});
        ensure!(*payload == expected && !fails(event), "{payload} of {event}");
    }
    Ok(())
}

/// The library of Standard Webhooks takes text alone: what is compressed is checked by hand.
const CHECK: &str = r#"
import base64, hashlib, hmac, json, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook
asked = json.load(sys.stdin)
key = base64.b64decode(asked["secret"].removeprefix("whsec_"))
public = Ed25519PublicKey.from_public_bytes(base64.b64decode(asked["public"].removeprefix("whpk_")))
for call in asked["calls"]:
    headers, body = call["headers"], base64.b64decode(call["body"])
    if "content-encoding" not in headers:
        Webhook(asked["secret"]).verify(body, headers, json_parse=False)
    message = f'{headers["webhook-id"]}.{headers["webhook-timestamp"]}.'.encode() + body
    signed = dict(one.split(",", 1) for one in headers["webhook-signature"].split(" "))
    expected = base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
    assert signed["v1"] == expected, headers
    public.verify(base64.b64decode(signed["v1a"]), message)
print(len(asked["calls"]))
"#;

fn checked_by_others(calls: &[Call], public: &str) -> Result<()> {
    let python = |code: &str| {
        let mut command = Command::new("python3");
        let packages = std::env::var("FPAAS_PYTHON_PACKAGES").unwrap_or_default();
        command.args(["-c", code]).env("PYTHONPATH", packages).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    let needed = "import standardwebhooks, cryptography.hazmat.primitives.asymmetric.ed25519";
    if !python(needed).stderr(Stdio::null()).output().is_ok_and(|output| output.status.success()) {
        skip(Need::PythonPackages, "signatures, checked by libraries of others");
        return Ok(());
    }
    let of = |call: &Call| {
        let headers: BTreeMap<_, _> = call.headers.iter().cloned().collect();
        json!({"headers": headers, "body": STANDARD.encode(call.body.as_deref().unwrap_or_default())})
    };
    let asked = json!({"secret": SECRET, "public": public, "calls": calls.iter().map(of).collect::<Vec<_>>()});
    let mut checking = python(CHECK).spawn()?;
    checking.stdin.take().context("no input")?.write_all(asked.to_string().as_bytes())?;
    let output = checking.wait_with_output()?;
    ensure!(output.status.success(), "a signature is refused");
    ensure!(String::from_utf8(output.stdout)?.trim() == calls.len().to_string());
    Ok(())
}
