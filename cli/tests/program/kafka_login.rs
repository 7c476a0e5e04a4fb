//! Brokers that let nobody in who has not both a certificate and a login: TLS both ways, PLAIN, SCRAM, OAUTHBEARER.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::Options;
use fpaas_testkit::{Broker, Dev, checkout};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::kafka::{check, dev};
use crate::{LONG, Place};

const PASSWORD: &str = "hunter2-is-shown-nowhere";
/// How long a token is good for; the broker ends connections of those whose token is over.
const TOKEN: Duration = Duration::from_secs(6);

/// The one broker of these tests: its users are `fpaas`, who may do everything, `guest`, who may do nothing, and
/// `limited`, who may do what the docs say.
async fn broker() -> Option<&'static Broker> {
    static BROKER: OnceCell<Option<Broker>> = OnceCell::const_new();
    BROKER.get_or_init(async || Broker::start(&options()).await).await.as_ref()
}

#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn tls(file: &str) -> String {
    std::fs::read_to_string(checkout().join("testdata/tls").join(file)).unwrap()
}

fn options() -> Options {
    let of = |name: &str| format!("listener.name.client.{name}");
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let token = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                 unsecuredLoginStringClaim_sub=\"fpaas\";";
    Options::default()
        .security("SASL_SSL")
        .scram("fpaas", PASSWORD)
        .scram("guest", PASSWORD)
        .scram("limited", PASSWORD)
        .property(&of("ssl.keystore.type"), "PEM")
        .property(&of("ssl.keystore.key"), &tls("server.key"))
        .property(&of("ssl.keystore.certificate.chain"), &tls("server.pem"))
        .property(&of("ssl.truststore.type"), "PEM")
        .property(&of("ssl.truststore.certificates"), &tls("ca.pem"))
        .property(&of("ssl.client.auth"), "required")
        .property(&of("sasl.enabled.mechanisms"), "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER")
        .property(&of("plain.sasl.jaas.config"), &format!("{plain} user_fpaas=\"{PASSWORD}\";"))
        .property(&of("scram-sha-256.sasl.jaas.config"), scram)
        .property(&of("scram-sha-512.sasl.jaas.config"), scram)
        .property(&of("oauthbearer.sasl.jaas.config"), token)
        .property("connections.max.reauth.ms", "3600000")
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("super.users", "User:ANONYMOUS;User:fpaas")
}

/// A client's certificate, whom it trusts, and what comes after that.
fn properties(more: &[&str]) -> String {
    let at = |file: &str| checkout().join("testdata/tls").join(file).display().to_string();
    let mut lines = vec![
        "security.protocol=SASL_SSL".to_owned(),
        format!("ssl.ca.location={}", at("ca.pem")),
        format!("ssl.certificate.location={}", at("server.pem")),
        format!("ssl.key.location={}", at("server.key")),
        "sasl.username=fpaas".to_owned(),
        format!("sasl.password={PASSWORD}"),
    ];
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    lines.join("\n")
}

fn file(folder: &Path, more: &[&str]) -> Result<String> {
    let file = folder.join("kafka.properties");
    std::fs::write(&file, properties(more))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    Ok(file.display().to_string())
}

