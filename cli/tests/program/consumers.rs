//! Output topics and lag as programs that are not ours see them: kcat, Python's kafka-python, Kafka's own tools.
//!
//! What they run is what docs/kafka.md shows, with the test's address in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::Options;
use fpaas_testkit::{Broker, Dev, Need, Oracle, checkout, skip};
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{KEY, LONG, Place, recording};

/// Small batches, so that there are many transactions; more partitions than one, so that keys are spread.
const JOB: &str = "topic: {name: like-results, partitions: 4}\n---\n";
const PARTITIONS: u32 = 4;

/// The partition that a key belongs to, by kafka-python's own arithmetic.
const MURMUR2: &str = "
import sys
from kafka.partitioner import murmur2
for key in sys.stdin.read().split():
    print((murmur2(key.encode()) & 0x7fffffff) % int(sys.argv[1]))
";

/// A record, as any client sees it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    partition: u64,
    offset: u64,
    key: String,
    headers: Vec<(String, String)>,
    value: String,
}

/// What reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Kcat,
    Python,
}

impl Client {
    /// The first word of its block in the docs.
    const fn begins(self) -> &'static str {
        match self {
            Self::Kcat => "kcat ",
            Self::Python => "import json",
        }
    }

    fn is_here(self) -> bool {
        let mut command = match self {
            Self::Kcat => std::process::Command::new("kcat"),
            Self::Python => std::process::Command::new("python3"),
        };
        match self {
            Self::Kcat => command.arg("-V"),
            Self::Python => command.args(["-c", "import kafka, lz4"]).env("PYTHONPATH", packages()),
        };
        command.output().is_ok_and(|output| output.status.success())
    }

    /// All of `like-results`, at that isolation level.
    async fn read(self, broker: &Broker, level: &str) -> Result<BTreeSet<Seen>> {
        let block = shown(self.begins())?.replace("HOST:PORT", &broker.bootstrap()).replace("read_committed", level);
        let mut command = match self {
            Self::Kcat => Command::new("bash"),
            Self::Python => Command::new("python3"),
        };
        let output = done(command.arg("-c").arg(block).env("PYTHONPATH", packages())).await?;
        let records =
            String::from_utf8(output.stdout)?.lines().map(|line| self.seen(line)).collect::<Result<Vec<_>>>()?;
        let (count, set) = (records.len(), records.into_iter().collect::<BTreeSet<_>>());
        ensure!(set.len() == count, "{self:?} has read a record twice");
        Ok(set)
    }

    fn seen(self, line: &str) -> Result<Seen> {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
        let field = |name: &str| line.get(name).with_context(|| format!("no {name}: {line}"));
        // kcat: one after the other; Python: pairs.
        let flat: Vec<_> = match field("headers")?.as_array().context("no headers")? {
            pairs if self == Self::Python => pairs.iter().flat_map(|pair| pair.as_array().cloned()).flatten().collect(),
            flat => flat.clone(),
        };
        let pairs = flat.as_chunks::<2>().0.iter().map(|[name, value]| Ok((text(name)?, text(value)?)));
        Ok(Seen {
            partition: field("partition")?.as_u64().context("no number")?,
            offset: field("offset")?.as_u64().context("no number")?,
            key: text(field("key")?)?,
            headers: pairs.collect::<Result<_>>()?,
            value: text(field("payload")?)?,
        })
    }
}

fn packages() -> String {
    std::env::var("FPAAS_PYTHON_PACKAGES").unwrap_or_default()
}

