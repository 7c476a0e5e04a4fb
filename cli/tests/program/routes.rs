//! Whatever the API does has a command: the table of routes is walked, and each must have been asked by one.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::Dev;
use serde_json::Value;

use crate::commands::run;
use crate::{LONG, Place, recording};

/// Routes that no command asks, and why.
const WITHOUT: [(&str, &str, &str); 4] = [
    ("GET", "/v1/admin/tenants/{id}/keys", "`keys list --tenant` asks it by the tenant's own route"),
    ("POST", "/v1/admin/tenants/{id}/keys", "`keys create --tenant` does"),
    ("DELETE", "/v1/admin/tenants/{id}/keys/{keyId}", "`keys delete --tenant` does"),
    ("GET", "/docs", "a page for browsers"),
];

/// What was asked so far, by method and path.
#[derive(Default)]
struct Asked(BTreeSet<(String, String)>);

impl Asked {
    /// Runs a command, which has to succeed, and notes its requests.
    async fn by(&mut self, dev: &Dev, line: &str) -> Result<String> {
        let arguments: Vec<_> = line.split(' ').chain(["--messages", "fpaas=debug"]).collect();
        let (code, out, error) = run(dev, &arguments).await?;
        ensure!(code == 0, "{line}: {code}: {error}");
        let before = self.0.len();
        for request in error.lines().filter_map(|line| line.split_once(" request method=")) {
            let (method, path) = request.1.split_once(" path=").with_context(|| request.1.to_owned())?;
            let path = path.trim_matches('"').split('?').next().unwrap_or_default();
            self.0.insert((method.to_owned(), path.to_owned()));
        }
        ensure!(self.0.len() > before || error.contains(" request method="), "{line} has asked nothing: {error}");
        Ok(out)
    }

    fn has(&self, method: &str, template: &str) -> bool {
        self.0.iter().any(|(asked, path)| asked == method && is_at(template, path))
    }
}

/// A name in braces stands for one part of a path, up to an action.
fn is_at(template: &str, path: &str) -> bool {
    let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let fits = |(wanted, given): (&&str, &&str)| match wanted.split_once('{') {
        Some((_, rest)) => {
            let action = rest.split_once('}').map_or("", |(_, action)| action);
            given.strip_suffix(action).is_some_and(|name| !name.is_empty() && !name.contains(':'))
        }
        None => wanted == given,
    };
    wanted.len() == given.len() && wanted.iter().zip(&given).all(fits)
}

/// One of each, in an order in which they work.
const COMMANDS: &[&str] = &[
    "topics",
    "topics like-results",
    "get",
    "get likes",
    "status likes -o yaml",
    "patch likes -f {patch} --dry-run -o table",
    "patch likes -f {patch}",
    "secret likes -o table",
    "public-key likes -o table",
    "rotate-secret likes --secret whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA --overlap 1h -o yaml",
    "test likes -o table",
    "dead-letters likes --from latest",
    "attempts likes",
    "tap firehose --partition 0 --offset 0 -n 2 -o yaml",
    "tap firehose --follow -n 2 -o table",
    "jmespath kind -f {events} -o table",
    "pause likes -o json",
    "resume likes --if-match * --idempotency-key once",
    "replay likes --rate 1000 -o table",
    "replay likes --show -o yaml",
    "replay likes --cancel",
    "redrive likes --rate 1000 --reason status -o table",
    "redrive likes --show -o yaml",
    "redrive likes --cancel",
    "keys create --scope read -o table",
    "keys list",
    "tenants put acme --pool _free -o table",
    "tenants get acme -o yaml",
    "tenants list",
    "tenants delete acme",
    "admin control -o table",
    "admin messages",
    "admin messages --set info -o yaml",
    "admin ready -o table",
    "admin metrics",
    "admin openapi -o table",
    "delete likes --yes",
    "delete-topic like-results --yes",
];

#[tokio::test]
async fn every_route_of_the_api_has_a_command() -> Result<()> {
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max"));
    let mut running = dev.start().await?;
    let mut asked = Asked::default();
    asked.by(&dev, &format!("apply -f {}", place.likes().display())).await?;
    asked.by(&dev, "tap like-results --follow -n 719").await?;
    let (patch, events) = (place.folder.path().join("patch.yaml"), place.folder.path().join("events.jsonl"));
    std::fs::write(&patch, "collector: {maxEvents: 77}\nmetadata: {team: likes}")?;
    std::fs::write(&events, "{\"kind\": \"mine\"}")?;
    let topic = place.folder.path().join("topic.yaml");
    std::fs::write(&topic, "topic: {name: more}")?;
    asked.by(&dev, &format!("apply -f {}", topic.display())).await?;
    for line in COMMANDS {
        let line = line.replace("{patch}", &patch.display().to_string());
        asked.by(&dev, &line.replace("{events}", &events.display().to_string())).await?;
    }
    let made: Value = serde_json::from_str(&asked.by(&dev, "keys create --scope read").await?)?;
    asked.by(&dev, &format!("keys delete {}", made["id"].as_str().context("a key")?)).await?;

    for route in fpaas_api::ROUTES {
        let without = WITHOUT.iter().any(|(method, path, _)| (*method, *path) == (route.method, route.path));
        let has = asked.has(route.method, route.path);
        ensure!(has != without, "{} {}: a command asks it: {has}", route.method, route.path);
    }
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}