/// `fpaas kafka check` with these properties: its code, and all it said.
async fn checked(dev: &Dev, broker: &Broker, more: &[&str]) -> Result<(Option<i32>, String)> {
    let properties = file(dev.data().parent().unwrap_or(Path::new(".")), more)?;
    let mut command = dev.command();
    command.args(["kafka", "check", "--log", &format!("kafka://{}", broker.bootstrap())]);
    let output = command.args(["--kafka-properties", &properties]).output().await?;
    let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    ensure!(!said.contains(PASSWORD), "the password is shown:\n{said}");
    Ok((output.status.code(), said))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_runs_over_tls_and_scram_and_the_password_is_shown_nowhere() -> Result<()> {
    let Some(broker) = broker().await else { return Ok(()) };
    let place = Place::new().await?;
    let properties = file(place.folder.path(), &["sasl.mechanism=PLAIN"])?;
    let likes = place.likes().display().to_string();
    // What is typed counts more than what is in the file.
    let node = dev(place.folder.path(), &format!("kafka://{}", broker.bootstrap()))?
        .arg("--kafka-properties")
        .arg(properties)
        .arg("--kafka-property")
        .arg("sasl.mechanism=SCRAM-SHA-512")
        .arg("--messages")
        .arg("debug")
        .arg("--topic-prefix")
        .arg("login");
    let mut running = node.clone().arg("--apply").arg(likes).start().await?;
    let mut tail = running.api.tail("like-results", "from=earliest").await?;
    for _ in 0..719 {
        tokio::time::timeout(LONG, tail.next()).await??;
    }
    let http = reqwest::Client::builder().no_proxy().build()?;
    let metrics = http.get(format!("{}/metrics", running.api.url())).send().await?.error_for_status()?.text().await?;
    ensure!(metrics.contains("fpaas_dispatcher_results") && !metrics.contains(PASSWORD));
    let typed = std::fs::read_to_string(format!("/proc/{}/cmdline", running.process.id().unwrap_or_default()))?;
    ensure!(typed.contains("kafka.properties") && !typed.contains(PASSWORD), "{typed}");
    ensure!(running.process.stop(LONG).await?.success());
    let said = running.process.lines().join("\n");
    ensure!(said.contains("librdkafka") || said.contains("fpaas_log"), "nothing of the log was said:\n{said}");
    ensure!(!said.contains(PASSWORD), "the password is shown:\n{said}");
    let mut help = node.command();
    help.args(["dev", "--help"]).env("FPAAS_KAFKA_PROPERTY", format!("sasl.password={PASSWORD}"));
    let help = help.output().await?;
    ensure!(help.status.success() && !String::from_utf8(help.stdout)?.contains(PASSWORD));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_log_in_is_checked_and_will_do() -> Result<()> {
    let Some(broker) = broker().await else { return Ok(()) };
    let place = Place::new().await?;
    let token = "sasl.oauthbearer.config=principal=fpaas lifeSeconds=600";
    for (mechanism, more) in [
        ("PLAIN", &[][..]),
        ("SCRAM-SHA-256", &[]),
        ("SCRAM-SHA-512", &[]),
        ("OAUTHBEARER", &["enable.sasl.oauthbearer.unsecure.jwt=true", token]),
    ] {
        let mechanism_line = format!("sasl.mechanism={mechanism}");
        let more = [&[mechanism_line.as_str()][..], more].concat();
        let (code, said) = checked(&place.dev()?, broker, &more).await?;
        ensure!(code == Some(0), "{mechanism}: {code:?}:\n{said}");
        let login = format!("ok     login           SASL_SSL with {mechanism} as fpaas");
        ensure!(said.contains(&login) && said.contains("ok     transaction"), "{mechanism}:\n{said}");
        ensure!(said.contains("ok     cleaning up"), "{mechanism}:\n{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_let_in_is_told_why_and_nothing_is_made() -> Result<()> {
    let Some(broker) = broker().await else { return Ok(()) };
    let place = Place::new().await?;
    let scram = "sasl.mechanism=SCRAM-SHA-256";
    let certificate = ["ssl.certificate.location=", "ssl.key.location="];
    for (more, code, why) in [
        (&[scram, "sasl.password=wrong-and-shown-nowhere"][..], 64, "invalid credentials"),
        (&["sasl.mechanism=PLAIN", "sasl.username=nobody"], 64, "Authentication failed"),
        (&[scram, "ssl.ca.location="], 64, "certificate verify failed"),
        (&[scram, certificate[0], certificate[1]], 69, "SSL"),
        (&["sasl.mechanism=OAUTHBEARER"], 64, "OAUTHBEARER"),
    ] {
        let (ended, said) = checked(&place.dev()?, broker, more).await?;
        ensure!(ended == Some(code), "{more:?}: {ended:?}:\n{said}");
        ensure!(said.contains(why) && !said.contains("wrong-and-shown-nowhere"), "{more:?}:\n{said}");
        let node = dev(place.folder.path(), &format!("kafka://{}", broker.bootstrap()))?;
        let node = node.arg("--kafka-properties").arg(file(place.folder.path(), more)?);
        check(&node, code, &[why]).await?;
        ensure!(!node.data().exists(), "{more:?}: a folder was made for nothing");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_nothing_is_told_which_rights_are_missing() -> Result<()> {
    let Some(broker) = broker().await else { return Ok(()) };
    let place = Place::new().await?;
    let guest = ["sasl.mechanism=SCRAM-SHA-512", "sasl.username=guest"];
    let (code, said) = checked(&place.dev()?, broker, &guest).await?;
    ensure!(code == Some(78), "{code:?}:\n{said}");
    ensure!(said.contains("note   brokers         1 of 1 answer"), "{said}");
    ensure!(said.contains("DESCRIBE_CONFIGS on the cluster") && said.contains("wrong  creating"), "{said}");
    Ok(())
}

/// The rows of the table: what it is on, and what may be done there.
fn rights() -> Result<Vec<(String, Vec<String>)>> {
    let page = std::fs::read_to_string(checkout().join("docs/kafka.md"))?;
    let (_, table) = page.split_once("| on | operations |").context("no table of rights")?;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows = rows.filter_map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (on, operations) = (cells.next()?, cells.next()?);
        let flag = on.split(" that begin with").next().filter(|_| on.contains("that begin with"))?;
        Some((flag.to_owned(), operations.split(", ").map(str::to_owned).collect()))
    });
    Ok(rows.collect())
}

/// Gives `limited` these rights under the prefix, by Kafka's own tool.
async fn grant(broker: &Broker, flag: &str, operations: &[String]) -> Result<()> {
    let jars = Command::new("bash").arg(checkout().join("scripts/kafka.sh")).arg("jars").output().await?;
    let jars = String::from_utf8(jars.stdout)?;
    let mut tool = Command::new("java");
    tool.args([
        "-cp",
        &format!("{}/*", jars.trim()),
        "org.apache.kafka.tools.AclCommand",
        "--bootstrap-server",
        &broker.inside(),
    ]);
    tool.args(["--add", "--allow-principal", "User:limited", flag, "fpaas.", "--resource-pattern-type", "prefixed"]);
    for operation in operations {
        // DESCRIBE_CONFIGS is DescribeConfigs there.
        tool.args(["--operation", &operation.replace('_', "")]);
    }
    let output = tool.output().await?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !said.contains("Error"), "{flag}: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_the_docs_name_are_enough() -> Result<()> {
    let Some(broker) = broker().await else { return Ok(()) };
    let place = Place::new().await?;
    let rights = rights()?;
    ensure!(rights.len() == 3, "{rights:?}");
    for (on, operations) in &rights {
        let flag = match on.as_str() {
            "topics" => "--topic",
            "groups" => "--group",
            "transactional ids" => "--transactional-id",
            on => anyhow::bail!("{on}?"),
        };
        grant(broker, flag, operations).await?;
    }
    let limited = ["sasl.mechanism=SCRAM-SHA-256", "sasl.username=limited"];
    let (code, said) = checked(&place.dev()?, broker, &limited).await?;
    ensure!(code == Some(0) && said.contains("ok     transaction"), "{code:?}:\n{said}");
    ensure!(said.contains("note   brokers") && said.contains("note   cleaning up"), "{said}");
    let likes = place.likes().display().to_string();
    let node = dev(place.folder.path(), &format!("kafka://{}", broker.bootstrap()))?;
    let node = node.arg("--kafka-properties").arg(file(place.folder.path(), &limited)?).arg("--apply").arg(likes);
    check(&node.arg("--exit-when-idle"), 0, &["everything is read"]).await?;
    ensure!(!place.receiver.calls().is_empty(), "no call");
    Ok(())
}

/// Tokens are over while nothing happens, twice; whoever works then is let in again.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_while_nothing_happens() -> Result<()> {
    let Some(broker) = broker().await else { return Ok(()) };
    let place = Place::new().await?;
    let token = format!("sasl.oauthbearer.config=principal=fpaas lifeSeconds={}", TOKEN.as_secs());
    let more = ["sasl.mechanism=OAUTHBEARER", "enable.sasl.oauthbearer.unsecure.jwt=true", token.as_str()];
    let mut node = dev(place.folder.path(), &format!("kafka://{}", broker.bootstrap()))?;
    for property in properties(&more).lines() {
        node = node.arg("--kafka-property").arg(property);
    }
    let node = node.arg("--topic-prefix").arg("tokens");
    let mut running = node.start().await?;
    tokio::time::sleep(TOKEN * 2 + Duration::from_secs(2)).await;
    let likes = place.likes().display().to_string();
    let applied = node.command().args(["apply", "-f", &likes]).output().await?;
    ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let mut tail = running.api.tail("like-results", "from=earliest").await?;
    let read = async {
        for _ in 0..719 {
            tail.next().await?;
        }
        anyhow::Ok(())
    };
    let read = tokio::time::timeout(LONG, read).await;
    ensure!(matches!(read, Ok(Ok(()))), "{}", running.process.lines().join("\n"));
    ensure!(running.process.stop(LONG).await?.success());
    Ok(())
}
