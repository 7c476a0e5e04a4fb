//! The API, asked whatever its OpenAPI document allows and some of what it does not, by a program that makes requests
//! up from it (schemathesis): nothing is answered otherwise than the document says, and nothing with a 5xx.

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::{Need, skip};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{KEY, Place, recording};

/// Requests of each sort to an operation. All of them together take less than a minute.
const EXAMPLES: &str = "15";
/// What is not asked of it: that whatever fits its types be accepted (a name may be taken, two headers may exclude each
/// other), and that a method be refused before a tenant is looked for.
const EXCLUDED: &str = "positive_data_acceptance,unsupported_method";

fn schemathesis() -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-m", "schemathesis.cli"])
        .env("PYTHONPATH", std::env::var("FPAAS_PYTHON_PACKAGES").unwrap_or_default());
    command.kill_on_drop(true);
    command
}

/// The document with the one endpoint that may be called: what makes requests up must not call others.
fn narrowed(mut document: Value, url: &str) -> Result<Value> {
    let at = "/components/schemas/WebhookInput/properties/url";
    *document.pointer_mut(at).with_context(|| format!("the document has no {at}"))? = json!({"const": url});
    Ok(document)
}

#[tokio::test]
async fn nothing_is_answered_otherwise_than_the_document_says() -> Result<()> {
    if !schemathesis().arg("--version").output().await.is_ok_and(|output| output.status.success()) {
        skip(Need::PythonPackages, "the API against its document, with schemathesis");
        return Ok(());
    }
    let place = Place::new().await?;
    let dev = place.dev()?.upstream(recording("max")).arg("--apply").arg(place.likes().display().to_string());
    let mut running = dev.start().await?;
    let document = narrowed(running.api.get("/openapi.json").await?, &place.receiver.url())?;
    let file = place.folder.path().join("openapi.json");
    std::fs::write(&file, document.to_string())?;
    let mut fuzzer = schemathesis();
    fuzzer.current_dir(place.folder.path()).arg("run").arg(&file).args(["--url", running.api.url()]);
    fuzzer.args(["--header", &format!("Authorization: Bearer {KEY}"), "--max-examples", EXAMPLES]);
    // A tail has no end.
    fuzzer.args(["--exclude-path-regex", "tail$", "--exclude-checks", EXCLUDED, "--seed", "1"]);
    fuzzer.args(["--request-timeout", "30", "--suppress-health-check", "all", "--no-color"]);
    let output = tokio::time::timeout(std::time::Duration::from_secs(300), fuzzer.output()).await??;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", running.process.lines().join("\n"));
    ensure!(said.contains("Tested: 44"), "it has not asked for all of it: {said}");
    ensure!(running.process.stop(crate::LONG).await?.success(), "{}", running.process.lines().join("\n"));
    Ok(())
}