/// A block of docs/kafka.md that nobody types into a shell as it is, since it names a cluster.
fn shown(begins: &str) -> Result<String> {
    let page = std::fs::read_to_string(checkout().join("docs/kafka.md"))?;
    let mut blocks = page.split("```text\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()));
    blocks.find(|block| block.starts_with(begins)).with_context(|| format!("docs/kafka.md shows no {begins:?}"))
}

/// To its end, which is a success.
async fn done(command: &mut Command) -> Result<Output> {
    let output = tokio::time::timeout(LONG, command.stdin(Stdio::null()).kill_on_drop(true).output()).await??;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// The likes of the recording, in many small batches, on a broker that nothing else is on.
struct Job {
    broker: Broker,
    place: Place,
}

impl Job {
    fn node(&self) -> Result<Dev> {
        let log = format!("kafka://{}", self.broker.bootstrap());
        let file = self.place.folder.path().join("job.yaml");
        let likes = std::fs::read_to_string(self.place.likes())?.replace("maxEvents: 100", "maxEvents: 10");
        std::fs::write(&file, format!("{JOB}{likes}"))?;
        let node = Dev::new(self.place.folder.path(), KEY)?.upstream(recording("max")).arg("--log").arg(log);
        Ok(node.arg("--apply").arg(file.display().to_string()))
    }

    /// Kills the node in the middle of transactions, until one of them was to write results.
    async fn die_with_results_uncommitted(&self, client: Client) -> Result<()> {
        // The first are those of the start; one in three of the others has results.
        for transaction in 20..60 {
            let point = format!("transaction-open:{transaction}");
            let mut node = self.node()?.arg("--exit-when-idle").env("FPAAS_CRASH_POINT", &point).spawn()?;
            let status = node.wait(LONG).await?;
            ensure!(status.code() != Some(0), "the job is done, and no transaction with results was cut short");
            let [all, committed] = self.both(client).await?;
            ensure!(committed.is_subset(&all), "what is committed is not all there");
            if committed.len() < all.len() {
                return Ok(());
            }
        }
        anyhow::bail!("no transaction with results was cut short")
    }

    /// What there is, and what is committed; none before the topic is there.
    async fn both(&self, client: Client) -> Result<[BTreeSet<Seen>; 2]> {
        let all = client.read(&self.broker, "read_uncommitted").await?;
        Ok([all, client.read(&self.broker, "read_committed").await?])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clients_read_what_is_committed_and_see_the_lag() -> Result<()> {
    let clients: Vec<_> = [(Client::Kcat, Need::Kcat), (Client::Python, Need::PythonPackages)]
        .into_iter()
        .filter(|(client, need)| {
            client.is_here() || {
                skip(*need, "an output topic, read by another client");
                false
            }
        })
        .map(|(client, _)| client)
        .collect();
    let Some(first) = clients.first() else { return Ok(()) };
    let Some(broker) = Broker::start(&Options::default()).await else { return Ok(()) };
    let job = Job { broker, place: Place::new().await? };

    job.die_with_results_uncommitted(*first).await?;
    let behind = lag(&job, "fpaas.local.dispatcher", "fpaas.local.d.likes.").await?;
    ensure!(behind.as_ref().is_none_or(|rows| rows.iter().any(|row| row.lag > 0)), "{behind:?}");

    let status = job.node()?.arg("--exit-when-idle").spawn()?.wait(LONG).await?;
    ensure!(status.success(), "{status}");
    let expected = ours(&job).await?;
    for client in &clients {
        let [all, committed] = job.both(*client).await?;
        ensure!(all.len() > 719, "{client:?} sees {} records, and no aborted one", all.len());
        ensure!(committed == expected, "{client:?} reads something else than the API: {committed:?}");
    }
    if clients.contains(&Client::Python) {
        partitions_agree(&expected).await?;
    }
    all_is_passed(&job).await
}

/// What the API says is there: every like of the recording once, with its header and its batch.
async fn ours(job: &Job) -> Result<BTreeSet<Seen>> {
    let mut node = job.node()?.start().await?;
    let items = node.api.records("like-results").await?;
    ensure!(node.process.stop(LONG).await?.success());
    let ids = items.iter().filter_map(|item| item.value.get("id")?.as_str().map(str::to_owned));
    ensure!(ids.collect::<BTreeSet<_>>() == Oracle::bundled()?.likes() && items.len() == 719, "not the likes");
    let header =
        |headers: &Map<String, Value>, name: &str| headers.get(name).and_then(Value::as_str).map(str::to_owned);
    let seen = items.into_iter().map(|item| {
        let headers = ["by", "fpaas.batch"].map(|name| Some((name.to_owned(), header(&item.headers, name)?)));
        Ok(Seen {
            partition: item.partition.into(),
            offset: item.offset,
            key: item.key.context("no key")?,
            headers: headers.into_iter().collect::<Option<_>>().context("a header is missing")?,
            value: item.value.to_string(),
        })
    });
    seen.collect()
}

/// Java's murmur2 of the key, as all of Kafka's clients have it.
async fn partitions_agree(records: &BTreeSet<Seen>) -> Result<()> {
    let mut python = Command::new("python3");
    python.args(["-c", MURMUR2, &PARTITIONS.to_string()]).env("PYTHONPATH", packages()).kill_on_drop(true);
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let keys: String = records.iter().map(|record| format!("{}\n", record.key)).collect();
    python.stdin.take().context("no input")?.write_all(keys.as_bytes()).await?;
    let output = tokio::time::timeout(LONG, python.wait_with_output()).await??;
    let theirs = String::from_utf8(output.stdout)?.lines().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    ensure!(theirs == records.iter().map(|record| record.partition).collect::<Vec<_>>(), "{theirs:?}");
    ensure!(theirs.iter().collect::<BTreeSet<_>>().len() == PARTITIONS as usize, "not every partition has a key");
    Ok(())
}

/// A line of what Kafka's tool says of a group.
#[derive(Debug)]
struct Row {
    end: u64,
    lag: i64,
}

/// What it says of topics that begin so; `None` where there is no Java, which is said.
async fn lag(job: &Job, group: &str, topic: &str) -> Result<Option<Vec<Row>>> {
    let folder = tempfile::tempdir()?;
    if !tool(folder.path()).await? {
        skip(Need::Java, "the lag, by Kafka's own tool");
        return Ok(None);
    }
    let block = shown("kafka-consumer-groups.sh ")?.replace("HOST:PORT", &job.broker.bootstrap());
    ensure!(block.contains("fpaas.local.dispatcher"), "{block}");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH")?);
    let block = block.replace("fpaas.local.dispatcher", group);
    let output = done(Command::new("bash").arg("-c").arg(block).env("PATH", path)).await?;
    let said = String::from_utf8(output.stdout)?;
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter_map(|row| match row.as_slice() {
        [of, about, _, _, end, lag, ..] if *of == group && about.starts_with(topic) => Some((*end, *lag)),
        _ => None,
    });
    let rows = rows.map(|(end, lag)| Ok(Row { end: end.parse()?, lag: lag.parse()? })).collect::<Result<Vec<_>>>()?;
    ensure!(!rows.is_empty(), "{group} has no row of {topic}: {said}");
    Ok(Some(rows))
}

/// Puts `kafka-consumer-groups.sh` there, of the broker's jars; false where there is no Java.
async fn tool(folder: &Path) -> Result<bool> {
    if !Command::new("java").arg("-version").output().await.is_ok_and(|output| output.status.success()) {
        return Ok(false);
    }
    let mut jars = Command::new("bash");
    let jars = jars.arg(checkout().join("scripts/kafka.sh")).arg("jars").stdin(Stdio::null()).output().await?;
    ensure!(jars.status.success(), "{}", String::from_utf8_lossy(&jars.stderr));
    let jars = String::from_utf8(jars.stdout)?;
    let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
    let script = format!("#!/bin/sh\nexec java -Xmx256m {quiet} -cp '{}/*' {class} \"$@\"\n", jars.trim());
    let file = folder.join("kafka-consumer-groups.sh");
    std::fs::write(&file, script)?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(true)
}

/// Positions pass what transactions leave between the records, so nothing is behind although the ends say more.
async fn all_is_passed(job: &Job) -> Result<()> {
    for (group, topic, records) in
        [("fpaas.local.dispatcher", "fpaas.local.d.likes.", 719), ("fpaas.local.router", "fpaas.firehose", 2534)]
    {
        let Some(rows) = lag(job, group, topic).await? else { return Ok(()) };
        ensure!(rows.iter().all(|row| row.lag == 0), "{group}: {rows:?}");
        ensure!(rows.iter().map(|row| row.end).sum::<u64>() > records, "{group}: {rows:?}");
    }
    Ok(())
}
